"""Reads files of prompts in JSONL, JSON, CSV or plain text, and folders of images (docs/reference/prompts.md)."""

import csv
import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from videogpa.errors import InvalidInput, MissingInput, problems
from videogpa.records import Prompt, Scene
from videogpa.storage.fingerprints import fingerprint

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}

_WORDS = 4  # how many words of a text go into the id that is made for it


class Record(BaseModel):
    """A prompt as a file gives it. The aliases are the names that published files use (docs/reference/prompts.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    id: str | None = Field(None, validation_alias=AliasChoices("id", "prompt", "group_id"))
    text: str = Field("", validation_alias=AliasChoices("text", "caption", "text_prompt"))
    image: str | None = Field(None, validation_alias=AliasChoices("image", "image_prompt"))
    video: str | None = None
    """An existing clip of the prompt. Several clips take one record each."""
    split: Literal["train", "held_out"] | None = None
    scene: Scene | None = None
    camera_motion: str | None = None
    """Found in the official project's files, whose texts repeat it; not used."""
    videos: tuple[str, ...] = ()
    fingerprint: str = ""
    """`videos` and `fingerprint` are columns of a run's own prompts.jsonl, which can be read too."""


def read_file(file: Path) -> list[Prompt]:
    """Read a file of prompts.

    Args:
        file: A .jsonl, .json, .csv or .txt file. Paths of images and videos in it are relative to the file.

    Returns:
        The prompts, with absolute paths. A prompt without a split is in `train`; one without an id gets an id that depends on
        its text and image.

    Raises:
        MissingInput: If the file, or an image or video that it names, is not there.
        InvalidInput: If the file cannot be read, a record is not a prompt, or two records have the same id; the message
            names the line.
    """
    rows: dict[str, Prompt] = {}
    for where, content in _records(file):
        record = _parse(content, where)
        row = _row(record, file.parent, where)
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
    if not folder.is_dir():
        raise MissingInput(f"no folder of images at {folder} (prompts.images of the recipe)")
    images = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not images:
        raise MissingInput(f"no image in {folder}: expected files such as a.png ({', '.join(sorted(IMAGE_SUFFIXES))})")
    rows: dict[str, Prompt] = {}
    for image in images:
        name = _slug(image.stem) or _made_id("", image.stem)
        if name in rows:
            raise InvalidInput(f"{image} and {rows[name].image} would both be the prompt {name!r}: rename one")
        rows[name] = Prompt(prompt=name, text="", image=str(image.resolve()))
    return list(rows.values())


def _records(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield each record of the file, preceded by its place in the file for error messages."""
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".txt": _txt}
    if file.suffix.lower() not in readers:
        raise InvalidInput(f"{file}: expected a file of prompts, {', '.join(readers)}")
    try:
        text = file.read_text(encoding="utf-8-sig")  # spreadsheets write a byte order mark
    except FileNotFoundError:
        raise MissingInput(f"no prompts at {file} (prompts.file of the recipe)") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8 text: {error}") from None
    yield from readers[file.suffix.lower()](text, str(file))


def _jsonl(text: str, file: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"{file}, line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise InvalidInput(f"{file}, line {number}: not JSON: {error}") from None


def _json(text: str, file: str) -> Iterator[tuple[str, Any]]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{file}, line {error.lineno}: not JSON: {error.msg}") from None
    if isinstance(content, list):
        yield from ((f"{file}, entry {number}", entry) for number, entry in enumerate(content, start=1))
    elif isinstance(content, dict):
        for key, entry in content.items():
            record = {"text": entry} if isinstance(entry, str) else entry
            yield f"{file}, entry {key!r}", {"id": key, **record} if isinstance(record, dict) else record
    else:
        raise InvalidInput(f"{file}: expected a list of prompts, or a mapping of ids to texts or prompts")


def _csv(text: str, file: str) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if None in row:
                raise InvalidInput(f"{where}: more cells than the header has columns; put a text with commas in quotes")
            yield where, {name: cell for name, cell in row.items() if cell}
    except csv.Error as error:
        raise InvalidInput(f"{file}, line {reader.reader.line_num}: not CSV: {error}") from None


def _txt(text: str, file: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{file}, line {number}", {"text": line}


def _parse(content: Any, where: str) -> Record:
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        found = "; ".join(problems(error, whole="record"))
        raise InvalidInput(f"{where}: expected text and optionally id, image, video and split, but {found}") from None


def _row(record: Record, folder: Path, where: str) -> Prompt:
    name = _made_id(record.text, record.image or "") if record.id is None else _slug(record.id)
    if not name:
        raise InvalidInput(f"{where}: the id {record.id!r} has no ASCII letter or digit; ids become file names")
    videos = (*record.videos, *([record.video] if record.video else []))
    return Prompt(
        prompt=name,
        text=record.text,
        image=None if record.image is None or record.scene is not None else _file(folder, record.image, "image", where),
        scene=record.scene,
        split=record.split or "train",
        videos=tuple(_file(folder, video, "video", where) for video in videos),
    )


def _file(folder: Path, name: str, kind: str, where: str) -> str:
    path = (folder / Path(name).expanduser()).resolve()
    if not path.is_file():
        raise MissingInput(f"{where}: no {kind} at {path}")
    return str(path)


def _slug(name: str) -> str:
    """Turn a name into a file name: `1K/0a1b/images_8` becomes `1K-0a1b-images_8`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")


def _made_id(text: str, image: str) -> str:
    """Return an id made of the text's first words and a hash of text and image, wherever the prompt is in its file."""
    words = re.findall(r"[a-z0-9]+", text.lower())[:_WORDS]
    return "-".join([*words, fingerprint(text, image)[:8]])
