"""What of the method matters, in miniature: each choice changed alone, judged by the exact geometry on scenes never seen.

    python benchmarks/ablations.py [--recipe demo] [--seeds 3] [--only GROUP[:SEEDS] ...] [--page docs/science/ablations.md]

Every line of a table is a training with one thing changed and all else as in the recipe, once per seed (LoRA, noise, order of
pairs, what is drawn at random). Candidates, base clips and scores are made once and shared where settings allow. All are
judged by the `oracle`, with the recipe's own frames, on the same held-out scenes and seeds. Every cell is a run folder in
--out: a study that was killed goes on where it was.
"""

import argparse
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean, stdev

from videogpa.bundled import recipes_folder
from videogpa.config import Recipe, load_recipe
from videogpa.errors import UserError
from videogpa.findings import Evaluation, Outcome
from videogpa.pipeline import STAGES
from videogpa.records import Pair
from videogpa.report.verdict import VERDICTS
from videogpa.storage import manifests
from videogpa.storage.files import atomic_path
from videogpa.storage.fingerprints import fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.workers import map_items

JUDGE = "oracle"
SHARED = ("prompts.jsonl", "clips.jsonl", "scores.jsonl", "prompts", "clips", "model", "evaluation/base")


@dataclass(frozen=True)
class Variant:
    """A line of a table: what is changed, and in which words."""

    name: str
    changes: tuple[str, ...] = ()
    at_random: bool = False
    """Pairs are drawn, not chosen by scores."""
    tested: tuple[str, ...] = ()
    """Changes of the recipe for the held-out prompts alone."""


UNCHANGED = Variant("as in the recipe")

ESTIMATOR = "vggt", "{weights: 'tiny:vggt', device: cpu}"
"""The critic that estimates, and its options, where the group `critic` gives one half of the geometry exactly."""


def estimated(name: str, options: str) -> tuple[Variant, ...]:
    """Return the lines in which depth, cameras or both are a critic's estimates."""
    depth, cameras = f"depth: {name}, depth_options: {options}", f"cameras: {name}, cameras_options: {options}"
    halves = {"exact depth, estimated cameras": cameras, "estimated depth, exact cameras": depth}
    both = f"{depth}, {cameras}"
    less = {
        f"both estimated, the least confident {share:.0%} left out": f"{both}, drop_fraction: {share}" for share in (0.2, 0.5)
    }
    parts = {**halves, **less}
    return tuple(Variant(words, ("score.critic=mixed", f"score.options={{{part}}}")) for words, part in parts.items())


ESTIMATED = estimated(*ESTIMATOR)

GROUPS: dict[str, tuple[str, tuple[Variant, ...]]] = {
    "scoring": (
        "Which score chooses the pairs",
        (
            Variant("leave-one-out", ("pair.measure=loo_error", "pair.min_gap=0.0")),
            Variant("the paper's 3DCS", ("pair.measure=error_3dcs", "pair.min_gap=0.0")),
            Variant(
                "epipolar error (SIFT)",
                ("score.critic=sfm", "score.options={}", "pair.measure=epipolar", "pair.min_gap=0.0"),
            ),
            Variant("none: pairs at random", at_random=True),
            Variant("leave-one-out, preference alone (no SFT term)", ("train.loss=dpo",)),
            Variant("none: pairs at random, preference alone", ("train.loss=dpo",), at_random=True),
            Variant("none: fine-tuning on winners", ("train.loss=sft", "pair.measure=loo_error", "pair.min_gap=0.0")),
        ),
    ),
    "critic": (
        "What the critic must know",
        (
            UNCHANGED,
            Variant("exact depth and cameras", ("score.critic=oracle", "score.options={}")),
            *ESTIMATED,
            Variant("4 judged frames", ("score.frames=4",)),
            Variant("6 judged frames", ("score.frames=6",)),
        ),
    ),
    "errors": (
        "The exact geometry, made wrong on purpose",
        (
            Variant("nothing wrong", ("score.critic=oracle", "score.options={}")),
            Variant("depth by 5 %", ("score.critic=oracle", "score.options={depth_noise: 0.05}")),
            Variant("depth by 20 %", ("score.critic=oracle", "score.options={depth_noise: 0.2}")),
            Variant("cameras by 2 cm", ("score.critic=oracle", "score.options={camera_noise: 0.02}")),
            Variant("cameras by 10 cm", ("score.critic=oracle", "score.options={camera_noise: 0.1}")),
            Variant("both: 20 %, 10 cm", ("score.critic=oracle", "score.options={depth_noise: 0.2, camera_noise: 0.1}")),
        ),
    ),
    "pairs": (
        "Which pairs, and which β",
        (
            UNCHANGED,
            Variant("half the prompts", ("prompts.world.train={half}",)),
            Variant("a quarter of the prompts", ("prompts.world.train={quarter}",)),
            Variant("one pair of a group", ("pair.per_group=1",)),
            Variant("gap at least 0.01", ("pair.min_gap=0.01",)),
            Variant("gap at least 0.02", ("pair.min_gap=0.02",)),
            Variant("motion not matched", ("pair.keep_motion=0.0", "pair.min_motion=0.0")),
            Variant("winner keeps nine tenths of the motion", ("pair.keep_motion=0.9",)),
            Variant("beta a tenth", ("train.beta={less}",)),
            Variant("beta tenfold", ("train.beta={more}",)),
        ),
    ),
    "words": (
        "Trained on scripted prompts",
        (
            Variant("tested on scripted ones", ("prompts.world.language=scripted",)),
            Variant("tested on natural ones", ("prompts.world.language=scripted",), tested=("prompts.world.language=natural",)),
        ),
    ),
}


@dataclass(frozen=True)
class Cell:
    """A variant with a seed: one run folder."""

    variant: Variant
    recipe: Recipe
    folder: RunFolder
    seed: int


@dataclass(frozen=True)
class Result:
    """What became of a cell: its outcome, or why there is none."""

    pairs: int
    outcome: Outcome | None
    reason: str = ""


def main() -> None:
    """Make what is not there yet, print the tables, and write the page if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="GROUP[:SEEDS]",
        default=list(GROUPS),
        help=f"of {', '.join(GROUPS)}; with seeds of its own",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the recipe")
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    path = Path(arguments.recipe)
    path = path if path.exists() else recipes_folder() / f"{arguments.recipe}.yaml"
    report = study(path, arguments.set, arguments.out, chosen_groups(arguments.only, arguments.seeds))
    print(report)
    if arguments.page:
        with atomic_path(arguments.page) as temporary:
            temporary.write_text(report)


def chosen_groups(names: Sequence[str], seeds: int) -> dict[str, int]:
    """Return how many seeds each of these groups gets; `pairs:1` has one of its own.

    Raises:
        UserError: If there is no such group, or its seeds are no number.
    """
    chosen = {}
    for name in names:
        group, _, own = name.partition(":")
        if group not in GROUPS or not (own or "1").isdigit():
            raise UserError(
                f"there is no group {name}: expected one of {', '.join(GROUPS)}, or one with a number of seeds, pairs:1"
            )
        chosen[group] = int(own or seeds)
    return chosen


def study(path: Path, settings: Sequence[str], out: Path, groups: Mapping[str, int]) -> str:
    """Run all cells of the groups, each with so many seeds, and return the page."""
    base = load_recipe(path, settings)
    if JUDGE not in base.evaluate.critics:
        raise UserError(f"{path} is not judged by the {JUDGE}: nothing else knows the truth; set evaluate.critics")
    cells = [
        [(variant, [make_cell(path, settings, base, variant, seed, out) for seed in range(seeds)]) for variant in variants]
        for variants, seeds in ((GROUPS[group][1], seeds) for group, seeds in groups.items())
    ]
    work = {cell.folder.path: cell for group in cells for _, row in group for cell in row}  # equal settings: one folder
    shared = out / "shared"
    candidates(base, RunFolder(shared))
    done = dict(
        zip(work, map_items(lambda cell: made(cell, base, shared), list(work.values()), label="ablations"), strict=True)
    )
    lines = []
    for (group, seeds), rows in zip(groups.items(), cells, strict=True):
        results = [(variant, [done[cell.folder.path] for cell in row]) for variant, row in rows]
        lines += [f"## {GROUPS[group][0]}", "", f"Seeds of training: {seeds}.", "", *table(results), ""]
    return "\n".join([*heading(path, settings, base), *lines])


def make_cell(path: Path, settings: Sequence[str], base: Recipe, variant: Variant, seed: int, out: Path) -> Cell:
    """Return the run of a variant with a seed. What is the same run under two names gets one folder."""
    numbers = base.prompts.world.train if base.prompts.world is not None else 1
    relative: dict[str, float] = {"half": max(numbers // 2, 1), "quarter": max(numbers // 4, 1)}
    relative |= {"less": base.train.beta / 10, "more": base.train.beta * 10}
    changes = [change if "score.options" in change else change.format(**relative) for change in variant.changes]
    recipe = load_recipe(path, [*settings, *changes, f"train.seed={base.train.seed + seed}"])
    number = fingerprint(recipe, variant.at_random, variant.tested)[:8]
    return Cell(variant, recipe, RunFolder(out / f"{number}-seed{seed}"), seed)


def candidates(base: Recipe, folder: RunFolder) -> None:
    """Make the prompts, candidates and scores that most cells share."""
    with folder.lock():
        for stage in ("prompts", "generate", "score"):
            STAGES[stage].run(base, folder)


def made(cell: Cell, base: Recipe, shared: Path) -> Result:
    """Make a cell, or what is left of it, and return its result."""
    with cell.folder.lock():
        share(shared, cell.folder.path)
        for stage in ("prompts", "generate", "score"):
            STAGES[stage].run(cell.recipe, cell.folder)
        if cell.variant.at_random:
            draw_pairs(cell)
        else:
            STAGES["pair"].run(cell.recipe, cell.folder)
        pairs = sum(row.dropped is None for row in manifests.pairs(cell.folder).rows())
        if pairs == 0:
            return Result(0, None, "no pair: " + most_common_reason(cell.folder))
        try:
            for stage in ("encode", "train"):
                STAGES[stage].run(cell.recipe, cell.folder)
        except UserError as error:  # such as a loss that exploded: a finding
            return Result(pairs, None, str(error).splitlines()[0])
        found = judged(cell, base)
    share(cell.folder.path, shared, ("evaluation/base",))
    return Result(pairs, found)


def judged(cell: Cell, base: Recipe) -> Outcome | None:
    """Compare base and aligned model: always with the recipe's own judge and frames, whatever taught."""
    judge = cell.recipe.model_copy(update={"score": base.score, "evaluate": base.evaluate})
    folder = cell.folder
    if cell.variant.tested:
        folder = cell.folder.subfolder("tested")
        world = cell.recipe.prompts.world
        assert world is not None
        language = cell.variant.tested[0].partition("=")[2]
        prompts = cell.recipe.prompts.model_copy(update={"world": world.model_copy(update={"language": language})})
        judge = judge.model_copy(update={"prompts": prompts})
        share(cell.folder.path, folder.path, ("adapter", "model"))
        STAGES["prompts"].run(judge, folder)
    evaluation: Evaluation = STAGES["evaluate"].run(judge, folder)
    return evaluation.critics[JUDGE].outcome


def draw_pairs(cell: Cell) -> None:
    """Pair two candidates of every prompt at random."""
    choose = Random(cell.seed)
    groups: dict[str, list[str]] = {}
    for clip in manifests.clips(cell.folder).rows():
        groups.setdefault(clip.prompt, []).append(clip.clip)
    rows = manifests.pairs(cell.folder)
    drawn = {prompt: choose.sample(clips, 2) for prompt, clips in groups.items()}
    made = [Pair(prompt=prompt, winner=winner, loser=loser) for prompt, (winner, loser) in drawn.items()]
    rows.drop_stale({})
    for row in made:
        rows.append(row)


def most_common_reason(folder: RunFolder) -> str:
    """Return why most groups were dropped."""
    reasons = [row.dropped for row in manifests.pairs(folder).rows() if row.dropped is not None]
    return max(reasons, key=reasons.count) if reasons else "there are no groups"


def share(source: Path, target: Path, names: Sequence[str] = SHARED) -> None:
    """Give a folder what another has made and it has not: manifests as copies, all other files as links to the same bytes.

    A run replaces the files that it makes anew, so that links are never written through; manifests it appends to.
    """
    for name in names:
        for file in sorted(_files(source / name)):
            place = target / file.relative_to(source)
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                if file.suffix == ".jsonl":
                    shutil.copyfile(file, place)
                else:
                    os.link(file, place)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file())
    elif path.exists():
        yield path


def table(results: Sequence[tuple[Variant, Sequence[Result]]]) -> list[str]:
    """Return a Markdown table: means over the seeds, with their standard deviation, of changes in per cent of the base."""
    lines = [
        "| | pairs | loo_error | adherence | flow | failing clips | verdicts |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant, found in results:
        outcomes = [result.outcome for result in found if result.outcome is not None]
        pairs = "/".join(dict.fromkeys(str(result.pairs) for result in found))
        if not outcomes:
            lines.append(f"| {variant.name} | {pairs} | – | – | – | – | {found[0].reason} |")
            continue
        geometry = spread([outcome.geometry.change for outcome in outcomes])
        adherence, flow = (
            spread([one.motion[name].change for one in outcomes if name in one.motion]) for name in ("adherence", "flow")
        )
        verdicts = [VERDICTS[outcome.verdict] for outcome in outcomes]
        told = "; ".join(f"{verdicts.count(verdict)} × {verdict}" for verdict in dict.fromkeys(verdicts))
        lost = len(found) - len(outcomes)
        told += f"; {lost} × no result" if lost else ""
        lines.append(f"| {variant.name} | {pairs} | {geometry} | {adherence} | {flow} | {failing(outcomes)} | {told} |")
    return lines


def failing(outcomes: Sequence[Outcome]) -> str:
    """Return the mean shares of failing clips, base and aligned."""
    shares = [outcome.failing for outcome in outcomes if outcome.failing is not None]
    if not shares:
        return "–"
    return f"{fmean(base for base, _ in shares):.0%} → {fmean(aligned for _, aligned in shares):.0%}"


def spread(changes: Sequence[float]) -> str:
    """Return mean and standard deviation in per cent."""
    if not changes:
        return "–"
    deviation = f" ± {100 * stdev(changes):.1f}" if len(changes) > 1 else ""
    return f"{100 * fmean(changes):+.1f}{deviation} %".replace("-", "−")


def heading(path: Path, settings: Sequence[str], base: Recipe) -> list[str]:
    """Return what the figures rest on, and how they are to be read."""
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    world = base.prompts.world
    scenes = f"{world.held_out} held-out scenes" if world is not None else "the held-out prompts"
    command = " ".join(["python benchmarks/ablations.py --recipe", path.stem, *(f"--set '{setting}'" for setting in settings)])
    return [
        "# Ablations in miniature",
        "",
        f"Commit {commit}; {platform.processor() or platform.machine()}, {os.cpu_count()} cores; `{command}`.",
        f"Model `{base.model.path}`; {scenes}, generation seeds: {base.evaluate.seeds}; judge: the exact geometry (`{JUDGE}`).",
        "Changes in per cent of the base model, paired; mean ± standard deviation over the seeds of training, all on the same",
        "candidates. `loo_error`: lower is better; a gain with over 5 % less `adherence` or `flow` is a miss.",
        "",
        *LIMITS,
        "",
    ]


LIMITS = (
    "What this can tell: which choices matter for a small model whose failures are known, with the truth as the judge.",
    "What it cannot: how large any effect is on a model of 5 billion parameters, whose failures are others, whose clips have",
    "moving subjects, and whose critics must estimate what is given here.",
)


if __name__ == "__main__":
    main()
