"""Reads files of prompts in JSONL, JSON, CSV or plain text, and folders of images (docs/reference/prompts.md)."""

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from videogpa.config.paths import is_inside
from videogpa.config.settings import MOST_PROMPTS
from videogpa.defaults import Reading
from videogpa.errors import InvalidInput, MissingInput, problems
from videogpa.prompts.columns import IMAGE_SUFFIXES, with_meanings
from videogpa.prompts.formats import records
from videogpa.prompts.ids import Ids, as_file_name, made_id
from videogpa.records import Prompt, Scene
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.text_files import file_exists, path_errors, shown

_log = logging.getLogger(__name__)

_OTHER_IMAGES = {".heic", ".heif", ".svg", ".psd", ".eps", ".jxl", ".dng", ".cr2", ".nef", ".arw"}


def _without_controls(text: str) -> str:
    """Refuse characters that steer a terminal, end a path or cannot be written; line breaks and tabs may stand in a text."""
    for character in text:
        code = ord(character)
        if (code < 0x20 and character not in "\n\r\t") or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000:
            raise ValueError(f"holds the character U+{code:04X}, which is no text")
    return text


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, AfterValidator(_without_controls)]


class Record(BaseModel):
    """A prompt as a file gives it, by our own names of its columns."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    id: Annotated[Text, BeforeValidator(_number_as_text)] | None = None
    text: Text = ""
    image: Text | None = None
    video: Text | None = None
    """An existing clip of the prompt. Several clips take one record each."""
    split: Literal["train", "held_out"] | None = None
    reading: Reading | None = None
    scene: Scene | None = None
    camera_motion: str | None = None
    """Found in the official project's files, whose texts repeat it; not used."""
    videos: tuple[Text, ...] = ()
    fingerprint: str = ""
    """`videos` and `fingerprint` are columns of a run's own prompts.jsonl, which can be read too."""


def read_file(file: Path) -> list[Prompt]:
    """Read a file of prompts.

    Args:
        file: A .jsonl, .json, .csv, .tsv or .txt file. Paths of images and videos in it are relative to the file.

    Returns:
        The prompts, with absolute paths. A prompt without a split is in `train`; one without an id gets an id that depends on
        its text and image.

    Raises:
        MissingInput: If the file, or an image or video that it names, is not there.
        InvalidInput: If the file cannot be read, a record is not a prompt, or two records have the same id; the message
            names the line.
    """
    rows: dict[str, Prompt] = {}
    ids = Ids()
    for where, content in records(file):
        record = _parse(content, where)
        row = _row(record, file.parent, where)
        ids.add(row.prompt, record.id or row.prompt, where)
        known = rows.get(row.prompt)
        if known is None:
            rows[row.prompt] = row
        elif row.videos and known.videos and known == row.model_copy(update={"videos": known.videos}):
            rows[row.prompt] = known.model_copy(update={"videos": (*known.videos, *row.videos)})
        else:
            raise InvalidInput(
                f"{where}: the prompt {row.prompt!r} is there already. Ids must be unique, except for records that each name a "
                "video of the same prompt"
            )
        if len(rows) > MOST_PROMPTS:
            raise InvalidInput(f"{where}: a run takes {MOST_PROMPTS:,} prompts at most, and the file has more")
    if not rows:
        raise InvalidInput(f"{file} holds no prompt")
    return list(rows.values())


def read_folder(folder: Path) -> list[Prompt]:
    """Read a folder of images.

    Args:
        folder: The folder; subfolders are not read.

    Returns:
        A prompt without a text for every image, sorted by file name.

    Raises:
        MissingInput: If there is no such folder, or it contains no image.
        InvalidInput: If two images would have the same id.
    """
    found = _files_of(folder)
    images = [file for file in found if file.suffix.lower() in IMAGE_SUFFIXES]
    others = [file.name for file in found if file.suffix.lower() in _OTHER_IMAGES]
    unread = ""
    if others:
        names = ", ".join(map(shown, others[:3]))
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        unread = f"not read: {names}{more}: convert them to PNG or JPEG"
    if not images:
        also = f"; {unread}" if unread else ""
        raise MissingInput(
            f"no image in {shown(folder)}: expected files such as a.png ({', '.join(sorted(IMAGE_SUFFIXES))}){also}"
        )
    if unread:
        _log.warning("%s: %s", shown(folder), unread)
    if len(images) > MOST_PROMPTS:
        raise InvalidInput(f"{folder}: a run takes {MOST_PROMPTS:,} prompts at most, and it has {len(images):,} images")
    rows: dict[str, Prompt] = {}
    ids = Ids()
    for image in images:
        name = as_file_name(image.stem) or made_id("", image.stem)
        if name in rows:
            raise InvalidInput(f"{shown(image)} and {rows[name].image} would both be the prompt {name!r}: rename one")
        ids.add(name, image.stem, shown(image))
        rows[name] = Prompt(prompt=name, text="", image=str(image.resolve()))
    return list(rows.values())


def read_run(folder: Path) -> list[Prompt]:
    """Read the prompts of a run as they were given to it, from the copies in its folder.

    Args:
        folder: The run folder.

    Returns:
        The prompts, with absolute paths inside the folder.

    Raises:
        MissingInput: If the folder has no whole copy of them.
        InvalidInput: If a row names a file outside the folder.
        UserError: If the copy was damaged.
    """
    run = RunFolder(folder)
    rows = manifests.given_prompts(run).rows()
    if not rows:
        own = folder / "prompts.jsonl"
        hint = f" (or --set prompts.file={shown(own)}, which holds them with their camera moves)" if file_exists(own) else ""
        raise MissingInput(
            f"{shown(folder)} has no whole copy of the prompts that it was given, since it was stopped early or is of an older "
            f"version: name them again with --set prompts.file=FILE or --set prompts.images=FOLDER{hint}"
        )
    return [_from_run(row, folder) for row in rows]


def _from_run(row: Prompt, folder: Path) -> Prompt:
    def inside(name: str) -> str:
        path = (folder / name).absolute()
        if not is_inside(path, folder):
            raise InvalidInput(
                f"{shown(folder)}: the prompt {row.prompt!r} names {shown(name)}, which is outside the run folder"
            )
        if not path.is_file():
            raise MissingInput(f"{shown(folder)}: the file {shown(name)} of the prompt {row.prompt!r} is missing")
        return str(path)

    image = None if row.image is None or row.scene is not None else inside(row.image)
    return row.model_copy(update={"image": image, "videos": tuple(map(inside, row.videos)), "fingerprint": ""})


def _files_of(folder: Path) -> list[Path]:
    """Return the files of a folder by name, without those of the system, whose names begin with a dot (`._a.png`)."""
    with path_errors(folder, missing=f"no folder of images at {shown(folder)} (prompts.images of the recipe)"):
        return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _parse(content: Any, where: str) -> Record:
    named = with_meanings(content, where)
    if isinstance(named, dict):  # empty cells are absent
        named = {name: value for name, value in named.items() if value != "" or name == "text"}
    try:
        return Record.model_validate(named)
    except ValidationError as error:
        found = "; ".join(problems(error, whole="record"))
        raise InvalidInput(f"{where}: expected text and optionally id, image, video and split, but {found}") from None


def _row(record: Record, folder: Path, where: str) -> Prompt:
    name = made_id(record.text, record.image or "") if record.id is None else as_file_name(record.id)
    if not name:
        raise InvalidInput(f"{where}: the id {str(record.id)[:80]!r} has no ASCII letter or digit; ids become file names")
    videos = (*record.videos, *([record.video] if record.video else []))
    return Prompt(
        prompt=name,
        text=record.text,
        image=None if record.image is None or record.scene is not None else _file(folder, record.image, "image", where),
        scene=record.scene,
        split=record.split or "train",
        reading=record.reading,
        videos=tuple(_file(folder, video, "video", where) for video in videos),
    )


def _file(folder: Path, name: str, kind: str, where: str) -> str:
    if "://" in name:
        raise InvalidInput(f"{where}: the {kind} {name[:200]} is an address: download it, and give the file")
    try:
        path = (folder / Path(name).expanduser()).resolve()
        there = path.is_file()
    except (OSError, RuntimeError):  # too long, a loop of links, or no home for `~`
        path, there = folder / name, False
    if not there:
        raise MissingInput(f"{where}: no {kind} at {shown(path)}")
    return str(path)
