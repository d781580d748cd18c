"""Make the README's picture: a scene of the miniature world filmed twice, once with an object that drifts.

    python benchmarks/picture.py docs/images

Both clips are scored by `sfm`; their strips and scores are the picture.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.config import ScoreConfig
from videogpa.records import Score
from videogpa.report.strips import make_strip
from videogpa.scoring.scorer import Scorer
from videogpa.world.animation import clock, still, translation
from videogpa.world.paths import camera_path, intrinsics
from videogpa.world.raycast import render_shots
from videogpa.world.scenes import BOX, make_world

FRAMES, HEIGHT, WIDTH = 25, 288, 480
SEED, CAMERA = 19, "truck-right"
DRIFT = 0.5  # metres that one object moves in the course of the clip


def film(drift: float) -> Float[Tensor, "frames 3 height width"]:
    """Render the scene, its first box moving on as the camera does."""
    world = make_world(SEED, "detailed")
    shot = still(world, camera_path(CAMERA, 2 * FRAMES)[:FRAMES])
    offsets = torch.zeros(FRAMES, len(world.kinds), 3)
    offsets[:, int((world.kinds == BOX).nonzero()[0]), 0] = drift * clock(FRAMES)
    shot = replace(shot, object_poses=translation(offsets))
    return render_shots([shot], intrinsics(HEIGHT, WIDTH), height=HEIGHT, width=WIDTH).images


def score(frames: Float[Tensor, "frames 3 height width"], path: Path) -> Score:
    """Score the clip, and write its strip: frame | leave-one-out render | error, for three frames."""
    scored = Scorer(ScoreConfig()).score_clip(frames, clip=path.stem)
    if scored.reconstruction is not None and scored.rendered is not None:
        path.write_bytes(make_strip(scored.reconstruction, *scored.rendered))
    return scored.score


def main() -> None:
    """Write the two strips and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the strips go")
    folder = parser.parse_args().folder
    for name, drift in (("consistent", 0.0), ("drifting", DRIFT)):
        row = score(film(drift), folder / f"{name}.jpg")
        print(f"{name}: {row.status} {row.reason or ''} loo_error {row.loo_error}, flow {row.flow}, motion {row.motion}")


if __name__ == "__main__":
    main()
