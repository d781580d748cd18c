"""prompts: write down what the clips are to show.

In: the recipe's `prompts` section, and the files or folders that it names. Out: prompts.jsonl with one row per prompt; in
prompts/ the first frames, the user's own clips and given.jsonl, the prompts before camera moves were written and some held out.
So the run is complete without the files that the prompts came from.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from videogpa.config import CameraPrompts, PromptsConfig, Recipe
from videogpa.errors import InvalidInput
from videogpa.prompts.camera_moves import camera_text, choose_moves
from videogpa.prompts.files import read_file, read_folder, read_run
from videogpa.records import Prompt
from videogpa.storage import manifests
from videogpa.storage.files import atomic_path, write_text
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.video import UnreadableImage, UnreadableVideo, probe, read_image, write_image
from videogpa.workers import map_items
from videogpa.world.prompts import view, world_prompts

_NAMED = 3  # broken images in a message


def run(recipe: Recipe, folder: RunFolder) -> list[Prompt]:
    """Write the prompts and their first frames into the run folder.

    Rows that are there already and came from the same prompts are kept.

    Args:
        recipe: Its `prompts` section decides where the prompts come from; clips of the user's must have the size in `generate`.
        folder: The run folder.

    Returns:
        All prompts, in the order of their source; `image` is relative to the run folder.

    Raises:
        MissingInput: If a file or folder is missing.
        InvalidInput: If one cannot be used.
    """
    source = given(recipe.prompts)
    prompts = {row.prompt: row for row in _planned(source, recipe.prompts)}
    wanted = {name: _fingerprint(row) for name, row in prompts.items()}
    rows = manifests.prompts(folder)

    def make(names: list[str]) -> Iterator[Prompt]:
        left = [prompts[name] for name in names]
        check_images([Path(row.image) for row in left if row.image is not None and row.scene is None])
        for row in left:
            for video in row.videos:
                check_clip(Path(video), row.prompt, (recipe.generate.frames, recipe.generate.height, recipe.generate.width))
        return map_items(lambda name: _with_files(prompts[name], folder, rows.staging), names, label="prompts")

    copy = manifests.given_prompts(folder).path
    text = "".join(_in_run(row).model_dump_json() + "\n" for row in source)
    if not copy.exists() or copy.read_bytes() != text.encode():
        copy.unlink(missing_ok=True)  # the copy of other prompts; without one, a run that is killed now is not taken for whole
    made = rows.update(wanted, make)
    if not copy.exists():
        write_text(copy, text)
    return made


def check_images(images: Sequence[Path]) -> None:
    """Open every image, so that a broken one is found before hours of work and not at its turn.

    Raises:
        InvalidInput: If some cannot be read; the message names the first of them, each with its reason.
    """
    broken = []
    for image in images:
        try:
            read_image(image)
        except UnreadableImage as error:
            broken.append(str(error))
    if broken:
        more = f"; and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise InvalidInput(f"{len(broken)} of {len(images)} first frames cannot be used: {'; '.join(broken[:_NAMED])}{more}")


def check_clip(video: Path, prompt: str, size: tuple[int, int, int]) -> None:
    """Check that a clip of the user's can be read and has the size of the recipe.

    Args:
        video: The clip.
        prompt: The id of its prompt.
        size: The number of frames, the height and the width that it must have.

    Raises:
        InvalidInput: If the file is not a video, or has another size.
    """
    try:
        found = probe(video)
    except UnreadableVideo as error:
        raise InvalidInput(f"a clip of prompt {prompt!r} cannot be used: {error}") from None
    if (found.frames, found.height, found.width) != size:
        raise InvalidInput(
            f"{video} is {(found.frames, found.height, found.width)} (frames, height, width), where the recipe says {size}: "
            "training takes clips of one size. Convert it, or set generate.frames, height and width."
        )


def plan(config: PromptsConfig) -> list[Prompt]:
    """Return the prompts that the settings describe, without writing anything.

    Args:
        config: The recipe's `prompts` section.

    Returns:
        The prompts with their splits. Images and videos are absolute paths to the user's files. A prompt of the miniature
        world has no image file yet: its first frame is rendered by `run`.

    Raises:
        MissingInput: If a file or folder is missing.
        InvalidInput: If one cannot be used, a prompt has no text, or more prompts are to be held out than there are.
    """
    return _planned(given(config), config)


def given(config: PromptsConfig) -> list[Prompt]:
    """Return the prompts as their source gives them: with its texts, and the splits that it says.

    Raises:
        MissingInput: If a file or folder is missing.
        InvalidInput: If one cannot be used.
    """
    if config.world is not None:
        return world_prompts(config.world)
    if config.images is not None:
        return read_folder(config.images)
    if config.run is not None:
        return read_run(config.run)
    assert config.file is not None  # the validator of PromptsConfig guarantees one source
    return read_file(config.file)


def _planned(rows: list[Prompt], config: PromptsConfig) -> list[Prompt]:
    """Write the camera moves, and choose the prompts that are held out, and the part that is used of the others."""
    if config.world is not None:
        return _part(rows, config.part)
    camera = config.camera or (CameraPrompts() if config.images is not None else None)
    rows = rows if camera is None else _with_camera(rows, camera)
    without_text = [row.prompt for row in rows if not row.text]
    if without_text:
        raise InvalidInput(f"prompts without a text: {', '.join(without_text[:5])}. Add one, or let prompts.camera write it.")
    return _part(_hold_out(rows, config.held_out), config.part)


def _with_camera(rows: list[Prompt], config: CameraPrompts) -> list[Prompt]:
    """Replace every text by one that asks for a static scene and camera moves; the old text becomes the scene's caption."""
    texts = [camera_text(choose_moves(row.prompt, config), row.text) for row in rows]
    return [row.model_copy(update={"text": text}) for row, text in zip(rows, texts, strict=True)]


def _hold_out(rows: list[Prompt], count: int) -> list[Prompt]:
    """Move `count` training prompts to the held-out split.

    The choice depends on the ids alone, by hash: adding a prompt changes at most one of those held out.
    """
    training = [row.prompt for row in rows if row.split == "train"]
    if count >= len(training) and count > 0:
        raise InvalidInput(f"prompts.held_out is {count}, and there are only {len(training)} prompts to train with")
    chosen = set(sorted(training, key=lambda name: fingerprint("held out", name))[:count])
    return [row.model_copy(update={"split": "held_out"}) if row.prompt in chosen else row for row in rows]


def _part(rows: list[Prompt], part: tuple[int, int] | None) -> list[Prompt]:
    """Return the held-out prompts and one part of the training prompts; parts have no prompt in common."""
    if part is None:
        return rows
    number, size = part
    training = sorted((row.prompt for row in rows if row.split == "train"), key=lambda name: fingerprint("part", name))
    chosen = set(training[(number - 1) * size : number * size])
    if len(chosen) < size:
        raise InvalidInput(
            f"prompts.part is [{number}, {size}], which takes {number * size:,} training prompts, and there are "
            f"{len(training):,}: give more prompts, or smaller parts"
        )
    return [row for row in rows if row.split != "train" or row.prompt in chosen]


def _fingerprint(row: Prompt) -> str:
    """Hash the row and the content of its files, wherever they lie."""
    if row.scene is not None or (row.image is None and not row.videos):
        return fingerprint(row, None)
    files = [Path(path) for path in (row.image, *row.videos) if path is not None]
    return fingerprint(row.model_copy(update={"image": None, "videos": ()}), *map(path_fingerprint, files))


def _in_run(row: Prompt) -> Prompt:
    """Return the row with the names that its files have in a run folder."""
    image = f"prompts/{row.prompt}"
    if row.scene is not None:
        return row.model_copy(update={"image": f"{image}.png"})
    videos = [f"prompts/clips/{row.prompt}/{number}{_suffix(video)}" for number, video in enumerate(row.videos)]
    return row.model_copy(update={"image": row.image and image + _suffix(row.image), "videos": tuple(videos)})


def _suffix(path: str) -> str:
    return Path(path).suffix.lower()


def _with_files(row: Prompt, folder: RunFolder, into: Path) -> Prompt:
    """Render or copy the prompt's first frame and clips to their names in `into`, and return the row with these names."""
    copied = _in_run(row)
    if row.scene is not None:
        write_image(into / str(copied.image), view(row.scene).images[0])
        return copied
    for source, name in zip((row.image, *row.videos), (copied.image, *copied.videos), strict=True):
        if source is not None and name is not None and Path(source) != (folder / name).absolute():
            with atomic_path(into / name) as temporary:
                shutil.copyfile(source, temporary)
    return copied
