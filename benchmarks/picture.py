"""Make the README's moving picture: a consistent clip beside a melting one, the error of every frame below.

    python benchmarks/picture.py docs/images/consistency.webp

Both clips show the same scene of the miniature world along the same camera path. `sfm` judges all of their frames; the numbers
in the picture are those of this run.
"""

import argparse
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import pad

from gallery import error_pictures, small
from gallery_clips import EXHIBITS, FRAMES
from videogpa.scoring.scorer import Scorer

SHOWN = {"consistent": "consistent", "melt": "objects melt"}  # exhibit -> what stands above it
CELL, GAP, HEAD, LETTERS = 380, 6, 30, 17  # pixels; pixels; pixels; pixels
MILLISECONDS, QUALITY = 110, 62
INK, GOOD, BAD = (40, 40, 40), (20, 120, 60), (185, 45, 35)


def panel(name: str, scorer: Scorer) -> tuple[Float[Tensor, "frames 3 h w"], str]:
    """Return the frames of a clip above their errors, and its numbers in words."""
    score, images, errors = error_pictures(scorer, EXHIBITS[name].make(), name)
    if images is None or errors is None:
        raise SystemExit(f"{name} could not be scored: {score.reason}")
    frames = torch.cat([pad(small(part, CELL), (0, GAP, 0, GAP), value=1.0) for part in (images, errors)], dim=-2)
    return frames, f"loo_error {score.loo_error:.3f}   flow {score.flow:.3f}"


def labelled(picture: Float[Tensor, "3 h w"], labels: list[tuple[str, str]]) -> Image.Image:
    """Return the picture with a line of words above each of its columns."""
    pixels = (pad(picture, (GAP, 0, HEAD, 0), value=1.0).clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    image = Image.fromarray(pixels.numpy())
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=LETTERS)
    for column, (title, numbers) in enumerate(labels):
        left = GAP + column * (CELL + GAP)
        draw.text((left, 5), title, fill=INK, font=font)
        draw.text((left + CELL, 5), numbers, fill=BAD if column else GOOD, font=font, anchor="ra")
    return image


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the picture: a .webp file")
    out = parser.parse_args().out
    scorer = Scorer(frames=FRAMES)
    panels = [panel(name, scorer) for name in SHOWN]
    labels = [(title, numbers) for title, (_, numbers) in zip(SHOWN.values(), panels, strict=True)]
    clip = torch.cat([frames for frames, _ in panels], dim=-1)
    there_and_back = [*range(FRAMES), *range(FRAMES - 2, 0, -1)]
    images = [labelled(clip[i], labels) for i in there_and_back]
    images[0].save(out, save_all=True, append_images=images[1:], duration=MILLISECONDS, loop=0, quality=QUALITY, method=6)
    print(labels, f"{out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
