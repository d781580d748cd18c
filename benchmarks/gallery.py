"""Make the pictures and the table of docs/gallery.md: the clips of gallery_clips.py, and what `sfm` measures on them.

    python benchmarks/gallery_clips.py my-clips
    python benchmarks/gallery.py my-clips docs/images [--out benchmarks/results/gallery.md]

Every picture has five frames of the clip and, for a clip that could be scored, the error of each frame's leave-one-out render.
"""

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad

from gallery_clips import EXHIBITS
from machine import processor
from videogpa.records import Score
from videogpa.report.panels import error_colors
from videogpa.scoring.reprojection import error_maps
from videogpa.scoring.scorer import Scorer
from videogpa.video import jpeg_bytes, read_frames, sample_indices

SHOWN, CELL, GAP, QUALITY = 5, 180, 3, 80  # frames of a picture; pixels; pixels; of JPEG
COLUMNS = ("loo_error", "explained", "error_3dcs", "flow")


def small(pictures: Float[Tensor, "frames 3 height width"], width: int) -> Float[Tensor, "frames 3 h w"]:
    """Shrink pictures by averaging areas."""
    height = round(width * pictures.shape[-2] / pictures.shape[-1])
    return interpolate(pictures, (height, width), mode="area")


def error_pictures(scorer: Scorer, video: Path | Tensor, clip: str) -> tuple[Score, Tensor | None, Tensor | None]:
    """Return the clip's score; the judged frames, and the coloured error of each, for a clip that could be scored."""
    scored = scorer.score_clip(video, clip=clip)
    if scored.reconstruction is None or scored.render is None:
        return scored.score, None, None
    errors = error_maps(scored.reconstruction, scored.render)
    return scored.score, scored.reconstruction.images, torch.stack([error_colors(error) for error in errors])


def sheet(rows: Sequence[Float[Tensor, "frames 3 h w"]]) -> bytes:
    """Return a JPEG of rows of pictures on white."""
    lines = [torch.cat([pad(one, (0, GAP, 0, GAP), value=1.0) for one in row], dim=-1) for row in rows]
    return jpeg_bytes(torch.cat(lines, dim=-2), QUALITY)


def table(scores: Sequence[Score], folder: Path) -> str:
    """Return the results in Markdown, with the machine and the commit."""
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    commands = [
        f"python benchmarks/gallery{command}" for command in (f"_clips.py {folder.name}", f".py {folder.name} docs/images")
    ]
    made = f"Commit {commit}; {processor()}; `{'`, then `'.join(commands)}`."
    lines = ["# The clips of the gallery, scored by `sfm`", "", made, ""]
    lines += [f"| clip | status | {' | '.join(COLUMNS)} | reason |", f"|---|---|{'---|' * len(COLUMNS)}---|"]
    for score in scores:
        numbers = (getattr(score, name) for name in COLUMNS)
        cells = ("" if number is None else f"{number:.3f}" for number in numbers)
        lines.append(f"| {score.clip} | {score.status} | {' | '.join(cells)} | {score.reason or ''} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the pictures and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="the folder that gallery_clips.py wrote")
    parser.add_argument("pictures", type=Path, help="where the pictures go")
    parser.add_argument("--out", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    scorer, scores = Scorer(), []
    for name in EXHIBITS:
        video = arguments.clips / f"{name}.mp4"
        score, images, errors = error_pictures(scorer, video, name)
        scores.append(score)
        rows = [read_frames(video)] if images is None or errors is None else [images, errors]
        shown = [small(row[sample_indices(len(row), min(SHOWN, len(row)))], CELL) for row in rows]
        (arguments.pictures / f"gallery-{name}.jpg").write_bytes(sheet(shown))
        print(name, score.status, score.loo_error, flush=True)
    report = table(scores, arguments.clips)
    print(report)
    if arguments.out:
        arguments.out.write_text(report)


if __name__ == "__main__":
    main()
