"""How bright each frame was taken, so that a camera's automatic exposure is not mistaken for a change of the scene."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from videogpa.maths.cameras import project

DARKEST, BRIGHTEST = 0.05, 0.95
"""Grey values in [0, 1] outside of which a pixel says nothing of a gain: noise below, clipping above."""

LEAST_PIXELS = 100
"""Pixels that two frames must share for a gain between them; with fewer it is taken as 1."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def exposure_gains(
    images: Float[Tensor, "frames 3 height width"],
    points: Float[Tensor, "points 3"],
    colors: Float[Tensor, "points 3"],
    frame: Int64[Tensor, " points"],
    intrinsics: Float[Tensor, "frames 3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> Float[Tensor, " frames"]:
    """Return each frame's brightness relative to the clip's, by what consecutive frames show of the same points.

    `frame` says which frame gave each point of the cloud. One factor for all colours of a frame: the median ratio of its points
    to the pixels that they fall on in the next frame. So no local change is explained away, and none of hue. The geometric mean
    of the gains is 1.
    """
    return gains_of(exposure_steps(images, points, colors, frame, intrinsics, camera_from_world))


def gains_of(steps: Float[Tensor, " steps"]) -> Float[Tensor, " steps+1"]:
    """Return each frame's gain from the steps between consecutive frames; their geometric mean is 1."""
    log_gains = torch.cat([steps.new_zeros(1), steps]).cumsum(0)
    return (log_gains - log_gains.mean()).exp()


def exposure_steps(
    images: Float[Tensor, "frames 3 height width"],
    points: Float[Tensor, "points 3"],
    colors: Float[Tensor, "points 3"],
    frame: Int64[Tensor, " points"],
    intrinsics: Float[Tensor, "frames 3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> Float[Tensor, " frames-1"]:
    """Return by how much each next frame is brighter than the one before: the logarithm of the factor. See `exposure_gains`."""
    luma = torch.tensor(_LUMA).to(images)
    next_grays, grays = (images * luma[:, None, None]).sum(1), (colors * luma).sum(1)
    steps = []
    for index in range(len(images) - 1):
        mine = frame == index
        uv, depth = project(points[mine], intrinsics[index + 1], camera_from_world[index + 1])
        here, there = _shared(grays[mine], next_grays[index + 1], uv, depth)
        steps.append((there / here).log().median() if len(here) >= LEAST_PIXELS else grays.new_zeros(()))
    return torch.stack(steps) if steps else grays.new_zeros(0)


def _shared(
    here: Float[Tensor, " points"],
    next_gray: Float[Tensor, "height width"],
    uv: Float[Tensor, "points 2"],
    depth: Float[Tensor, " points"],
) -> tuple[Float[Tensor, " shared"], Float[Tensor, " shared"]]:
    """Return the grey values, here and in the next frame, of the points that are well exposed in both."""
    height, width = next_gray.shape
    ahead = depth > 0
    column, line = torch.where(ahead[:, None], uv, -1.0).round().unbind(1)
    inside = ahead & (column >= 0) & (column < width) & (line >= 0) & (line < height)
    there = next_gray[line[inside].long(), column[inside].long()]
    here = here[inside]
    well = (torch.minimum(here, there) > DARKEST) & (torch.maximum(here, there) < BRIGHTEST)
    return here[well], there[well]
