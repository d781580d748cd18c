"""prompts.jsonl: the run's own copy of what clips are asked for, with first frames beside it."""

import json
from pathlib import Path

from pydantic import ValidationError

from videogpa import manifests
from videogpa.config import PromptsConfig, Recipe
from videogpa.errors import UserError
from videogpa.records import Prompt
from videogpa.runs import RunFolder, atomic_path, fingerprint, path_fingerprint
from videogpa.video import write_image
from videogpa.workers import fill
from videogpa.world.prompts import view, world_prompts


def run(recipe: Recipe, folder: RunFolder) -> list[Prompt]:
    """Write the prompts and their first frames; those that are there already, for the same recipe, are kept."""
    prompts = {row.prompt: row for row in _prompts(recipe.prompts)}
    wanted = {key: row.fingerprint for key, row in prompts.items()}
    return fill(manifests.prompts(folder), wanted, lambda key: _with_image(prompts[key], folder), label="prompts")


def _prompts(config: PromptsConfig) -> list[Prompt]:
    if config.world is not None:
        return [row.model_copy(update={"fingerprint": fingerprint(row)}) for row in world_prompts(config.world)]
    assert config.file is not None  # the config's validator sees to it
    return _read(config.file)


def _read(file: Path) -> list[Prompt]:
    """Read a JSONL file of prompts; images are relative to it."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"no prompts at {file} (prompts.file of the recipe)") from None
    rows: dict[str, Prompt] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            row = _parse(line, f"{file}, line {number}")
            if row.prompt in rows:
                raise UserError(f"{file}, line {number}: the prompt id {row.prompt!r} is there already")
            image = None if row.image is None else _image(file.parent / row.image, f"{file}, line {number}")
            rows[row.prompt] = row.model_copy(
                update={"fingerprint": fingerprint(row, image and path_fingerprint(image)), "image": image and str(image)}
            )
    return list(rows.values())


def _parse(line: str, where: str) -> Prompt:
    try:
        return Prompt.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON: {error}") from None
    except ValidationError as error:
        problem = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UserError(f'{where}: expected {{"prompt": ID, "text": ..., "image": optional path}}, but {problem}') from None


def _image(path: Path, where: str) -> Path:
    if not path.is_file():
        raise UserError(f"{where}: no image at {path}")
    return path


def _with_image(row: Prompt, folder: RunFolder) -> Prompt:
    """Put the prompt's first frame into the run folder, so that the run is whole without the files it came from."""
    if row.scene is not None and row.image is not None:
        write_image(folder / row.image, view(row.scene).images[0])
    elif row.image is not None:
        source = Path(row.image)
        row = row.model_copy(update={"image": f"prompts/{row.prompt}{source.suffix.lower()}"})
        with atomic_path(folder / str(row.image)) as temporary:
            temporary.write_bytes(source.read_bytes())
    return row
