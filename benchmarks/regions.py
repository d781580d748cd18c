"""How well are pixels named, and does the background's error stay what it is when something moves in front of it?

Scenes of the miniature world, with objects that move legitimately and with failures, at 256 x 384 and 25 frames. Of each:

- the same camera path with 0, 1 and 2 moving objects: the background's error against that of the still scene, and the overlap
  (intersection over union) of `moving` with the truth where an object moves at least 3 pixels a frame;
- five failures without and with a moving object, at two strengths: the area under the ROC curve of `broken_share` against the
  clips without a failure, and its rank correlation with the strength (0, 0.5, 1) within a scene;
- two failures that look like motion (`drift`, `swell`), under both readings of the scene.

    python benchmarks/regions.py --picture docs/images/regions.jpg
    python benchmarks/regions.py --critic sfm --scenes 4 --seed 710000 --out benchmarks/results/regions-sfm.json

The thresholds of the method were chosen on scenes 5000 to 5007 and on real clips; scenes from 700000 on are for reporting.
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, get_args

import torch
from torch.nn.functional import interpolate

from videogpa.defaults import Reading
from videogpa.maths.stats import auc, spearman
from videogpa.records import CAMERA_PATHS, Prompt, Scene, Style
from videogpa.report.panels import NAMES_TITLE, draw_panels
from videogpa.scoring.regions import MOVING
from videogpa.scoring.scorer import Scorer
from videogpa.video import jpeg_bytes, sample_indices
from videogpa.world.animation import shot
from videogpa.world.failures import Failure, FailureKind, render_failing
from videogpa.world.paths import intrinsics
from videogpa.world.raycast import render_shots
from videogpa.world.scenes import WALLS

FRAMES, HEIGHT, WIDTH = 25, 256, 384
Row = dict[str, Any]
BROKEN: tuple[FailureKind, ...] = ("swim", "appear", "vanish", "fade", "deform")
LIKE_MOTION: tuple[FailureKind, ...] = ("drift", "swell")
STRENGTHS = (0.5, 1.0)
FAST = 3.0  # pixels a frame from which an object's mask is compared with the truth


@dataclass(frozen=True)
class Take:
    """A clip to make: its scene, and its failure if it has one."""

    scene: Scene
    failure: Failure | None = None
    reading: Reading = "dynamic"


def takes(scenes: int, seed: int, style: Style) -> Iterator[Take]:
    """Yield all clips, scene by scene; the camera paths with parallax take turns."""
    cameras = [name for name in CAMERA_PATHS if not name.startswith("pan")]
    for number in range(seed, seed + scenes):

        def scene(moving: int, number: int = number) -> Scene:
            camera = cameras[number % len(cameras)]
            return Scene(seed=number, camera=camera, frames=FRAMES, height=HEIGHT, width=WIDTH, style=style, moving=moving)

        for moving in (0, 1, 2):
            yield Take(scene(moving))
        for kind in BROKEN:
            for moving in (0, 1):
                for strength in STRENGTHS:
                    yield Take(scene(moving), Failure(kind=kind, strength=strength, seed=number))
        for kind in LIKE_MOTION:
            for reading in get_args(Reading):
                yield Take(scene(0), Failure(kind=kind, strength=1.0, seed=number), reading)


def measured(take: Take, scorers: dict[str, Scorer]) -> Row:
    """Score a clip, and compare what is named moving with what moves."""
    frames = render_failing(take.scene, take.failure)
    prompt = Prompt(prompt="scene", text="", scene=take.scene)
    scored = scorers[take.reading].score_clip(frames, clip="clip", prompt=prompt)
    row = scored.score
    overlap = None
    if scored.regions is not None and take.failure is None and take.scene.moving:
        overlap = _overlap(take.scene, scored.regions.names == MOVING)
    return {
        "seed": take.scene.seed,
        "camera": take.scene.camera,
        "moving": take.scene.moving,
        "failure": take.failure.kind if take.failure else None,
        "strength": take.failure.strength if take.failure else 0.0,
        "reading": take.reading,
        "status": row.status,
        "overlap": overlap,
        **{name: getattr(row, name) for name in ("loo_error", "background_error", "subject_error", "flow", "seconds")},
        **{f"{name}_share": getattr(row, f"{name}_share") for name in ("still", "moving", "broken", "unseen")},
    }


def _overlap(scene: Scene, named: torch.Tensor) -> float | None:
    """Return intersection over union with the objects that move at least `FAST` pixels a frame; None if there are none."""
    truth = render_shots([shot(scene)], intrinsics(HEIGHT, WIDTH), height=HEIGHT, width=WIDTH).surface
    fast = torch.zeros_like(truth, dtype=torch.bool)
    for number in range(WALLS, WALLS + scene.moving):
        if _speed(scene, number - WALLS) >= FAST:
            fast |= truth == number
    if not fast.any():
        return None
    judged = sample_indices(FRAMES, len(named))
    small = interpolate(fast[judged][:, None].float(), list(named.shape[1:]), mode="nearest")[:, 0] > 0
    return float((small & named).sum() / (small | named).sum())


def _speed(scene: Scene, number: int) -> float:
    """Return how many pixels a frame an object moves against where it would be if it stood still, the mean over the clip."""
    animated = shot(scene)
    center = torch.cat([animated.world.centers[number], torch.ones(1)])
    camera = intrinsics(HEIGHT, WIDTH)

    def projected(point: torch.Tensor, frame: int) -> torch.Tensor:
        seen = camera @ (animated.camera_from_world[frame] @ point)[:3]
        return seen[:2] / seen[2].clamp(min=1e-3)

    steps = [
        projected(animated.object_poses[frame, number] @ center, frame)
        - projected(animated.object_poses[frame - 1, number] @ center, frame)
        for frame in range(1, scene.frames)
    ]
    return float(torch.stack(steps).norm(dim=1).mean())


def summary(rows: list[Row]) -> Row:
    """Return the figures of the module's docstring, each with the number of clips that it is about."""
    ok = [row for row in rows if row["status"] in ("ok", "partial") and row["background_error"] is not None]
    intact = {(row["seed"], row["moving"]): row for row in ok if row["failure"] is None}
    still = {seed: row for (seed, moving), row in intact.items() if not moving}

    def change(measure: str, moving: int) -> tuple[float | None, int]:
        pairs = [(row, still[seed]) for (seed, m), row in intact.items() if m == moving and seed in still]
        return _median([row[measure] / without[measure] - 1 for row, without in pairs]), len(pairs)

    overlaps = [row["overlap"] for row in ok if row["overlap"] is not None]
    found: Row = {
        "clips": len(rows),
        "named": len(ok),
        "broken_share of intact clips, median": _median([row["broken_share"] for row in intact.values()]),
        **{
            f"{measure}, median change": {n: change(measure, n) for n in (1, 2)}
            for measure in ("background_error", "loo_error")
        },
        "overlap of moving with the truth, median": (_median(overlaps), len(overlaps)),
    }
    for kind in BROKEN:
        for moving in (0, 1):
            failing = [row for row in ok if row["failure"] == kind and row["moving"] == moving]
            sound = [row for (_, m), row in intact.items() if m == moving]
            found[f"{kind}, {moving} moving"] = {
                "auc": _auc([row["broken_share"] for row in failing], [row["broken_share"] for row in sound]),
                "rank correlation": _correlation(failing, intact),
                "n": (len(failing), len(sound)),
            }
    for kind in LIKE_MOTION:
        for reading in ("dynamic", "static"):
            seen = [row for row in ok if row["failure"] == kind and row["reading"] == reading]
            found[f"{kind}, {reading}"] = {
                name: _median([row[name] for row in seen]) for name in ("moving_share", "broken_share")
            } | {"n": len(seen)}
    return found


def _median(values: list[float]) -> float | None:
    return round(median(values), 4) if values else None


def _auc(failing: list[float], sound: list[float]) -> float | None:
    if not failing or not sound:
        return None
    return round(auc(torch.tensor(sound), torch.tensor(failing)), 3)


def _correlation(failing: list[Row], intact: dict[tuple[int, int], Row]) -> float | None:
    """Return the mean over scenes of Spearman's correlation of `broken_share` with the strength."""
    found = []
    for key, sound in intact.items():
        rows = [sound, *(row for row in failing if (row["seed"], row["moving"]) == key)]
        if len(rows) == 1 + len(STRENGTHS):
            value = spearman(*(torch.tensor([row[name] for row in rows]) for name in ("broken_share", "strength")))
            found += [] if math.isnan(value) else [value]
    return round(mean(found), 3) if found else None


def picture() -> bytes:
    """Return a JPEG of two clips, frames above names: an object that moves, and a region that dissolves."""
    rows = []
    for moving, failure in ((1, None), (0, Failure(kind="fade", strength=1.0, seed=1))):
        scene = Scene(seed=3, camera="orbit-left", frames=13, height=HEIGHT, width=WIDTH, moving=moving)
        prompt = Prompt(prompt="scene", text="", scene=scene)
        scored = Scorer("oracle", frames=7, scene="dynamic").score_clip(
            render_failing(scene, failure), clip="clip", prompt=prompt
        )
        if scored.reconstruction is None or scored.render is None or scored.regions is None:
            raise RuntimeError(f"the clip has no names: {scored.score.reason}")
        panels = draw_panels(scored.reconstruction, scored.render, scored.regions.names)
        rows += [torch.cat(list(panels[title][::2]), dim=-1) for title in ("frame", NAMES_TITLE)]
    return jpeg_bytes(torch.cat(rows, dim=-2), 82)


def main() -> None:
    """Score all clips, going on where an earlier call was interrupted, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--critic", default="oracle")
    parser.add_argument("--scenes", type=int, default=30)
    parser.add_argument("--seed", type=int, default=700_000)
    parser.add_argument("--style", default="rich", choices=get_args(Style))
    parser.add_argument("--out", type=Path, help="where the rows and figures go")
    parser.add_argument("--picture", type=Path, help="write docs/images/regions.jpg there, and nothing else")
    given = parser.parse_args()
    if given.picture:
        given.picture.write_bytes(picture())
        return
    if not given.out:
        parser.error("--out or --picture is needed")
    rows = json.loads(given.out.read_text())["rows"] if given.out.exists() else []
    scorers = {reading: Scorer(given.critic, scene=reading) for reading in get_args(Reading)}
    for number, take in enumerate(takes(given.scenes, given.seed, given.style)):
        if number >= len(rows):
            rows.append(measured(take, scorers))
            given.out.write_text(json.dumps({"summary": summary(rows), "rows": rows}, indent=1) + "\n")
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
