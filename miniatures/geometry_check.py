"""Quality of the geometry model, measured on scenes that neither training nor any recipe uses.

The check compares its predictions with the truth, and measures how well its scores separate failing clips from true ones.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import torch
from jaxtyping import Float
from torch import Tensor

from miniatures.clips import plain_scene
from miniatures.plan import CHECKED_SCENES, Plan
from videogpa.maths.cameras import rotation_vectors
from videogpa.maths.stats import auc
from videogpa.records import Scene
from videogpa.scoring.scorer import Scorer
from videogpa.storage.files import write_text
from videogpa.workers import map_items
from videogpa.world.animation import shot
from videogpa.world.failures import FAILURES, Failure, render_failing
from videogpa.world.paths import PATHS, intrinsics
from videogpa.world.raycast import exact_depth

STRENGTHS = (0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Judged:
    """One clip's scores by the critic with the geometry model and, for a true clip, the errors of its geometry."""

    scene: int
    camera: str
    failure: str | None
    strength: float
    status: str
    error_3dcs: float | None
    loo_error: float | None
    depth_error: float | None = None
    """The median relative error of the depth, after all depths of the clip are scaled by one factor."""
    rotation_error: float | None = None
    """The mean error of the rotations relative to the first frame, in degrees."""


def check_geometry(plan: Plan, folder: Path, out: Path, scenes: int = 60) -> dict[str, float]:
    """Score true and failing clips; write `geometry.json` and `geometry.jsonl` to `out`, and return the summary.

    Each scene gives its true clip and one of every kind of failure that the video model learns, at strengths .5, .75, 1
    in turn.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        folder: The model, with `config.json` and its weights.
        out: The folder to which the files are written.
        scenes: How many rooms.
    """
    scorer = Scorer(critic="vggt", options={"weights": str(folder), "device": "cpu"}, frames=plan.frames)
    work = [plain_scene(plan, CHECKED_SCENES + n, list(PATHS)[n % len(PATHS)]) for n in range(scenes)]
    rows = [row for part in map_items(lambda scene: _check_scene(plan, scorer, scene), work, label="geometry") for row in part]
    summary = summarise_geometry(rows)
    write_text(out / "geometry.jsonl", "".join(json.dumps(asdict(row)) + "\n" for row in rows))
    write_text(out / "geometry.json", json.dumps(summary, indent=1) + "\n")
    return summary


def summarise_geometry(rows: Sequence[Judged]) -> dict[str, float]:
    """Return the numbers that describe the model. Clips with a turning camera must be declined, and only that is counted.

    Args:
        rows: One for each clip that was scored.
    """
    turning = [row for row in rows if row.camera.startswith("pan") and row.failure is None]
    moving = [row for row in rows if not row.camera.startswith("pan")]
    true = [row for row in moving if row.failure is None]
    summary = {
        "depth_error": fmean(row.depth_error for row in true if row.depth_error is not None),
        "rotation_error": fmean(row.rotation_error for row in true if row.rotation_error is not None),
        "scored": fmean(row.status == "ok" for row in moving),
        "turning_declined": fmean(row.status == "no_parallax" for row in turning),
    }
    for measure in ("error_3dcs", "loo_error"):
        good = [value for row in true if (value := getattr(row, measure)) is not None]
        summary[f"{measure}_true"] = median(good)
        groups = {"all": moving} | {kind: [row for row in moving if row.failure == kind] for kind in FAILURES}
        for name, group in groups.items():
            bad = [value for row in group if row.failure and (value := getattr(row, measure)) is not None]
            if bad:
                summary[f"{measure}_auc_{name}"] = auc(torch.tensor(good), torch.tensor(bad))
    return summary


def failures_of(plan: Plan, number: int) -> list[Failure]:
    """Return one failure of every kind that the video model learns, at strengths in turn, for the room with this number.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        number: The room's place among those that are checked.
    """
    return [
        Failure(kind=kind, strength=STRENGTHS[(number + place) % len(STRENGTHS)], seed=number)
        for place, kind in enumerate(plan.failures)
    ]


def _check_scene(plan: Plan, scorer: Scorer, scene: Scene) -> list[Judged]:
    return [_judged(scorer, scene, failure) for failure in (None, *failures_of(plan, scene.seed - CHECKED_SCENES))]


def _judged(scorer: Scorer, scene: Scene, failure: Failure | None) -> Judged:
    scored = scorer.score_clip(render_failing(scene, failure), clip=f"scene-{scene.seed}")
    score, found = scored.score, scored.reconstruction
    known = found if failure is None else None
    return Judged(
        scene=scene.seed,
        camera=scene.camera,
        failure=failure.kind if failure else None,
        strength=failure.strength if failure else 0.0,
        status=score.status,
        error_3dcs=score.error_3dcs,
        loo_error=score.loo_error,
        depth_error=None if known is None else _depth_error(known.depth, scene),
        rotation_error=None if known is None else _rotation_error(known.camera_from_world, scene),
    )


def _depth_error(depth: Float[Tensor, "frames height width"], scene: Scene) -> float:
    side = depth.shape[-1]
    truth = exact_depth(shot(scene), intrinsics(side, side), height=side, width=side)
    ratio = depth / truth
    return float((ratio / ratio.median() - 1).abs().median())


def _rotation_error(camera_from_world: Float[Tensor, "frames 4 4"], scene: Scene) -> float:
    mine, truth = camera_from_world[:, :3, :3], shot(scene).camera_from_world[:, :3, :3]
    apart = (mine @ mine[0].T) @ (truth @ truth[0].T).mT
    return math.degrees(float(rotation_vectors(apart[1:]).norm(dim=-1).mean()))
