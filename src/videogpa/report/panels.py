"""What a report shows of a scored clip, as pictures of equal size: its frames, their renders from the others, the error."""

from functools import cache

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.reconstruction import Reconstruction
from videogpa.report.player_files import ERROR_SCALE
from videogpa.scoring.reprojection import Render, error_maps
from videogpa.video import sample_indices

SIDE = 320  # pixels of the longer side of a panel
MOST_FRAMES = 120
NAMES_TITLE = "grey: still, green: moving, red: broken, blue: unseen"
NAME_COLORS = ((0.5, 0.5, 0.5), (0.1, 0.8, 0.2), (0.9, 0.1, 0.1), (0.2, 0.3, 0.9))  # in the order of `scoring.regions.NAMES`
_CHECKER = (0.62, 0.72)


def panels_of_frame(
    image: Float[Tensor, "3 height width"],
    rendered: Float[Tensor, "3 height width"],
    covered: Bool[Tensor, "height width"],
    error: Float[Tensor, "height width"],
    names: UInt8[Tensor, "height width"] | None = None,
) -> dict[str, Float[Tensor, "3 height width"]]:
    """Return the panels of a frame by their titles, in the order in which they stand beside each other.

    A further panel is a further line here: what is drawn, kept and shown follows from these.

    Args:
        image: The frame, RGB in [0, 1].
        rendered: Its leave-one-out render.
        covered: The pixels that the points of other frames cover. The others are drawn as a grey checkerboard.
        error: The root mean squared error over RGB of each pixel.
        names: What each pixel is named (`scoring.regions.NAMES`), where pixels are named.
    """
    checker = _checker(*covered.shape)
    return {
        "frame": image,
        "leave-one-out render": torch.where(covered, rendered, checker),
        "error map": torch.where(covered, error_colors(error), checker),
        **({} if names is None else {NAMES_TITLE: 0.4 * image + 0.6 * torch.tensor(NAME_COLORS)[names.long()].movedim(-1, 0)}),
    }


def draw_panels(
    reconstruction: Reconstruction, render: Render, names: UInt8[Tensor, "frames height width"] | None = None
) -> dict[str, Float[Tensor, "shown 3 _ _"]]:
    """Draw the panels of a clip's judged frames, small.

    Args:
        reconstruction: The clip's reconstruction; its `images` are shown.
        render: The leave-one-out render of every frame.
        names: The names of all pixels, where they are named.

    Returns:
        The frames of each panel by its title. Of more than `MOST_FRAMES` frames evenly spread ones are drawn.
    """
    errors = error_maps(reconstruction, render)
    parts = (reconstruction.images, render.images, render.covered, errors, *(() if names is None else (names,)))
    frames = [
        panels_of_frame(*(part[i].cpu() for part in parts)) for i in sample_indices(len(errors), min(len(errors), MOST_FRAMES))
    ]
    return {title: torch.stack([small(frame[title]) for frame in frames]).clamp(0, 1) for title in frames[0]}


def small(picture: Float[Tensor, "*frames 3 height width"], side: int = SIDE) -> Float[Tensor, "*frames 3 _ _"]:
    """Fit a picture, or several of one size, into a square of `side` pixels.

    Large ones shrink by averaging areas; small ones are enlarged by a whole factor, by repeating pixels.
    """
    height, width = picture.shape[-2:]
    scale = side / max(height, width)
    if scale >= 1:
        return picture.repeat_interleave(int(scale), -1).repeat_interleave(int(scale), -2)
    size = [max(round(length * scale), 1) for length in (height, width)]
    return interpolate(picture.reshape(-1, 3, height, width), size, mode="area").reshape(*picture.shape[:-2], *size)


def error_colors(error: Float[Tensor, "*frames height width"]) -> Float[Tensor, "*frames 3 height width"]:
    """Colour an error map by the colour map "inferno", whose lightness grows evenly from 0 to `ERROR_SCALE`."""
    level = (error / ERROR_SCALE).clamp(0, 1).mul(255).round().long()
    return _palette()[level].movedim(-1, -3)


@cache
def _palette() -> Float[Tensor, "256 3"]:
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return torch.from_numpy(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1].astype(np.float32) / 255)


def _checker(height: int, width: int) -> Float[Tensor, "3 height width"]:
    """Return a grey checkerboard, 16 squares wide, so that its squares are equally large in every picture."""
    square = max(width // 16, 1)
    y, x = torch.arange(height)[:, None] // square, torch.arange(width)[None] // square
    dark, light = _CHECKER
    return torch.where((x + y) % 2 == 0, dark, light).float().expand(3, -1, -1)
