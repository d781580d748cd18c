"""prompts: what clips are asked for, as prompts.jsonl, with first frames beside it."""

from collections.abc import Iterator
from pathlib import Path

from videogpa.config import CameraPrompts, PromptsConfig, Recipe
from videogpa.errors import UserError
from videogpa.prompts.camera_moves import camera_text, choose_moves
from videogpa.prompts.files import read_file, read_folder
from videogpa.records import Prompt
from videogpa.storage import manifests
from videogpa.storage.files import atomic_path
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.video import write_image
from videogpa.workers import fill, map_items
from videogpa.world.prompts import view, world_prompts


def run(recipe: Recipe, folder: RunFolder) -> list[Prompt]:
    """Write the prompts and their first frames; those that are there already, for the same recipe, are kept."""
    prompts = {row.prompt: row for row in plan(recipe.prompts)}
    wanted = {name: _fingerprint(row) for name, row in prompts.items()}

    def copy(names: list[str]) -> Iterator[Prompt]:
        return map_items(lambda name: _with_image(prompts[name], folder), names, label="prompts")

    return fill(manifests.prompts(folder), wanted, copy)


def plan(config: PromptsConfig) -> list[Prompt]:
    """Return the prompts that the settings stand for. Images and videos are named where they lie now, by absolute paths.

    The first frames of scenes of the miniature world do not lie anywhere yet.

    Raises:
        UserError: If a file or folder is missing or cannot be used.
    """
    if config.world is not None:
        return world_prompts(config.world)
    if config.images is not None:
        rows = _with_camera(read_folder(config.images), config.camera or CameraPrompts())
    else:
        assert config.file is not None  # the config's validator sees to it
        rows = read_file(config.file)
        rows = rows if config.camera is None else _with_camera(rows, config.camera)
    silent = [row.prompt for row in rows if not row.text]
    if silent:
        raise UserError(f"prompts without a text: {', '.join(silent[:5])}. Add one, or let prompts.camera write it.")
    return _hold_out(rows, config.held_out)


def _with_camera(rows: list[Prompt], config: CameraPrompts) -> list[Prompt]:
    """Let every text ask for a static scene and some moves of the camera; what it said before describes the scene."""
    texts = [camera_text(choose_moves(row.prompt, config), row.text) for row in rows]
    return [row.model_copy(update={"text": text}) for row, text in zip(rows, texts, strict=True)]


def _hold_out(rows: list[Prompt], count: int) -> list[Prompt]:
    """Hold out that many of the training prompts. Which ones follows from the ids: a new prompt replaces one at most."""
    training = [row.prompt for row in rows if row.split == "train"]
    if count >= len(training) and count > 0:
        raise UserError(f"prompts.held_out is {count}, and there are only {len(training)} prompts to train with")
    chosen = set(sorted(training, key=lambda name: fingerprint("held out", name))[:count])
    return [row.model_copy(update={"split": "held_out"}) if row.prompt in chosen else row for row in rows]


def _fingerprint(row: Prompt) -> str:
    """Of the row and of what its image shows; videos have their own, in clips.jsonl."""
    rendered = row.scene is not None or row.image is None
    return fingerprint(row, None if rendered else path_fingerprint(Path(str(row.image))))


def _with_image(row: Prompt, folder: RunFolder) -> Prompt:
    """Put the prompt's first frame into the run folder, so that the run is whole without the files it came from."""
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
