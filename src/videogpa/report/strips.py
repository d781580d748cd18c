"""The pictures in the reports: small JPEGs, stored beside the rows so that a resumed run still has them."""

from functools import cache

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.reconstruction import Reconstruction
from videogpa.report.strip_files import ERROR_SCALE, FRAMES_SHOWN
from videogpa.scoring.reprojection import Render, error_maps
from videogpa.video import jpeg_bytes, sample_indices

_CELL_WIDTH, _GAP, _QUALITY = 272, 4, 75  # pixels, pixels, JPEG quality: a strip takes 0.1 MB at most
_FILMSTRIP_HEIGHT = 120
_GREY, _CHECKER = 0.5, (0.62, 0.72)


def make_strip(
    reconstruction: Reconstruction,
    rendered: Float[Tensor, "frames 3 height width"],
    covered: Bool[Tensor, "frames height width"],
    frames_shown: int = FRAMES_SHOWN,
) -> bytes:
    """Draw a clip's frames, their leave-one-out renders and the error between them.

    The error map is the root mean squared error over RGB, dark for 0 and bright from `ERROR_SCALE` on. Pixels that no other
    frame's points cover are drawn as a grey checkerboard.

    Args:
        reconstruction: The clip's reconstruction; its `images` are shown.
        rendered: The leave-one-out render of every frame, RGB in [0, 1].
        covered: The pixels that the points of other frames cover.
        frames_shown: The number of rows, one per frame, evenly spread over the clip.

    Returns:
        A JPEG, with the columns frame, leave-one-out render and error map.
    """
    errors = error_maps(reconstruction, Render(rendered, covered))
    rows = []
    for i in sample_indices(len(rendered), min(frames_shown, len(rendered))):
        frame, visible = reconstruction.images[i].cpu(), covered[i].cpu()
        checker = _checker(*visible.shape)
        render = torch.where(visible, rendered[i].cpu(), checker)
        error = torch.where(visible, error_colors(errors[i].cpu()), checker)
        rows.append(_row([_cell(picture) for picture in (frame, render, error)]))
    return jpeg_bytes(_column(rows).clamp(0, 1), _QUALITY)


def make_filmstrip(frames: Float[Tensor, "frames 3 height width"], count: int = 6) -> bytes:
    """Draw frames of a clip side by side.

    Args:
        frames: RGB in [0, 1].
        count: How many frames are shown, evenly spread, the first and the last included.

    Returns:
        A JPEG.
    """
    chosen = frames[sample_indices(len(frames), min(count, len(frames)))].cpu()
    scale = _FILMSTRIP_HEIGHT / chosen.shape[-2]
    return jpeg_bytes(_row([_scaled(frame, scale) for frame in chosen]).clamp(0, 1), _QUALITY)


def error_colors(error: Float[Tensor, "height width"]) -> Float[Tensor, "3 height width"]:
    """Colour an error map by the colour map "inferno", whose lightness grows evenly from 0 to `ERROR_SCALE`."""
    level = (error / ERROR_SCALE).clamp(0, 1).mul(255).round().long()
    return _palette()[level].movedim(-1, 0)


@cache
def _palette() -> Float[Tensor, "256 3"]:
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return torch.from_numpy(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1].astype(np.float32) / 255)


def _checker(height: int, width: int) -> Float[Tensor, "3 height width"]:
    """Return a grey checkerboard, 16 squares wide, so that its squares are equally large in every strip."""
    square = max(width // 16, 1)
    y, x = torch.arange(height)[:, None] // square, torch.arange(width)[None] // square
    dark, light = _CHECKER
    return torch.where((x + y) % 2 == 0, dark, light).float().expand(3, -1, -1)


def _cell(picture: Float[Tensor, "3 height width"]) -> Tensor:
    return _scaled(picture, _CELL_WIDTH / picture.shape[-1])


def _scaled(picture: Tensor, scale: float) -> Tensor:
    """Shrink by averaging areas; enlarge by whole factors only, by repeating pixels."""
    if scale >= 1:
        factor = int(scale)
        return picture.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    height, width = (max(round(side * scale), 1) for side in picture.shape[-2:])
    return interpolate(picture[None], (height, width), mode="area")[0]


def _row(cells: list[Tensor]) -> Tensor:
    return _joined(cells, axis=2)


def _column(rows: list[Tensor]) -> Tensor:
    return _joined(rows, axis=1)


def _joined(pictures: list[Tensor], axis: int) -> Tensor:
    shape = list(pictures[0].shape)
    shape[axis] = _GAP
    gap = torch.full(shape, _GREY)
    return torch.cat([part for picture in pictures for part in (gap, picture)][1:], dim=axis)
