"""The whole method: prompts -> candidates -> scores -> pairs -> latents -> adapter -> base against aligned -> report.

Every stage reads the files that the stages before it left in the run folder, and writes its own. What is there already for the
same settings is kept. Each of several rounds (`stages/rounds.py`) runs all of them. A stage's module is
imported when its turn comes.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

from videogpa import processes
from videogpa.config import Recipe, load_recipe, load_run_recipe, with_cluster, with_settings
from videogpa.defaults import Settings
from videogpa.errors import InvalidInput, MissingInput
from videogpa.findings import Evaluation, Rounds
from videogpa.records import Clip, Latents, Pair, Prompt, Score
from videogpa.storage.provenance import write_recipe
from videogpa.storage.run_folder import RunFolder
from videogpa.text_files import is_folder
from videogpa.workers import require_possible

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """What a run made: the rows of its manifests, and where the rest lies."""

    folder: Path
    """The run folder (docs/reference/conventions.md)."""
    prompts: list[Prompt]
    clips: list[Clip]
    """The candidates of the training prompts."""
    scores: list[Score]
    pairs: list[Pair]
    """The preference pairs, and the groups that gave none with the reason."""
    latents: list[Latents]
    adapter: Path
    """The folder of the trained LoRA, in PEFT's format; with `evaluate.adapter`, that."""
    evaluation: Evaluation
    """Base against aligned model, per critic."""
    report: Path
    """report.html: one file that opens offline."""
    rounds: Rounds | None = None
    """Of several rounds: every one against the base, and the last against the one before. All else is then the last round's,
    but for `report`, which shows all of them."""


def run(recipe: Recipe, folder: RunFolder) -> RunResult:
    """Run all stages in the run folder, which is locked from the first to the last; for every round of `rounds.count`.

    With `evaluate.adapter` those that make and train an adapter are left out.

    Raises:
        RunFolderBusy: If another process works in the folder.
        UserError: If a stage cannot use its settings or its input, several processes were launched, or the verdict is against a
            round that another was to go on from.
    """
    from videogpa.stages import rounds as of_rounds  # imported here because it imports torch

    with hold(recipe, folder):
        of_rounds.require_possible(recipe, folder)
        log_notes_on_evaluation(recipe)
        result = _run_stages(recipe, folder)
        for number in range(2, recipe.rounds.count + 1):
            of_rounds.require_success(recipe, number - 1, result.evaluation)
            place = of_rounds.folder_of(folder, number)
            _log.info("round %d of %d, from the adapter %s", number, recipe.rounds.count, result.adapter)
            own = of_rounds.recipe_of(recipe, folder, number)
            with hold(own, place):
                result = _run_stages(own, place, base_of=folder)
            so_far = recipe.model_copy(update={"rounds": recipe.rounds.model_copy(update={"count": number})})
            result = replace(result, rounds=rounds.run(so_far, folder), report=report.run(recipe, folder))
        return result


def _run_stages(recipe: Recipe, folder: RunFolder, *, base_of: RunFolder | None = None) -> RunResult:
    """Run the stages of one round; a later one takes the base model's clips of the evaluation from the first."""
    from videogpa.stages import rounds as of_rounds

    made = prompts.run(recipe, folder)
    if recipe.rounds.count > 1:
        of_rounds.require_candidates(folder)
    trains = recipe.evaluate.adapter is None
    if not trains:
        _log.info(
            "evaluate.adapter is %s, which is compared with the base model: nothing is trained; "
            "--set evaluate.adapter=null trains",
            recipe.evaluate.adapter,
        )
    clips = generate.run(recipe, folder) if trains else []
    scores = score.run(recipe, folder) if trains else []
    pairs = pair.run(recipe, folder) if trains else []
    latents = encode.run(recipe, folder) if trains else []
    adapter = recipe.evaluate.adapter or train.run(recipe, folder)
    if base_of is not None:
        of_rounds.share_base(base_of, folder)
    return RunResult(
        folder=folder.path,
        prompts=made,
        clips=clips,
        scores=scores,
        pairs=pairs,
        latents=latents,
        adapter=adapter,
        evaluation=evaluate.run(recipe, folder),
        report=report.run(recipe, folder),
    )


def log_notes_on_evaluation(recipe: Recipe) -> None:
    """Log, before hours of work, which weights the evaluation fetches, and whether one of its critics also chose the pairs."""
    if processes.is_main_process():
        for note in import_module("videogpa.stages.notes").notes_on_evaluation(recipe):
            _log.info(note)


@dataclass(frozen=True)
class Stage(Generic[T]):
    """A stage by its name: its module is `videogpa.stages.<name>`."""

    name: str
    needs: str | None = None
    """The file of the stage before, which this one cannot do without."""
    stands_alone: Callable[[Recipe], bool] = lambda recipe: False
    """Whether a recipe lets the stage do without that file."""

    def run(self, recipe: Recipe, folder: RunFolder) -> T:
        """Run the stage in the run folder, and return what its `run` returns.

        Raises:
            MissingInput: If the stage before has not been run.
        """
        if self.needs is not None and not (folder / self.needs).exists() and not self.stands_alone(recipe):
            names = list(STAGES)
            before = _COMMANDS.get(names[names.index(self.name) - 1], names[names.index(self.name) - 1])
            raise MissingInput(
                f"{folder.path} has no {self.needs}: run `videogpa {before}` first, or `videogpa run` for all stages"
            )
        watcher = _watcher.get()
        watcher.begin(self.name)
        if self.name == "report":  # which shows the recipe
            folder.begun()
        result = cast(T, import_module(f"videogpa.stages.{self.name}").run(recipe, folder))
        watcher.end(self.name, result)
        return result


prompts: Stage[list[Prompt]] = Stage("prompts")
generate: Stage[list[Clip]] = Stage("generate", needs="prompts.jsonl")
score: Stage[list[Score]] = Stage("score", needs="clips.jsonl")
pair: Stage[list[Pair]] = Stage("pair", needs="scores.jsonl")
encode: Stage[list[Latents]] = Stage("encode", needs="pairs.jsonl")
train: Stage[Path] = Stage("train", needs="latents.jsonl")
evaluate: Stage[Evaluation] = Stage(
    "evaluate", needs="adapter/adapter_config.json", stands_alone=lambda recipe: recipe.evaluate.adapter is not None
)
report: Stage[Path] = Stage("report", needs="evaluation.json")
rounds: Stage[Rounds] = Stage("rounds")
"""Of several rounds, once each of them has ended."""

STAGES: dict[str, Stage[Any]] = {
    stage.name: stage for stage in (prompts, generate, score, pair, encode, train, evaluate, report)
}
"""All stages in their order, by name."""

_COMMANDS = {"prompts": "generate", "score": "score-run"}
"""Commands that run a stage under another name than its own."""


@contextmanager
def hold(recipe: Recipe, folder: RunFolder, *, several_processes: bool = False) -> Iterator[None]:
    """Hold the run folder's lock while stages run, and write the resolved recipe into the folder once its settings are used.

    A setting that turns out to be unusable before anything was made with it does not stay in the folder's recipe.yaml.

    Args:
        recipe: What is to be run.
        folder: The run folder; it is made if it is not there.
        several_processes: Whether the stages can be run by several processes that were launched together: training alone
            can. The main process then holds the folder for the others.

    Raises:
        RunFolderBusy: If another process works in the folder.
        InvalidInput: If several processes were launched for other stages.
    """
    require_possible(recipe.workers)
    if processes.world_size() > 1 and not several_processes:
        raise InvalidInput(
            f"{processes.world_size()} processes were launched, but training alone is done by several: `videogpa train`"
        )
    with folder.lock() if processes.is_main_process() else nullcontext():
        if processes.is_main_process():
            folder.when_begun(lambda: write_recipe(recipe, folder))
        yield
        folder.begun()


@contextmanager
def opened(
    target: str | Path | Recipe,
    settings: Settings,
    out: str | Path | None,
    *,
    ray: str | None = None,
    several_processes: bool = False,
) -> Iterator[tuple[Recipe, RunFolder]]:
    """Find recipe and run folder as `open_run` does, and hold the folder while stages run: see `hold`."""
    recipe, folder = open_run(target, settings, out, ray=ray)
    with hold(recipe, folder, several_processes=several_processes):
        yield recipe, folder


@runtime_checkable
class Watcher(Protocol):
    """Is told of every stage that begins and ends: the command line prints it."""

    def begin(self, stage: str) -> None:
        """Called before a stage runs."""
        ...

    def end(self, stage: str, result: Any) -> None:
        """Called with what the stage returned."""
        ...


class _Silent:
    def begin(self, stage: str) -> None:
        pass

    def end(self, stage: str, result: Any) -> None:
        pass


_watcher: ContextVar[Watcher] = ContextVar("watcher", default=_Silent())  # noqa: B039 - it has no state


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher` of the stages that run in the `with` block."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def open_run(
    target: str | Path | Recipe, settings: Settings, out: str | Path | None, *, ray: str | None = None
) -> tuple[Recipe, RunFolder]:
    """Find the recipe and the run folder of a run.

    Args:
        target: A run folder, a recipe file, the name of a recipe that comes with the package, or a recipe.
        settings: Settings of the recipe to override: `{"train.steps": 20}`, or `["train.steps=20"]` with values in YAML.
        out: The run folder. By default `target` if that is one, else `runs/<name of the recipe>`.
        ray: The address of the Ray cluster that does the work, which no recipe can name.

    Raises:
        MissingInput: If there is no such recipe, or the folder is not that of a run.
        InvalidInput: If the recipe cannot be used.
    """
    if isinstance(target, Recipe):
        recipe = with_settings(target, settings)
    elif is_folder(Path(target)):
        return with_cluster(load_run_recipe(Path(target), settings), ray), RunFolder(Path(out or target))
    else:
        recipe = load_recipe(target, settings)
    return with_cluster(recipe, ray), RunFolder(Path(out or Path("runs") / recipe.name))
