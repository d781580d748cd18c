"""From which leave-one-out score on does the oracle's clip of the miniature world count as failing?

    python benchmarks/threshold.py [--scenes 30] [--model PATH] [--out benchmarks/results/threshold.md]

True and failing clips of the same scenes, by fixed seeds, of every kind of failure at strengths 0.5, 0.75 and 1 in turn, are
written as videos and judged as in a run; with --model they first go through its autoencoder, as all that it generates does. The
threshold is the one that tells them apart best: the greatest share of failing clips above it plus share of true ones below it
(Youden's index), and of several such the middle. What it says are constants of `videogpa.critics.oracle`.
"""

import argparse
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.config import ModelConfig
from videogpa.maths.stats import auc
from videogpa.models.loading import load_model
from videogpa.records import Prompt, Scene, Style
from videogpa.scoring.scorer import Scorer
from videogpa.storage.run_folder import RunFolder
from videogpa.video import write_video
from videogpa.world.failures import FAILURES, Failure, render_failing
from videogpa.world.paths import PATHS

FRAMES, FIRST_SEED = 9, 700_000  # scenes that no recipe reaches: training from 0, held out from 500,000
STRENGTHS = (0.5, 0.75, 1.0)
SIZES: tuple[tuple[Style, int], ...] = (("plain", 32), ("plain", 64), ("rich", 32), ("rich", 64))

Through = Callable[[Float[Tensor, "frames 3 height width"]], Float[Tensor, "frames 3 height width"]]


@dataclass(frozen=True)
class Threshold:
    """The best threshold, and what it tells: shares of the failing clips above it and of the true ones below it."""

    value: float
    caught: float
    spared: float
    auc: float


def best_threshold(true: Float[Tensor, " clips"], failing: Float[Tensor, " clips"]) -> Threshold:
    """Return the threshold with the greatest Youden index; halfway between two scores."""
    scores = torch.cat([true, failing]).sort().values
    halfway = (scores[1:] + scores[:-1]) / 2
    caught = (failing[None] > halfway[:, None]).float().mean(1)
    spared = (true[None] <= halfway[:, None]).float().mean(1)
    best = torch.nonzero(caught + spared == (caught + spared).max())[:, 0]
    chosen = int(best[len(best) // 2])
    return Threshold(float(halfway[chosen]), float(caught[chosen]), float(spared[chosen]), auc(true, failing))


def measured(style: Style, side: int, scenes: int, through: Through) -> Threshold:
    """Judge the clips of one style and size."""
    scorer, paths = Scorer(critic="oracle", frames=FRAMES), list(PATHS)
    true, failing = [], []
    for number in range(scenes):
        seed = FIRST_SEED + number
        scene = Scene(seed=seed, camera=paths[number % len(paths)], frames=FRAMES, height=side, width=side, style=style)
        true.append(score(scorer, scene, None, through))
        for place, kind in enumerate(FAILURES):
            strength = STRENGTHS[(number + place) % len(STRENGTHS)]
            failing.append(score(scorer, scene, Failure(kind=kind, strength=strength, seed=seed), through))
    return best_threshold(torch.tensor(true), torch.tensor(failing))


def score(scorer: Scorer, scene: Scene, failure: Failure | None, through: Through) -> float:
    """Return the leave-one-out score of a clip, as a run would find it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, through(render_failing(scene, failure)), 8)
        row = scorer.score_clip(path, clip="p/0", prompt=Prompt(prompt="p", text="", scene=scene)).score
    assert row.loo_error is not None  # the oracle scores every clip
    return row.loo_error


def autoencoder(name: str, path: str, scratch: Path) -> Through:
    """Return what a model's autoencoder makes of a clip."""
    model = load_model(ModelConfig(name=name, path=path, device="cpu"), RunFolder(scratch))
    return lambda clip: model.decode_latents(model.encode_video(clip)).clamp(0, 1)


def main() -> None:
    """Print the table, and write it to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=30)
    parser.add_argument("--model")
    parser.add_argument("--adapter", default="cogvideox-i2v", help="the model's name in the registry")
    parser.add_argument("--only", nargs=2, metavar=("STYLE", "SIDE"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sizes = [size for size in SIZES if arguments.only in (None, [size[0], str(size[1])])]
    with TemporaryDirectory() as scratch:
        through = autoencoder(arguments.adapter, arguments.model, Path(scratch)) if arguments.model else lambda clip: clip
        lines = []
        for style, side in sizes:
            found = measured(style, side, arguments.scenes, through)
            lines.append(
                f"| {style} | {side} | {found.value:.4f} | {found.caught:.2f} | {found.spared:.2f} | {found.auc:.3f} |"
            )
            print(lines[-1], flush=True)
    report = "\n".join([*title(arguments.scenes, arguments.model), *lines, ""])
    print("\n" + report)
    if arguments.out:
        arguments.out.write_text(report)


def title(scenes: int, model: str | None) -> list[str]:
    """Return what the figures rest on, in Markdown, and the head of the table."""
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    command = f"python benchmarks/threshold.py --scenes {scenes}" + (f" --model {model}" if model else "")
    return [
        "# When a clip of the miniature world counts as failing",
        "",
        f"Commit {commit}; {platform.machine()}, CPU; `{command}`. Per row {scenes} true clips and {scenes * len(FAILURES)}",
        f"failing ones, scenes {FIRST_SEED} to {FIRST_SEED + scenes - 1}, {FRAMES} frames, through the video codec"
        + (" and the model's autoencoder." if model else "."),
        "",
        "| style | side | threshold on loo_error | failing clips above | true clips below | AUC |",
        "|---|---|---|---|---|---|",
    ]


if __name__ == "__main__":
    main()
