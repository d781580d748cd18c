"""What does a critic lose that must estimate what the oracle knows: by its depth, by its cameras, or by seeing the clip alone?

    python benchmarks/estimates.py [--weights tiny:vggt] [--side 32] [--scenes 40] [--first 900000]
        [--out benchmarks/results/estimates.md]

True and failing clips of plain rooms, as the miniatures know them, scored with the same formulas under different geometries:
the intended one, the one that was filmed (what the best of critics could find in the clip), estimates, and halves of each.
The figures are chances that a failing clip scores worse than a true one of any room (AUC).
"""

import argparse
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from jaxtyping import Float
from miniatures.geometry_check import failures_of
from miniatures.plan import CHECKED_SCENES, TINY
from torch import Tensor
from torch.nn.functional import avg_pool2d

from videogpa.critics.base import ReconstructionFailed
from videogpa.maths.stats import auc
from videogpa.reconstruction import Reconstruction
from videogpa.records import Prompt, Scene
from videogpa.scoring import reprojection
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.scorer import Scorer
from videogpa.workers import map_items
from videogpa.world.failures import Failure, FailureKind, Take, render_takes, take
from videogpa.world.paths import PATHS, intrinsics
from videogpa.world.raycast import exact_depth

MOVING = [path for path in PATHS if not path.startswith("pan")]  # turns on the spot have no parallax
KINDS = TINY.failures


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip, what was filmed for it, and what was asked for."""

    kind: FailureKind | None
    filmed: Take
    prompt: Prompt
    frames: Float[Tensor, "frames 3 height width"]


Geometry = Callable[[Clip], Reconstruction]


def critic(name: str, **options: object) -> Geometry:
    """Return the geometry that a critic finds."""
    scorer = Scorer(critic=name, options=options, frames=TINY.frames)
    return lambda clip: scorer.reconstruct(clip.frames, prompt=clip.prompt)


def as_filmed(clip: Clip) -> Reconstruction:
    """Return the geometry that the clip shows: failing objects where they are, the camera where it went."""
    side = clip.frames.shape[-1]
    camera, filmed = intrinsics(side, side), clip.filmed
    depth = exact_depth(filmed.shot, camera, height=side, width=side)
    if filmed.overlay is not None and filmed.share is not None:
        depth = torch.where(filmed.share > 0.5, exact_depth(filmed.overlay, camera, height=side, width=side), depth)
    path = filmed.shot.camera_from_world
    return Reconstruction(clip.frames, depth, torch.ones_like(depth), camera.expand(len(path), 3, 3), path)


def as_filmed_smeared(clip: Clip) -> Reconstruction:
    """The same with edges as an estimate has them: every depth is the mean of three by three pixels."""
    exact = as_filmed(clip)
    return replace(exact, depth=avg_pool2d(exact.depth[:, None], 3, 1, 1, count_include_pad=False)[:, 0])


def geometries(weights: str) -> dict[str, Geometry]:
    """Return the lines of the table."""
    options = {"weights": weights, "device": "cpu"}
    return {
        "what was intended: the oracle": critic("oracle"),
        "what was filmed": as_filmed,
        "what was filmed, depth smeared over 3×3 pixels": as_filmed_smeared,
        "estimated depth and cameras": critic("vggt", **options),
        "exact depth, estimated cameras": critic("mixed", cameras="vggt", cameras_options=options),
        "estimated depth, exact cameras": critic("mixed", depth="vggt", depth_options=options),
    }


def film(scene: Scene, failure: Failure | None) -> Clip:
    """Render a clip."""
    filmed = take(scene, failure)
    frames = render_takes([filmed], scene.height, scene.width)[0]
    return Clip(failure.kind if failure else None, filmed, Prompt(prompt=f"scene-{scene.seed}", text="", scene=scene), frames)


def films(scenes: int, side: int, first: int) -> list[tuple[Scene, Failure | None]]:
    """Return the true clip of every scene, and one of each kind of failure that the miniature learned."""
    wanted: list[tuple[Scene, Failure | None]] = []
    for number in range(scenes):
        seed, camera = first + number, MOVING[number % len(MOVING)]
        scene = Scene(seed=seed, camera=camera, frames=TINY.frames, height=side, width=side, style="plain")
        wanted += [(scene, failure) for failure in (None, *failures_of(TINY, number))]
    return wanted


def line(name: str, geometry: Geometry, wanted: Sequence[tuple[Scene, Failure | None]]) -> str:
    """Return a row of the table."""
    perceptual = Lpips("alex").eval()

    def scored(one: tuple[Scene, Failure | None]) -> tuple[FailureKind | None, dict[str, float]]:
        clip = film(*one)
        try:
            seen = geometry(clip)
        except ReconstructionFailed:
            return clip.kind, {}
        return clip.kind, {
            **reprojection.paper_scores(seen, perceptual),
            **reprojection.leave_one_out_scores(seen, perceptual),
        }

    rows = list(map_items(scored, wanted, label=name))

    def told(measure: str, kinds: Sequence[FailureKind]) -> str:
        true = [scores[measure] for kind, scores in rows if scores and kind is None]
        failing = [scores[measure] for kind, scores in rows if scores and kind in kinds]
        return f"{auc(torch.tensor(true), torch.tensor(failing)):.2f}"

    true = median(scores["error_3dcs"] for kind, scores in rows if scores and kind is None)
    cells = [told("error_3dcs", KINDS), told("loo_error", KINDS), *(told("error_3dcs", [kind]) for kind in KINDS)]
    return f"| {name} | {' | '.join(cells)} | {true:.4f} | {sum(not scores for _, scores in rows)} |"


def title(arguments: argparse.Namespace) -> list[str]:
    """Return what the figures rest on, in Markdown, and the head of the table."""
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    head = ["geometry", "3DCS: AUC", "loo_error: AUC", *(f"3DCS: {kind}" for kind in KINDS), "3DCS of true clips", "declined"]
    return [
        "# What an estimate of the geometry costs",
        "",
        f"Commit {commit}; {platform.machine()}, CPU; `python benchmarks/estimates.py --weights {arguments.weights} --side "
        f"{arguments.side} --scenes {arguments.scenes} --first {arguments.first}`.",
        f"{arguments.scenes} rooms from {arguments.first} on, all paths that move; of each the true clip and one of every",
        "kind of failure, at strengths 0.5, 0.75 and 1 in turn.",
        "",
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
    ]


def main() -> None:
    """Print the table, and write it to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="tiny:vggt")
    parser.add_argument("--side", type=int, default=TINY.size, help="height and width of the clips")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--first", type=int, default=CHECKED_SCENES, help="seed of the first room")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    wanted = films(arguments.scenes, arguments.side, arguments.first)
    lines = title(arguments)
    for name, geometry in geometries(arguments.weights).items():
        lines.append(line(name, geometry, wanted))
        print(lines[-1], flush=True)
    report = "\n".join([*lines, ""])
    print("\n" + report)
    if arguments.out:
        arguments.out.write_text(report)


if __name__ == "__main__":
    main()
