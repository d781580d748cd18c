"""The whole method: prompts -> candidates -> scores -> pairs -> latents -> adapter -> base against aligned -> report."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from videogpa import processes
from videogpa.config import Recipe, load_recipe
from videogpa.errors import UserError
from videogpa.renames import upgrade_recipe_name
from videogpa.storage.provenance import write_recipe
from videogpa.storage.run_folder import RunFolder

STAGES: dict[str, tuple[str, str | None]] = {
    "prompts": ("videogpa.stages.prompts", None),
    "generate": ("videogpa.stages.generate", "prompts.jsonl"),
    "score": ("videogpa.stages.score", "clips.jsonl"),
    "pair": ("videogpa.stages.pair", "scores.jsonl"),
    "encode": ("videogpa.stages.encode", "pairs.jsonl"),
    "train": ("videogpa.stages.train", "latents.jsonl"),
    "evaluate": ("videogpa.stages.evaluate", "adapter/adapter_config.json"),
    "report": ("videogpa.stages.report", "evaluation.json"),
}
"""Stage -> its module, imported when its turn comes, and the file of the stage before that it cannot do without."""


def run(recipe: Recipe, folder: RunFolder, stages: list[str]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield every stage with the call that runs it in the run folder, which is held from the first to the last.

    What is there already for the same settings is kept.

    Raises:
        RunFolderBusy: If another process works in the folder.
        UserError: If an earlier stage has not been run, or several processes were launched for what is not training.
    """
    if processes.world_size() > 1 and stages != ["train"]:
        raise UserError(
            f"{processes.world_size()} processes were launched, but training alone is done by several: `videogpa train`"
        )
    # The main process holds the folder for those that were launched with it.
    with folder.lock() if processes.is_main_process() else nullcontext():
        if processes.is_main_process():
            write_recipe(recipe, folder)
        for stage in stages:
            yield stage, partial(run_stage, stage, recipe, folder)


def run_stage(stage: str, recipe: Recipe, folder: RunFolder) -> Any:
    """Run one stage, and return what it returns."""
    module, needed = STAGES[stage]
    if needed is not None and not (folder / needed).exists():
        names = list(STAGES)
        before = names[names.index(stage) - 1]
        raise UserError(f"{folder.path} has no {needed}: run `videogpa {before}` first, or `videogpa run` for all stages")
    return import_module(module).run(recipe, folder)


def recipes_folder() -> Path:
    """Where the recipes that come with the package lie: in an installed package, or in a checkout."""
    package = Path(__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def open_run(target: str, overrides: tuple[str, ...], out: Path | None) -> tuple[Recipe, RunFolder]:
    """Find what a command is about: a run folder, a recipe file, or the name of a recipe that comes with the package.

    Raises:
        UserError: If it is none of these, or the recipe cannot be used.
    """
    path = Path(target if Path(target).exists() else upgrade_recipe_name(target))
    if path.is_dir():
        if not (path / "recipe.yaml").exists():
            raise UserError(f"{path} is no run folder: it has no recipe.yaml")
        return load_recipe(path / "recipe.yaml", overrides), RunFolder(out or path)
    shipped = recipes_folder() / f"{path}.yaml"
    recipe = load_recipe(shipped if not path.exists() and shipped.exists() else path, overrides)
    return recipe, RunFolder(out or Path("runs") / recipe.name)
