"""Which preference training is best, and whether it beats fine-tuning on the winners: methods compared with each other.

    python benchmarks/preference.py [--methods sft dpo+sft ...] [--seeds 3] [--scenes choosing|reporting] [--jobs 1]
        [--against sft] [--set NAME=VALUE] [--out runs/preference] [--page FILE]

Every method trains the demo's model on the same candidates, once per seed (start of the LoRA, noise, order of the pairs), and
is judged by the exact geometry on scenes that no training and no other figure uses, two clips each. Methods are compared paired
by scene. The intervals hold over scenes and over seeds of training, both taken as drawn from many (`videogpa.maths.crossed`).
Settings are chosen on the scenes `choosing`; what is published is measured on `reporting`. Held-out pairs, of a third set of
scenes, say what a training has learned of preference itself.
"""

import argparse
import math
import multiprocessing
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from machine import processor
from preference_runs import (
    CHOOSING,
    PAIRS,
    REPORTING,
    SEEDS_OF_CLIPS,
    Gains,
    Line,
    Method,
    Study,
    diversity,
    gains,
    judge,
    prepare,
    train,
)
from videogpa.maths.crossed import crossed_spread, student_quantile
from videogpa.records import Score
from videogpa.storage import manifests
from videogpa.storage.files import atomic_path

ALL_PAIRS = ("pair.clips_once=false", "pair.per_group=12")
METHODS = {
    method.name: method
    for method in (
        Method("sft", ("train.loss=sft",)),
        Method("dpo", ("train.loss=dpo",)),
        Method("dpo+sft"),
        Method("dpop", ("train.loss=dpop",)),
        Method("linear", ("train.loss=linear",)),
        Method("sdpo", ("train.loss=sdpo",)),
        *(Method(f"{name}+sft", (f"train.loss={name}+sft",)) for name in ("dpop", "linear", "sdpo")),
        *(Method(f"{name}, all pairs", (f"train.loss={name}", *ALL_PAIRS)) for name in ("sft", "dpo", "dpo+sft", "sdpo+sft")),
        Method("dpo+sft, all pairs, confidence", (*ALL_PAIRS, "train.pair_weighting=confidence")),
        *(Method(f"dpo+sft, beta {beta}", (f"train.beta={beta}",)) for beta in (5, 50, 150, 2000)),
    )
}
POWER = 0.8
CLOSE = ("adherence", "flow")
"""What must stay within 5 per cent of the base model's."""


@dataclass(frozen=True)
class Difference:
    """The mean of a difference that is paired by scene, and half its 95 % interval over scenes and seeds of training."""

    mean: float
    half: float
    scenes: int
    seeds: int

    def per_cent(self) -> str:
        """Return a difference of logarithms as a change in per cent."""
        low, middle, high = (100 * math.expm1(self.mean + side * self.half) for side in (-1, 0, 1))
        return f"{middle:+.1f} % [{low:+.1f}, {high:+.1f}]"


def difference(first: Sequence[Mapping[str, float]], second: Sequence[Mapping[str, float]]) -> Difference:
    """Compare the values of two methods, paired by scene.

    Args:
        first: Scene -> value, of each seed of training; one alone if nothing was trained.
        second: The same of the other method.

    Returns:
        Second - first, over the scenes that all have.
    """
    seeds = max(len(first), len(second))
    scenes = sorted(set.intersection(*(set(values) for values in (*first, *second))))
    table = torch.tensor(
        [[second[seed % len(second)][scene] - first[seed % len(first)][scene] for seed in range(seeds)] for scene in scenes],
        dtype=torch.float64,
    )
    rows, columns = torch.meshgrid(torch.arange(len(scenes)), torch.arange(seeds), indexing="ij")
    influence = (table - table.mean()) / table.numel()
    spread = crossed_spread(influence.flatten(), rows.flatten(), columns.flatten())
    return Difference(float(table.mean()), spread.half_width(), len(scenes), seeds)


@dataclass(frozen=True)
class Found:
    """What is known of a method: by seed of training, the values of every scene."""

    log_error: list[dict[str, float]]
    columns: dict[str, list[float]]
    """Measure -> its mean over the clips, by seed."""
    diversity: list[float]
    gains: list[Gains]


def values_of(rows: Sequence[Score], value: str) -> dict[str, float]:
    """Return the mean over the clips of each scene."""
    scenes: dict[str, list[float]] = {}
    for row in rows:
        number = getattr(row, value)
        if row.status == "ok" and number is not None:
            scenes.setdefault(row.clip.rpartition("/")[0], []).append(number)
    return {scene: fmean(numbers) for scene, numbers in scenes.items()}


def log_errors(rows: Sequence[Score]) -> dict[str, float]:
    """Return the mean logarithm of the leave-one-out error of each scene's clips."""
    logs = [row.model_copy(update={"loo_error": math.log(row.loo_error)}) for row in rows if row.loo_error]
    return values_of(logs, "loo_error")


def find(study: Study, lines: Sequence[Line | None], scenes: str) -> Found:
    """Collect what is known of a method's lines, or (None) of the base model."""
    judged = [judge(study, line, scenes) for line in lines]
    names = ("loo_error", "failing", "adherence", "flow")
    return Found(
        [log_errors(rows) for rows in judged],
        {name: [fmean(values_of(rows, name).values()) for rows in judged] for name in names},
        [fmean(diversity(study, line, scenes).values()) for line in lines],
        [gains(study, line) for line in lines if line is not None],
    )


def make(study: Study, line: Line, scenes: str) -> None:
    """Make all that is known of a line. What is made is kept in its folder."""
    torch.set_num_threads(1)
    train(study, line)
    judge(study, line, scenes)
    diversity(study, line, scenes)
    gains(study, line)


def learned(found: Found) -> tuple[str, str]:
    """Return accuracy and winner gain on the held-out pairs, each with its standard error over prompts and seeds."""

    def with_error(values: Sequence[Sequence[float]], digits: int, unit: float = 1.0) -> str:
        prompts = found.gains[0].prompts
        numbers = {name: i for i, name in enumerate(dict.fromkeys(prompts))}
        table = torch.tensor(values, dtype=torch.float64).T  # pairs x seeds
        rows = torch.tensor([numbers[name] for name in prompts])[:, None].expand(table.shape)
        columns = torch.arange(table.shape[1]).expand(table.shape)
        influence = (table - table.mean()) / table.numel()
        error = math.sqrt(crossed_spread(influence.flatten(), rows.flatten(), columns.flatten()).variance)
        return f"{unit * float(table.mean()):+.{digits}f} ± {unit * error:.{digits}f}"

    accuracy, winner = with_error([one.accuracy for one in found.gains], 3), [one.winner for one in found.gains]
    return accuracy.lstrip("+"), with_error(winner, 2, unit=1000)


def table(found: Mapping[str, Found], base: Found, against: str) -> list[str]:
    """Return the methods' lines as a Markdown table."""
    lines = [
        f"| method | log error against base | log error against `{against}` | mean error | failing | adherence | flow "
        "| diversity | accuracy | winner gain, ‰ |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]

    def change(one: Found, name: str) -> str:
        return f"{100 * (fmean(one.columns[name]) / fmean(base.columns[name]) - 1):+.1f} %"

    for name, one in found.items():
        other = (
            "–" if name == against or against not in found else difference(found[against].log_error, one.log_error).per_cent()
        )
        cells = [
            name,
            difference(base.log_error, one.log_error).per_cent(),
            other,
            change(one, "loo_error"),
            f"{fmean(base.columns['failing']):.0%} → {fmean(one.columns['failing']):.0%}",
            *(change(one, column) for column in CLOSE),
            f"{100 * (fmean(one.diversity) / fmean(base.diversity) - 1):+.0f} %",
            *learned(one),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def seen(found: Mapping[str, Found], against: str) -> str:
    """Say which difference the comparison can see."""
    halves = [difference(found[against].log_error, one.log_error) for name, one in found.items() if name != against]
    if against not in found or not halves:
        return ""
    one = max(halves, key=lambda d: d.half)
    least = one.half * (1 + student_quantile(POWER, one.scenes) / student_quantile(0.975, one.scenes))
    return f"The widest of these lines sees a true difference of {100 * math.expm1(least):.1f} % with a power of {POWER:.0%}."


def page(study: Study, arguments: argparse.Namespace, found: Mapping[str, Found], base: Found) -> str:
    """Return the results in Markdown."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    pairs = sum(row.dropped is None for row in manifests.pairs(study.folder(PAIRS)).rows())
    seeds, scenes = len(next(iter(found.values())).gains), len(base.log_error[0])
    lines = [
        f"Commit {commit}, {processor()}. Scenes: `{arguments.scenes}`, {scenes} that the judge can score, "
        f"{len(SEEDS_OF_CLIPS)} clips each; seeds of training: {seeds}; held-out pairs: {pairs}.",
        seen(found, arguments.against),
        "",
        *table(found, base, arguments.against),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, print the table, and write it into a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenes", choices=[CHOOSING, REPORTING], default=CHOOSING)
    parser.add_argument("--against", choices=list(METHODS), default="sft", metavar="METHOD")
    parser.add_argument("--jobs", type=int, default=1, help="lines that are made at the same time")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the recipe, for all lines"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/preference"))
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    study = Study(arguments.out, tuple(arguments.set))
    prepare(study, arguments.scenes)
    lines = {name: [study.line(METHODS[name], seed) for seed in range(arguments.seeds)] for name in arguments.methods}
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [
            pool.submit(make, study, lines[name][seed], arguments.scenes)
            for seed in range(arguments.seeds)
            for name in arguments.methods
        ]
        for one in waiting:
            one.result()
    found = {name: find(study, lines[name], arguments.scenes) for name in lines}
    text = page(study, arguments, found, find(study, [None], arguments.scenes))
    print(text)
    if arguments.page:
        with atomic_path(arguments.page) as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main()
