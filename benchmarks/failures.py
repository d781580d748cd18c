"""Does the oracle tell failing clips of the miniature world from true ones, the more surely the stronger the failure?

    python benchmarks/failures.py [--scenes 20] [--only KIND ...] [--out benchmarks/results/failures.md]

Every scene is filmed truly, and with every failure at four strengths, by fixed seeds; camera paths take turns. All clips go
through the Judge with the `oracle` critic, as in a run. AUC: the chance that a failing clip scores worse than a true one of any
scene. Paired: the share of failing clips that score worse than the true clip of their own scene. Rising: the mean Spearman
correlation of strength with score over the scenes, strength 0 included.
"""

import argparse
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from machine import processor
from videogpa.maths.stats import auc, spearman
from videogpa.records import Prompt, Scene, Style
from videogpa.scoring.scorer import Scorer
from videogpa.world.failures import FAILURES, Failure, FailureKind, render_failing
from videogpa.world.paths import PATHS

FRAMES, SIDE = 9, 64
STRENGTHS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Separation:
    """How well one kind of failure is told: per strength AUC and paired wins; and how steadily the score rises."""

    auc: tuple[float, ...]
    paired: tuple[float, ...]
    rising: float


def scenes(count: int, style: Style) -> list[Scene]:
    """Return scenes by fixed seeds, on all camera paths in turn."""
    paths = list(PATHS)
    return [
        Scene(seed=seed, camera=paths[seed % len(paths)], frames=FRAMES, height=SIDE, width=SIDE, style=style)
        for seed in range(count)
    ]


def scores(scorer: Scorer, asked: list[Scene], failure: FailureKind | None, strength: float) -> Float[Tensor, " scenes"]:
    """Return the leave-one-out score of every scene's clip, failing or true."""
    rows = []
    for scene in asked:
        wrong = None if failure is None else Failure(kind=failure, strength=strength, seed=scene.seed)
        prompt = Prompt(prompt="p", text="", scene=scene)
        row = scorer.score_clip(render_failing(scene, wrong), clip="p/0", prompt=prompt).score
        assert row.loo_error is not None  # the oracle scores every clip
        rows.append(row.loo_error)
    return torch.tensor(rows)


def separation(true: Float[Tensor, " scenes"], failing: Float[Tensor, "strengths scenes"]) -> Separation:
    """Compare the true clips' scores with those of the failing ones at rising strengths."""
    series = torch.cat([true[None], failing])
    steps = torch.arange(len(series), dtype=torch.float32)
    rising = sum(spearman(steps, series[:, scene]) for scene in range(len(true))) / len(true)
    paired = (failing > true).float().mean(dim=1)
    return Separation(tuple(auc(true, scores) for scores in failing), tuple(paired.tolist()), rising)


def main() -> None:
    """Print the tables, and write them to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=FAILURES, default=FAILURES)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    scorer = Scorer(critic="oracle", frames=FRAMES)
    lines = []
    for style in get_args(Style):
        asked = scenes(arguments.scenes, style)
        true = scores(scorer, asked, None, 0)
        lines += [f"## {style}", "", heading(true), *TABLE]
        for kind in arguments.only:
            found = separation(true, torch.stack([scores(scorer, asked, kind, strength) for strength in STRENGTHS]))
            lines.append(f"| {kind} | {digits(found.auc)} | {digits(found.paired)} | {found.rising:.2f} |")
            print(lines[-1], flush=True)
        lines.append("")
    report = "\n".join([*title(arguments.scenes), *lines])
    print("\n" + report)
    if arguments.out:
        arguments.out.write_text(report)


TABLE = (
    "",
    f"| failure | AUC at strength {' / '.join(map(str, STRENGTHS))} | paired wins | rising |",
    "|---|---|---|---|",
)


def title(count: int) -> list[str]:
    """Return what the figures rest on, in Markdown."""
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    return [
        "# The oracle on failing clips of the miniature world",
        "",
        f"Commit {commit}; {processor()}; command `python benchmarks/failures.py --scenes {count}`. {count} scenes per style,",
        f"{FRAMES} frames of {SIDE} x {SIDE}; score = MSE + LPIPS-alex over covered pixels, leave-one-out (`loo_error`).",
        "",
    ]


def heading(true: Float[Tensor, " scenes"]) -> str:
    """Say where the true clips' scores lie."""
    low, middle, high = (float(true.quantile(share)) for share in (0.0, 0.5, 1.0))
    return f"True clips: {low:.3f} to {high:.3f}, median {middle:.3f}."


def digits(values: tuple[float, ...]) -> str:
    """Return shares with two digits."""
    return " / ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()
