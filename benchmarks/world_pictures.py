"""Make the pictures of docs/science/world.md: styles, camera paths, and every failure at three strengths.

    python benchmarks/world_pictures.py docs/images

Everything follows from the seeds below.
"""

import argparse
from pathlib import Path
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from videogpa.records import Scene, Style
from videogpa.video import jpeg_bytes, sample_indices
from videogpa.world.failures import FAILURES, Failure, FailureKind, render_failing
from videogpa.world.paths import PATHS
from videogpa.world.prompts import view

FRAMES, SIDE, SHOWN = 9, 64, 5
SEED, CAMERA = 3, "orbit-left"
STRENGTHS = (0.33, 0.66, 1.0)
QUALITY, GAP = 82, 2  # of JPEG: about 10 kB a picture; pixels between frames


def scene(camera: str = CAMERA, style: Style = "rich", seed: int = SEED, moving: int = 0) -> Scene:
    """Return the scene that the pictures show, or one like it."""
    return Scene(seed=seed, camera=camera, frames=FRAMES, height=SIDE, width=SIDE, style=style, moving=moving)


def sheet(clips: list[Float[Tensor, "frames 3 height width"]]) -> bytes:
    """Return a JPEG with a row of frames for every clip."""
    rows = [torch.cat([pad(clip[i], (0, GAP, 0, GAP), value=1.0) for i in sample_indices(FRAMES, SHOWN)], -1) for clip in clips]
    return jpeg_bytes(torch.cat(rows, dim=-2), QUALITY)


def failing(kind: FailureKind) -> list[Tensor]:
    """Return the clip with a failure at rising strengths."""
    return [render_failing(scene(), Failure(kind=kind, strength=strength, seed=SEED)) for strength in STRENGTHS]


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder
    pictures = {f"failure-{kind}": failing(kind) for kind in FAILURES}
    pictures |= {
        f"world-{style}": [view(scene(style=style, seed=seed)).images for seed in range(3)] for style in get_args(Style)
    }
    pictures["world-paths"] = [view(scene(camera)).images for camera in PATHS]
    pictures["world-moving"] = [view(scene(moving=5)).images]
    for name, clips in pictures.items():
        (folder / f"{name}.jpg").write_bytes(sheet(clips))


if __name__ == "__main__":
    main()
