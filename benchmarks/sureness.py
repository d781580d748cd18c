"""Do pairs agree with the truth more often if they are chosen by gap over standard error, at the same number of pairs?

    python benchmarks/sureness.py [--scenes 120] [--first 870000] [--judges vggt-9 vggt-5 sfm-5] [--rows FILE]
        [--out benchmarks/results/sureness.md]

Every scene of the miniature world has five candidates with the same failure at strengths from 0 to 0.5, drawn at random; the
less failing one is the better one. Scenes differ in difficulty as those of a batch do: `plain` or `rich` rooms (`detailed` for
sfm), in two of five of which one or two objects move rightly. Noisy critics judge them, and pairs are chosen as `videogpa pair`
chooses them, one of a scene: by the gap alone (`min_gap`), or by the gap in standard errors (`min_sigma`), each with the
threshold that gives the wanted number of pairs. The interval of the difference is a bootstrap over scenes.
"""

import argparse
import json
import math
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from statistics import variance

import torch

from machine import processor
from videogpa.records import Scene, Score, Style
from videogpa.scoring.scorer import Scorer
from videogpa.video import sample_indices
from videogpa.world.failures import FAILURES, Failure, render_failing
from videogpa.world.paths import PATHS

MOVING = [path for path in PATHS if not path.startswith("pan")]
FRAMES, CANDIDATES, MOST_STRENGTH = 25, 5, 0.5
THRESHOLDS = (0, 0.5, 1, 1.5, 2, 3)
SHARES = (0.25, 0.5, 0.75)
MEASURES = ("loo_error", "error_3dcs")
RESAMPLES = 500
LONG, RETAKES = 41, 6


@dataclass(frozen=True)
class Judge:
    """A critic, how many frames it judges, and the clips that it can see something in."""

    critic: str
    frames: int
    options: dict[str, str]
    styles: tuple[Style, ...]
    height: int
    width: int


TINY = {"weights": "tiny:vggt", "device": "cpu"}
JUDGES = {
    "vggt-9": Judge("vggt", 9, TINY, ("plain", "rich"), 32, 32),
    "vggt-5": Judge("vggt", 5, TINY, ("plain", "rich"), 32, 32),
    "sfm-5": Judge("sfm", 5, {}, ("detailed",), 144, 240),
}


@dataclass(frozen=True)
class Match:
    """A possible pair: its gap, also in standard errors and relative to both scores; are both reliable, is the winner right."""

    gap: float
    sigmas: float
    relative: float
    reliable: bool
    right: bool


Rows = dict[int, list[tuple[float, Score]]]
"""Scene -> strength of the failure and row of every candidate."""


def candidates(seed: int, judge: Judge, *, frames: int = FRAMES, count: int = CANDIDATES) -> list[tuple[float, torch.Tensor]]:
    """Return the strength of the failure and the frames of every candidate of a scene."""
    draw = random.Random(seed)
    scene = Scene(
        seed=seed,
        camera=draw.choice(MOVING),
        frames=frames,
        height=judge.height,
        width=judge.width,
        style=draw.choice(judge.styles),
        moving=draw.choice((0, 0, 0, 1, 2)),
    )
    kind, failing = draw.choice(FAILURES), draw.randrange(10**6)
    strengths = [MOST_STRENGTH * draw.random() for _ in range(count)]
    return [(s, render_failing(scene, Failure(kind=kind, strength=s, seed=failing))) for s in strengths]


def judged(name: str, seeds: Sequence[int], path: Path | None) -> Rows:
    """Score the candidates of all scenes; rows that the file has already are taken from it, and new ones are added."""
    judge, found = JUDGES[name], read_rows(path, name)
    with Scorer(judge.critic, options=judge.options, frames=judge.frames) as scorer:
        for seed in seeds:
            if seed in found:
                continue
            found[seed] = [(strength, scorer.score(clip)) for strength, clip in candidates(seed, judge)]
            if path is not None:
                with path.open("a", encoding="utf-8") as file:
                    rows = [[strength, row.model_dump(mode="json")] for strength, row in found[seed]]
                    file.write(json.dumps({"judge": name, "seed": seed, "rows": rows}) + "\n")
    return {seed: found[seed] for seed in seeds}


def read_rows(path: Path | None, name: str) -> Rows:
    """Return the rows of a judge that a file of an earlier run holds."""
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {
        line["seed"]: [(strength, Score.model_validate(row)) for strength, row in line["rows"]]
        for line in lines
        if line["judge"] == name
    }


def matches(rows: Sequence[tuple[float, Score]], measure: str) -> list[Match]:
    """Return all possible pairs of a scene, those of clips that could be scored."""
    found = []
    for (mine, winner), (theirs, loser) in permutations([one for one in rows if one[1].status == "ok"], 2):
        (a, da), (b, db) = ((getattr(row, measure), getattr(row, f"{measure}_se")) for row in (winner, loser))
        if a < b and da is not None and db is not None:
            reliable = "low" not in (winner.reliability, loser.reliability)
            found.append(Match(b - a, (b - a) / max(math.hypot(da, db), 1e-12), (b - a) / (a + b), reliable, mine < theirs))
    return found


def chosen(groups: Sequence[Sequence[Match]], count: int, by: str) -> list[Match]:
    """Return the pairs of the `count` groups that pass the highest threshold on gap or sigmas; the widest gap that passes."""
    most = sorted((max(getattr(match, by) for match in group) for group in groups), reverse=True)
    threshold = most[count - 1]
    passing = [[match for match in group if getattr(match, by) >= threshold] for group in groups]
    return [max(group, key=lambda match: match.gap) for group in passing if group][:count]


def agreement(pairs: Sequence[Match]) -> float:
    """Return the share of the pairs whose winner fails less."""
    return sum(pair.right for pair in pairs) / len(pairs)


def compared(groups: Sequence[Sequence[Match]], count: int) -> tuple[dict[str, float], dict[str, str]]:
    """Return the agreement by each rule, and the difference to that by the gap alone with its 95 % interval over scenes."""
    draw = random.Random(0)
    found = by_rule(groups, count)
    again = [by_rule(draw.choices(groups, k=len(groups)), count) for _ in range(RESAMPLES)]
    told = {}
    for rule in found:
        spread = sorted(100 * (one[rule] - one["gap"]) for one in again)
        low, high = spread[round(0.025 * RESAMPLES)], spread[round(0.975 * RESAMPLES) - 1]
        told[rule] = f"{found[rule]:.2f}, {100 * (found[rule] - found['gap']):+.0f} [{low:+.0f}, {high:+.0f}]"
    return found, told


def by_rule(groups: Sequence[Sequence[Match]], count: int) -> dict[str, float]:
    """Return the agreement of as many pairs by each rule; fewer where no more scenes have a pair of reliable clips."""
    reliable = [some for group in groups if (some := [match for match in group if match.reliable])]
    return {
        "gap": agreement(chosen(groups, count, "gap")),
        "sigmas": agreement(chosen(groups, count, "sigmas")),
        "reliable": agreement(chosen(reliable, min(count, len(reliable)), "sigmas")),
        "relative": agreement(chosen(groups, count, "relative")),
    }


def lines(name: str, rows: Rows) -> list[str]:
    """Return the rows of the table for a judge."""
    told = []
    for measure in MEASURES:
        groups = [group for scored in rows.values() if (group := matches(scored, measure))]
        for share in SHARES:
            count = max(1, round(share * len(groups)))
            found, difference = compared(groups, count)
            cells = [f"{found['gap']:.2f}", *(difference[rule] for rule in ("sigmas", "reliable", "relative"))]
            told.append(f"| {name} | {measure} | {count} of {len(groups)} | {' | '.join(cells)} |")
    return told


def thresholds(name: str, rows: Rows) -> list[str]:
    """Return how many groups keep a pair at each `min_sigma`, and how often these pairs agree with the truth."""
    told = []
    for measure in MEASURES:
        groups = [group for scored in rows.values() if (group := matches(scored, measure))]
        cells = []
        for least in THRESHOLDS:
            passing = [[match for match in group if match.sigmas >= least] for group in groups]
            pairs = [max(group, key=lambda match: match.gap) for group in passing if group]
            cells.append(f"{agreement(pairs):.2f} ({len(pairs)})" if pairs else "(0)")
        told.append(f"| {name} | {measure} | {' | '.join(cells)} |")
    return told


def covered(name: str, seeds: Sequence[int]) -> list[str]:
    """Return how the standard error compares with the spread of a clip's scores when other frames of it are judged."""
    judge = JUDGES[name]
    told = []
    with Scorer(judge.critic, options=judge.options, frames=judge.frames) as scorer:
        found = [[scorer.score(frames) for frames in retakes(seed, judge)] for seed in seeds]
    for measure in MEASURES:
        spreads, errors, inside, count = 0.0, 0.0, 0, 0
        for rows in found:
            scored = [row for row in rows if row.status == "ok"]
            values = [getattr(row, measure) for row in scored]
            if len(values) < 3:
                continue
            for value, row in zip(values, scored, strict=True):
                error = getattr(row, f"{measure}_se")
                others = (sum(values) - value) / (len(values) - 1)  # their mean has an error too
                inside += abs(value - others) < 1.96 * error * math.sqrt(1 + 1 / (len(values) - 1))
                spreads, errors, count = spreads + variance(values), errors + error**2, count + 1
        count = max(count, 1)
        told.append(
            f"| {name} | {measure} | {math.sqrt(spreads / count):.4f} | {math.sqrt(errors / count):.4f} | "
            f"{inside / count:.2f} | {count} |"
        )
    return told


def retakes(seed: int, judge: Judge) -> list[torch.Tensor]:
    """Return the frames of one clip as they are judged with six choices of frames, each at most half a step beside the even."""
    draw = random.Random(seed)
    clip = candidates(seed, judge, frames=LONG, count=1)[0][1]
    even = sample_indices(LONG, judge.frames)
    half = (LONG - 1) // (judge.frames - 1) // 2
    chosen = [[min(max(i + draw.randint(-half, half), 0), LONG - 1) for i in even] for _ in range(RETAKES)]
    return [clip[sorted(set(indices))] for indices in chosen if len(set(indices)) == len(even)]


def title(arguments: argparse.Namespace) -> list[str]:
    """Return what the figures rest on, in Markdown, and the head of the table."""
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    command = f"python benchmarks/sureness.py --scenes {arguments.scenes} --first {arguments.first}"
    return [
        "# Pairs chosen by gap, and by gap over standard error",
        "",
        f"Commit {commit}; {processor()}; `{command} --judges {' '.join(arguments.judges)}`.",
        f"{CANDIDATES} candidates of a scene, strengths 0 to {MOST_STRENGTH:g}, {FRAMES} frames; a judge is a critic and the",
        "number of frames that it judges. The shares are of pairs whose winner fails less; differences to `by gap` in points,",
        f"with 95 % intervals over scenes ({RESAMPLES:,} resamples, seed 0).",
        "",
    ]


def main() -> None:
    """Print the tables, and write them to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--retaken", type=int, default=20, help="scenes whose clip is judged several times")
    parser.add_argument("--first", type=int, default=870_000)
    parser.add_argument("--judges", nargs="+", choices=list(JUDGES), default=list(JUDGES))
    parser.add_argument("--rows", type=Path, help="a file that keeps the scores, so that a stopped run goes on")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.scenes)
    again = range(seeds.stop, seeds.stop + arguments.retaken)
    rows = {name: judged(name, seeds, arguments.rows) for name in arguments.judges}
    report = "\n".join(
        [
            *title(arguments),
            "| judge | measure | pairs | by gap | by gap / standard error | that, none of low reliability | by relative gap |",
            "|" + "---|" * 7,
            *(line for name, scored in rows.items() for line in lines(name, scored)),
            "",
            "The agreement of the pairs, one of a scene, at each `pair.min_sigma` (and how many scenes keep a pair):",
            "",
            f"| judge | measure | {' | '.join(map(str, THRESHOLDS))} |",
            "|" + "---|" * (2 + len(THRESHOLDS)),
            *(line for name, scored in rows.items() for line in thresholds(name, scored)),
            "",
            f"The spread of the scores of {RETAKES} choices of a clip's {LONG} frames, against the standard error:",
            "",
            "| judge | measure | spread (RMS) | standard error (RMS) | within 1.96 of it | scores |",
            "|---|---|---|---|---|---|",
            *(line for name in arguments.judges for line in covered(name, again)),
            "",
        ]
    )
    print(report)
    if arguments.out:
        arguments.out.write_text(report)


if __name__ == "__main__":
    main()
