"""prompts: write down what the clips are to show.

In: the recipe's `prompts` section, and the files or folders that it names. Out: prompts.jsonl with one row per prompt, and
the first frames in prompts/, so that the run is complete without the files that the prompts came from.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from videogpa.config import CameraPrompts, PromptsConfig, Recipe
from videogpa.errors import InvalidInput
from videogpa.prompts.camera_moves import camera_text, choose_moves
from videogpa.prompts.files import read_file, read_folder
from videogpa.records import Prompt
from videogpa.storage import manifests
from videogpa.storage.files import atomic_path
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.video import UnreadableImage, read_image, write_image
from videogpa.workers import map_items
from videogpa.world.prompts import view, world_prompts

_NAMED = 3  # broken images in a message


def run(recipe: Recipe, folder: RunFolder) -> list[Prompt]:
    """Write the prompts and their first frames into the run folder.

    Rows that are there already and came from the same prompts are kept.

    Args:
        recipe: Its `prompts` section decides where the prompts come from.
        folder: The run folder.

    Returns:
        All prompts, in the order of their source; `image` is relative to the run folder.

    Raises:
        MissingInput: If a file or folder is missing.
        InvalidInput: If one cannot be used.
    """
    prompts = {row.prompt: row for row in plan(recipe.prompts)}
    wanted = {name: _fingerprint(row) for name, row in prompts.items()}

    def make(names: list[str]) -> Iterator[Prompt]:
        check_images(
            [Path(row.image) for row in map(prompts.__getitem__, names) if row.image is not None and row.scene is None]
        )
        return map_items(lambda name: _with_image(prompts[name], folder), names, label="prompts")

    return manifests.prompts(folder).update(wanted, make)


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
    if config.world is not None:
        return world_prompts(config.world)
    if config.images is not None:
        rows = _with_camera(read_folder(config.images), config.camera or CameraPrompts())
    else:
        assert config.file is not None  # the validator of PromptsConfig guarantees one source
        rows = read_file(config.file)
        rows = rows if config.camera is None else _with_camera(rows, config.camera)
    without_text = [row.prompt for row in rows if not row.text]
    if without_text:
        raise InvalidInput(f"prompts without a text: {', '.join(without_text[:5])}. Add one, or let prompts.camera write it.")
    return _hold_out(rows, config.held_out)


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


def _fingerprint(row: Prompt) -> str:
    """Hash the row and the content of its image file. Videos are hashed by the generate stage, in clips.jsonl."""
    rendered = row.scene is not None or row.image is None
    return fingerprint(row, None if rendered else path_fingerprint(Path(str(row.image))))


def _with_image(row: Prompt, folder: RunFolder) -> Prompt:
    """Render or copy the prompt's first frame into the run folder, and return the row with the new, relative path."""
    if row.scene is not None:
        image = f"prompts/{row.prompt}.png"
        write_image(folder / image, view(row.scene).images[0])
        return row.model_copy(update={"image": image})
    if row.image is None:
        return row
    source = Path(row.image)
    image = f"prompts/{row.prompt}{source.suffix.lower()}"
    with atomic_path(folder / image) as temporary:
        temporary.write_bytes(source.read_bytes())
    return row.model_copy(update={"image": image})
