"""The picture of docs/science/demo.md: the first held-out scenes of a run, base above aligned, on the first seed.

python benchmarks/demo_picture.py runs/demo docs/images/demo.jpg [--scenes 6] [--scale 2]
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.video import jpeg_bytes, read_frames

GAP, BETWEEN = 2, 10  # white pixels between frames, and between scenes


def strip(path: Path, scale: int) -> Tensor:
    """Return the frames of a clip in a row, enlarged."""
    frames = read_frames(path).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    gap = torch.ones(3, frames.shape[2], GAP)
    return torch.cat([part for frame in frames for part in (frame, gap)], dim=2)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--scale", type=int, default=2)
    arguments = parser.parse_args()
    parts = {name: RunFolder(arguments.run / "evaluation" / name) for name in ("base", "aligned")}
    rows = list(manifests.clips(parts["base"]).rows())
    first = {row.prompt: row.path for row in reversed(rows)}  # of every prompt the first seed
    pictures = []
    for prompt in list(dict.fromkeys(row.prompt for row in rows))[: arguments.scenes]:
        base, aligned = (strip(part.path / first[prompt], arguments.scale) for part in parts.values())
        pictures += [base, torch.ones(3, GAP, base.shape[2]), aligned, torch.ones(3, BETWEEN, base.shape[2])]
    arguments.out.write_bytes(jpeg_bytes(torch.cat(pictures[:-1], dim=1), 85))


if __name__ == "__main__":
    main()
