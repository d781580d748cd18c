"""The command line: parses and calls, nothing else."""

import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, subcommand

from videogpa import processes
from videogpa.errors import UserError
from videogpa.renames import upgrade_flags

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class RunArguments:
    """What a run is, and where it lives."""

    target: Positional[str]
    """A run folder, a recipe file, or the name of a recipe that comes with the package (see `videogpa list recipes`)."""
    out: Path | None = None
    """The run folder. Default: runs/<name of the recipe>."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Override a setting of the recipe, such as train.steps=20. May be repeated."""

    def settings(self) -> tuple[str, ...]:
        """Return the overrides that the command line makes."""
        return self.set

    def run(self, stages: list[str]) -> None:
        """Run the stages, and say where their result is."""
        from videogpa.cli.summary import summarise
        from videogpa.pipeline import open_run, run

        recipe, folder = open_run(self.target, self.settings(), self.out)
        for stage, work in run(recipe, folder, stages):
            _console(quiet=not processes.is_main_process()).rule(f"[bold]{stage}", align="left")
            _console(quiet=not processes.is_main_process()).print(summarise(work()))


@dataclass(frozen=True)
class SpreadArguments(RunArguments):
    """A run, and who does the work of the stages that generate, score and encode."""

    workers: int | None = None
    """That many workers generate, score and encode, each with a GPU of its own where there are GPUs. Several take Ray:
    pip install 'videogpa[ray]'."""
    ray: str | None = None
    """The address of a running Ray cluster, or auto: the workers are on its machines, which share the run folder."""

    def settings(self) -> tuple[str, ...]:
        """Return the overrides that the command line makes."""
        return (*self.set, *_workers_settings(self.workers, self.ray))


@dataclass(frozen=True)
class Run(SpreadArguments):
    """Run a whole recipe: generate, score, pair, encode, train, evaluate, report.

    What is there already for the same settings is kept, so that a killed run continues where it was, and a changed setting
    redoes just what depends on it.

        videogpa run smoke-test
        videogpa run my-recipe.yaml --out runs/first --set train.steps=20
        videogpa run my-recipe.yaml --workers 8                 # 8 GPUs of this machine
        videogpa run my-recipe.yaml --workers 32 --ray auto     # of a Ray cluster
    """

    def __call__(self) -> None:
        from videogpa.pipeline import STAGES

        self.run(list(STAGES))


@dataclass(frozen=True)
class Demo:
    """Align the miniature that ships with the package, from prompts to report, on this machine's CPU in about five minutes.

    A true result: base against aligned model on scenes that neither was trained on, with the same seeds, geometry and motion
    side by side (docs/demo.md).

        videogpa demo
        videogpa demo --over-optimise   # how preference training goes wrong: accuracy is perfect, and every clip gets worse
    """

    out: Path | None = None
    """The run folder. Default: runs/demo, or runs/demo-over-optimised."""
    over_optimise: bool = False
    """Train with far too large steps. Winners and losers are both denoised worse than before, losers more so, which is all that
    loss and accuracy see: look at the gains in the report."""

    def __call__(self) -> None:
        from videogpa.cli.demo import OVER_OPTIMISE, RECIPE

        out = self.out or Path("runs") / ("demo-over-optimised" if self.over_optimise else "demo")
        Run(target=RECIPE, out=out, set=OVER_OPTIMISE if self.over_optimise else ())()
        _console().print(f"Open {out / 'report.html'} in a browser.")


@dataclass(frozen=True)
class Prompts:
    """Show the prompts that a recipe would use, or write them to a file. Makes no run and loads no model.

    A recipe takes them from a file (JSONL, JSON, CSV, plain text), from a folder of images, or from the miniature world:
    docs/prompts.md. The file written here can be edited, and used as `prompts.file`.

        videogpa prompts my-recipe.yaml
        videogpa prompts my-recipe.yaml --set prompts.camera.seed=1 --out prompts.jsonl
    """

    target: Positional[str]
    """A run folder, a recipe file, or the name of a recipe that comes with the package."""
    out: Path | None = None
    """Write them to this file, as JSONL."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Override a setting of the recipe, such as prompts.held_out=8. May be repeated."""

    def __call__(self) -> None:
        from videogpa.pipeline import open_run
        from videogpa.prompts.output import prompt_table, write_prompts
        from videogpa.stages.prompts import plan

        recipe, _ = open_run(self.target, self.set, None)
        rows = plan(recipe.prompts)
        _console(stderr=False).print(prompt_table(rows))
        if self.out is not None:
            write_prompts(rows, self.out)
            _console().print(f"{len(rows)} prompts written to {self.out}", soft_wrap=True)


@dataclass(frozen=True)
class Generate(SpreadArguments):
    """Generate the candidates of every training prompt, or take those that the prompts bring (docs/prompts.md).

    Every clip keeps the latents that it was decoded from, for training. With an adapter the clips are those of the aligned
    model; the adapter and its scale are part of what a clip is, so that another one makes the clips again.

        videogpa generate my-recipe.yaml --workers 8
        videogpa generate my-recipe.yaml --adapter runs/first/adapter --adapter-scale 0.5 --out runs/second
    """

    adapter: Path | None = None
    """A LoRA in PEFT's format to generate with: the adapter/ folder of a run, or a published one. It must fit exactly."""
    adapter_scale: float | None = None
    """How strongly the adapter is put on: 1 (default) is as it was trained, 0 not at all."""

    def settings(self) -> tuple[str, ...]:
        adapter = () if self.adapter is None else (f"generate.adapter={json.dumps(str(self.adapter.absolute()))}",)
        scale = () if self.adapter_scale is None else (f"generate.adapter_scale={self.adapter_scale}",)
        return (*super().settings(), *adapter, *scale)

    def __call__(self) -> None:
        self.run(["prompts", "generate"])


@dataclass(frozen=True)
class Score:
    """Score clips: how consistent is what they show with one 3D scene?

    Writes scores.jsonl (one row per clip), scores.csv, columns.json (what each number means and which direction is better)
    and report.html into the folder --out. Clips that cannot be scored are rows with a reason, not numbers.

        videogpa score clips/ --out scores/
        videogpa score a.mp4 'more/*.mp4' --critic sfm --frames 10
        videogpa score long.mp4 --frames all
        videogpa score runs/smoke-test            # the score stage of a run
    """

    paths: Positional[tuple[str, ...]]
    """Video files, folders of them, and globs; or one run folder."""
    critic: str = "sfm"
    """Which critic reconstructs the clips: see `videogpa list critics`."""
    weights: str | None = None
    """Of a learned critic: a folder, a file, or a hub id. Default: see `videogpa list critics`."""
    option: UseAppendAction[tuple[str, ...]] = ()
    """Another setting of the critic, such as crop=centre (see docs/critics.md). May be repeated."""
    paper: bool = False
    """Score as the paper did: its 10 frames, centre crop, points and LPIPS, in place of --frames and --lpips-net."""
    frames: int | Literal["all"] = 10
    """How many frames of a clip are judged, evenly spread, first and last included; or `all`."""
    window: int = 32
    """More frames than that are reconstructed in windows of so many, one after the other, and joined: memory stays that of
    one window, time grows with the length."""
    overlap: int = 8
    """Frames that a window shares with the next. They are what joins the two."""
    lpips_net: Literal["alex", "vgg"] = "alex"
    """The network of the LPIPS distance. The paper's is vgg, which does not ship with the package (29 MB)."""
    out: Path = Path("scores")
    """Where the results go. The same folder again continues where it was."""
    workers: int | None = None
    """Score with that many workers, each with a GPU of its own where there are GPUs. Several take Ray."""
    ray: str | None = None
    """The address of a running Ray cluster, or auto."""

    def __call__(self) -> None:
        if len(self.paths) == 1 and (Path(self.paths[0]) / "recipe.yaml").exists():
            SpreadArguments(target=self.paths[0], workers=self.workers, ray=self.ray).run(["score"])
            return
        from videogpa.config import paper_protocol, parse_settings, score_config, workers_config
        from videogpa.report.tables import score_table
        from videogpa.stages.score import score_files

        protocol: dict[str, Any] = {"critic": self.critic, "frames": self.frames, "lpips_net": self.lpips_net, "options": {}}
        settings = paper_protocol(self.critic) if self.paper else protocol
        settings |= {"window": self.window, "overlap": self.overlap}
        settings["options"] |= parse_settings(self.option) | ({"weights": self.weights} if self.weights else {})
        scores = score_files(self.paths, score_config(**settings), self.out, workers_config(self.workers or 1, self.ray))
        _console(stderr=False).print(score_table(scores))
        _console().print(f"Open {self.out / 'report.html'} in a browser; the numbers are in {self.out / 'scores.jsonl'}.")


@dataclass(frozen=True)
class Pair(RunArguments):
    """Pair the best and the worst candidate of every prompt, and print how many groups were lost where."""

    def __call__(self) -> None:
        self.run(["pair"])


@dataclass(frozen=True)
class Encode(SpreadArguments):
    """Encode the paired clips and their prompts into what training reads.

    Generated clips kept the latents that they were decoded from; only clips of your own are encoded.
    """

    def __call__(self) -> None:
        self.run(["encode"])


@dataclass(frozen=True)
class Train(RunArguments):
    r"""Fine-tune the model towards the winners with LoRA: by DPO, on the winners alone, or both.

    Goes on from the last checkpoint. What to read off its numbers, and what to do when memory is short: docs/training.md.

        videogpa train runs/mine --set train.loss=dpo+sft
        accelerate launch --multi_gpu --num_processes 8 -m videogpa.cli train runs/mine \
            --set train.gradient_accumulation_steps=2
    """

    def __call__(self) -> None:
        self.run(["train"])


@dataclass(frozen=True)
class Evaluate(SpreadArguments):
    """Compare base and aligned model on held-out prompts, on the same seeds."""

    def __call__(self) -> None:
        self.run(["evaluate"])


@dataclass(frozen=True)
class Report(RunArguments):
    """Write the run's report.html."""

    def __call__(self) -> None:
        self.run(["report"])


@dataclass(frozen=True)
class List:
    """List critics, models, recipes, measures with their directions, or settings; or print all that is known of one of them.

    videogpa list critics
    videogpa list critics vggt
    videogpa list settings train
    """

    what: Positional[Literal["critics", "models", "recipes", "measures", "settings"]]
    name: Positional[str | None] = None
    """One of them, such as vggt (licence, memory, options, paper) or train.beta; of settings also a section, such as train."""

    def __call__(self) -> None:
        from videogpa.cli.catalogue import show

        _console(stderr=False).print(show(self.what, self.name))


@dataclass(frozen=True)
class CheckCritic:
    """Ask whether a critic says so when there is nothing to know.

    Puts clips without a consistent 3D scene (noise, one repeated frame, frames of different scenes, a camera that only turns,
    a zoom, a cut, a mirrored half) and consistent clips to it. Right is to decline the former, or to score them worse than
    every one of the latter. Exit status 1 if the critic is fooled.

        videogpa check-critic sfm
        videogpa check-critic vggt --weights path/to/VGGT-1B-Commercial
        videogpa check-critic vggt --weights tiny:vggt --world plain
    """

    critic: Positional[str]
    """See `videogpa list critics`."""
    weights: str | None = None
    """Of a learned critic: a folder, a file, or a hub id."""
    option: UseAppendAction[tuple[str, ...]] = ()
    """Another setting of the critic, such as crop=centre. May be repeated."""
    seeds: int = 1
    """How many scenes, each with all controls. Eleven clips a scene."""
    world: Literal["detailed", "plain"] = "detailed"
    """How the clips are filmed. detailed: 25 frames of 480 x 288; plain: 9 of 32 x 32, all that the miniatures know."""

    def __call__(self) -> None:
        from videogpa.cli.check_critic import check_critic, table
        from videogpa.config import parse_settings, score_config

        options = parse_settings(self.option) | ({"weights": self.weights} if self.weights else {})
        findings = check_critic(score_config(critic=self.critic, options=options), self.seeds, self.world)
        _console(stderr=False).print(table(findings))
        if not all(finding.right for finding in findings):
            raise SystemExit(1)


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has, and which recipes fit it."""

    def __call__(self) -> None:
        from videogpa.cli.doctor import report

        for part in report():
            _console(stderr=False).print(part)


Command = (
    Annotated[Run, subcommand("run")]
    | Annotated[Demo, subcommand("demo")]
    | Annotated[Score, subcommand("score")]
    | Annotated[Prompts, subcommand("prompts")]
    | Annotated[Generate, subcommand("generate")]
    | Annotated[Pair, subcommand("pair")]
    | Annotated[Encode, subcommand("encode")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Report, subcommand("report")]
    | Annotated[List, subcommand("list")]
    | Annotated[CheckCritic, subcommand("check-critic")]
    | Annotated[Doctor, subcommand("doctor")]
)


# Before torch is loaded: OpenMP's threads otherwise spin as they wait for each other, and where two programs share the cores
# small models run three times slower for it (miniature generation on two busy cores: 36 s, with this 11 s).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: list[str] | None = None) -> None:
    """Run a command. What is the user's to mend ends with its message and exit status 1, everything else with a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("videogpa").setLevel(logging.INFO if processes.is_main_process() else logging.ERROR)
    command: Command = tyro.cli(
        Command,
        prog="videogpa",
        description="Score the 3D consistency of videos, and align video diffusion models with it.",
        args=upgrade_flags(sys.argv[1:] if arguments is None else arguments),
        config=(OmitArgPrefixes,),
    )
    try:
        command()
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or 'the disk'}. Finished work is kept; mend it and run this again.")
    except KeyboardInterrupt:
        _fail("interrupted; finished work is kept, run this again to continue")


def _workers_settings(workers: int | None, ray: str | None) -> tuple[str, ...]:
    count = () if workers is None else (f"workers.count={workers}",)
    return count if ray is None else (*count, f"workers.ray={json.dumps(ray)}")


def _fail(message: str) -> None:
    _console().print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(1)


def _console(*, stderr: bool = True, quiet: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, quiet=quiet)


if __name__ == "__main__":
    main()
