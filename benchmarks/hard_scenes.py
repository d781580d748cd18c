"""Does a score still mean anything where a scene is hard: mirrors, glass, thin rods, bare walls, fog, darkness, blur?

Every scene of the miniature world is filmed plainly and in every hard way, truly and with one failure (`deform`, strength
0.75), at 256 x 384 with 25 frames in the `detailed` style. Of each kind: the median `loo_error` of true and failing clips, how
often and why a clip was declined, the chance that a failing clip scores worse than a true one of the same kind (AUC), how often
it scores worse than its own scene's true one, the motion, and the doubts that the rows name.

    python benchmarks/hard_scenes.py --critic oracle sfm --scenes 6 --seed 720000 --out benchmarks/results/hard-scenes.jsonl
    python benchmarks/hard_scenes.py --table --out benchmarks/results/hard-scenes.jsonl > benchmarks/results/hard-scenes.md
    python benchmarks/hard_scenes.py --picture docs/images/hard-scenes.jpg

A run goes on where an earlier one with the same file was stopped. How hard the scenes are was chosen by their looks, on scene
3; thresholds of doubts were chosen on scenes below 720000, and scenes from there on are for reporting.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch
from torch.nn.functional import avg_pool2d

from machine import processor
from videogpa.maths.stats import auc
from videogpa.records import CAMERA_PATHS, HardKind, Prompt, Scene
from videogpa.scoring.scorer import Scorer
from videogpa.video import jpeg_bytes
from videogpa.world.failures import Failure, render_failing

FRAMES, HEIGHT, WIDTH = 25, 256, 384
STRENGTH = 0.75
KINDS: tuple[HardKind | None, ...] = (None, *get_args(HardKind))
CRITICS: dict[str, dict[str, Any]] = {"oracle": {}, "sfm": {}, "vggt": {"weights": "tiny:vggt", "device": "cpu"}}
TOLD = ("status", "reason", "reliability", "doubts")
NUMBERS = (
    *("loo_error", "loo_error_se", "flow", "explained", "points", "parallax", "blur", "repetition", "loo_coverage"),
    *("epipolar", "seconds"),
)
SHOWN = 3  # the seed of the picture
Row = dict[str, Any]


def scene(seed: int, hard: HardKind | None, frames: int = FRAMES) -> Scene:
    """Return a scene; the camera paths with parallax take turns."""
    cameras = [name for name in CAMERA_PATHS if not name.startswith("pan")]
    camera = cameras[seed % len(cameras)]
    return Scene(seed=seed, camera=camera, frames=frames, height=HEIGHT, width=WIDTH, style="detailed", hard=hard)


def clips(scenes: int, seed: int) -> Iterator[tuple[Scene, Failure | None]]:
    """Yield all clips, scene by scene."""
    for number in range(seed, seed + scenes):
        for hard in KINDS:
            for failure in (None, Failure(kind="deform", strength=STRENGTH, seed=number)):
                yield scene(number, hard), failure


def measured(critics: Sequence[str], scenes: int, seed: int, out: Path) -> None:
    """Score what the file has no row of, and append it."""
    done = {key(row) for row in read(out)}
    scorers = {critic: Scorer(critic, options=CRITICS[critic]) for critic in critics}
    for asked, failure in clips(scenes, seed):
        clip: Row = {"kind": asked.hard, "seed": asked.seed, "broken": failure is not None}
        missing = [critic for critic in critics if key({"critic": critic, **clip}) not in done]
        if not missing:
            continue
        frames, prompt = render_failing(asked, failure), Prompt(prompt="scene", text="", scene=asked)
        for critic in missing:
            score = scorers[critic].score_clip(frames, clip="clip", prompt=prompt).score
            told = {name: getattr(score, name) for name in (*TOLD, *NUMBERS)}
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"critic": critic, **clip, "camera": asked.camera, **told}) + "\n")


def key(row: Row) -> tuple[Any, ...]:
    """Return what a clip is told by."""
    return row["critic"], row["kind"], row["seed"], row["broken"]


def read(out: Path) -> list[Row]:
    """Return the rows of earlier runs."""
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


def interval(area: float, lows: int, highs: int) -> tuple[float, float]:
    """Return a 95 % interval of an AUC that is sensible near 0 and 1 too.

    Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", method 5: the
    areas whose own standard error (Hanley and McNeil) would allow the one that was found.
    """

    def bound(end: float) -> float:
        inside, outside = area, end
        for _ in range(50):
            middle = (inside + outside) / 2
            more = (lows + highs) / 2 - 1
            spread = 1 + more * ((1 - middle) / (2 - middle) + middle / (1 + middle))
            far = abs(middle - area) > 1.96 * math.sqrt(middle * (1 - middle) * spread / (lows * highs))
            inside, outside = (inside, middle) if far else (middle, outside)
        return inside

    return bound(0.0), bound(1.0)


def line(kind: str | None, rows: Sequence[Row]) -> str:
    """Return the row of the table for a kind."""
    true, broken = ([row for row in rows if row["broken"] is wanted and row["status"] == "ok"] for wanted in (False, True))
    declined = Counter(row["reason"] or row["status"] for row in rows if row["status"] != "ok")
    wrong = {row["seed"]: row["loo_error"] for row in broken}
    pairs = [wrong[row["seed"]] > row["loo_error"] for row in true if row["seed"] in wrong]
    cells = [
        kind or "plain room",
        f"{len(true)} + {len(broken)} of {len(rows)}",
        middle(true, "loo_error"),
        middle(broken, "loo_error"),
        told_apart(true, broken),
        f"{sum(pairs)} of {len(pairs)}",
        middle(true, "flow"),
        ", ".join(f"{Counter(row['reliability'] for row in true)[grade]}" for grade in ("high", "medium", "low")),
        "; ".join(f"{doubt} ({count})" for doubt, count in Counter(d for row in true for d in row["doubts"] or ()).items()),
        "; ".join(f"{reason} ({count})" for reason, count in declined.items()),
    ]
    return f"| {' | '.join(cells)} |"


def middle(rows: Sequence[Row], name: str) -> str:
    """Return the median of a number, or a dash."""
    return f"{median(row[name] for row in rows):.3f}" if rows else "-"


def told_apart(true: Sequence[Row], broken: Sequence[Row]) -> str:
    """Return the AUC of `loo_error` with its interval, or a dash."""
    if not true or not broken:
        return "-"
    area = auc(*(torch.tensor([row["loo_error"] for row in rows]) for rows in (true, broken)))
    low, high = interval(area, len(true), len(broken))
    return f"{area:.2f} [{low:.2f}, {high:.2f}]"


def table(rows: Sequence[Row]) -> list[str]:
    """Return all tables, one for each critic, in Markdown."""
    told = [f"# Hard scenes\n\n{processor()}; `deform` at strength {STRENGTH}, {FRAMES} frames of {HEIGHT} x {WIDTH}.\n"]
    for critic in dict.fromkeys(row["critic"] for row in rows):
        mine = [row for row in rows if row["critic"] == critic]
        told += [
            f"## {critic}\n\nSeeds {min(row['seed'] for row in mine)} to {max(row['seed'] for row in mine)}.\n",
            "| kind | scored: true + failing | true | failing | AUC | worse than its own true clip | motion (`flow`) |"
            " high, medium, low | doubts about true clips | declined, both |",
            "|" + "---|" * 10,
            *(line(kind, [row for row in mine if row["kind"] == kind]) for kind in KINDS),
            "",
        ]
    return told


def picture() -> bytes:
    """Return a JPEG with a row for every kind: the first frame, the last, and the last of the failing clip; two columns."""
    rows = []
    for kind in KINDS:
        asked = scene(SHOWN, kind, frames=9).model_copy(update={"camera": "truck-right"})
        wrong = Failure(kind="deform", strength=STRENGTH, seed=SHOWN)
        true, broken = (render_failing(asked, failure) for failure in (None, wrong))
        rows.append(avg_pool2d(torch.cat([true[0], true[-1], broken[-1]], dim=-1), 3))
    rows.append(torch.ones_like(rows[0]))
    half = len(rows) // 2
    return jpeg_bytes(torch.cat([torch.cat(rows[:half], dim=-2), torch.cat(rows[half:], dim=-2)], dim=-1), 80)


def main() -> None:
    """Score all clips, or print the tables of a file's rows, or write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--critic", default=["oracle"], nargs="+", choices=list(CRITICS))
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--seed", type=int, default=720_000)
    parser.add_argument("--out", type=Path, help="the file of rows")
    parser.add_argument("--table", action="store_true", help="print the tables of the file, and score nothing")
    parser.add_argument("--picture", type=Path, help="write docs/images/hard-scenes.jpg there, and nothing else")
    given = parser.parse_args()
    if given.picture:
        given.picture.write_bytes(picture())
    elif not given.out:
        parser.error("--out or --picture is needed")
    elif given.table:
        sys.stdout.write("\n".join(table(read(given.out))))
    else:
        measured(given.critic, given.scenes, given.seed, given.out)


if __name__ == "__main__":
    main()
