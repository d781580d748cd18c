"""Make the README's picture: a scene of the miniature world filmed twice, once with an object that drifts.

    python benchmarks/picture.py docs/images

Both clips are scored by `sfm`; their strips and scores are the picture.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from videogpa.config import ScoreConfig
from videogpa.records import Score
from videogpa.report.strips import make_strip
from videogpa.stages.score.judge import Judge
from videogpa.world.paths import camera_path, intrinsics
from videogpa.world.raycast import render_shots
from videogpa.world.scenes import BOX, World, make_world
from videogpa.world.shots import clock, still, translation

FRAMES, HEIGHT, WIDTH = 25, 288, 480
SEED, CAMERA = 19, "truck-right"
WAVES, FINEST = 24, 12.0  # plane waves per texture, and how many a metre the finest has
DRIFT = 0.5  # metres that one object moves in the course of the clip


def film(drift: float) -> Float[Tensor, "frames 3 height width"]:
    """Render the scene, its first box moving on as the camera does."""
    world = _detailed(make_world(SEED))
    shot = still(world, camera_path(CAMERA, 2 * FRAMES)[:FRAMES])
    offsets = torch.zeros(FRAMES, len(world.kinds), 3)
    offsets[:, int((world.kinds == BOX).nonzero()[0]), 0] = drift * clock(FRAMES)
    shot = replace(shot, now_from_rest=translation(offsets))
    return render_shots([shot], intrinsics(HEIGHT, WIDTH), height=HEIGHT, width=WIDTH).images


def _detailed(world: World) -> World:
    """The same world with fine-grained textures, as a camera of this size would see them: matching needs detail."""
    generator = torch.Generator().manual_seed(SEED)
    surfaces = len(world.textures.sharpness)
    directions = normalize(torch.randn(surfaces, WAVES, 3, generator=generator), dim=-1)
    lengths = 2 * math.pi * FINEST ** torch.rand(surfaces, WAVES, 1, generator=generator)  # from one a metre to the finest
    phases = 2 * math.pi * torch.rand(surfaces, WAVES, generator=generator)
    return replace(world, textures=replace(world.textures, frequencies=directions * lengths, phases=phases))


def score(frames: Float[Tensor, "frames 3 height width"], path: Path) -> Score:
    """Score the clip, and write its strip: frame | leave-one-out render | error, for three frames."""
    verdict = Judge(ScoreConfig()).judge(frames, clip=path.stem)
    if verdict.reconstruction is not None and verdict.rendered is not None:
        path.write_bytes(make_strip(verdict.reconstruction, *verdict.rendered))
    return verdict.score


def main() -> None:
    """Write the two strips and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the strips go")
    folder = parser.parse_args().folder
    for name, drift in (("consistent", 0.0), ("drifting", DRIFT)):
        row = score(film(drift), folder / f"{name}.jpg")
        print(f"{name}: {row.status} {row.reason or ''} loo_score {row.loo_score}, flow {row.flow}, motion {row.motion}")


if __name__ == "__main__":
    main()
