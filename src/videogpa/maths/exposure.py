"""Estimate the exposure gain of each frame, so that automatic exposure is not mistaken for a change of the scene."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from videogpa.maths.cameras import project

DARKEST, BRIGHTEST = 0.05, 0.95
"""Pixels with grey values outside these bounds, in [0, 1], are not used: noise dominates below, and clipping occurs above."""

LEAST_PIXELS = 100
"""The least number of pixels that two frames must share for a gain to be estimated; with fewer, the gain is taken as 1."""

_LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in ITU-R BT.601


def exposure_gains(
    images: Float[Tensor, "frames 3 height width"],
    points: Float[Tensor, "points 3"],
    colors: Float[Tensor, "points 3"],
    frame: Int64[Tensor, " points"],
    intrinsics: Float[Tensor, "frames 3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> Float[Tensor, " frames"]:
    """Return the brightness of each frame relative to the clip's, estimated from points that consecutive frames share.

    All colours of a frame have one factor. From one frame to the next it changes by the median ratio of the next frame's
    grey values to those of the points that project onto them. Local changes and changes of hue are therefore not compensated.

    Args:
        images: The clip, RGB in [0, 1].
        points: The cloud, in world coordinates.
        colors: RGB in [0, 1] of each point.
        frame: Index of the frame from which each point was made.
        intrinsics: Camera matrices in pixels.
        camera_from_world: Poses of the cameras.

    Returns:
        One gain per frame, above 0; their geometric mean is 1.
    """
    return gains_of(exposure_steps(images, points, colors, frame, intrinsics, camera_from_world))


def gains_of(steps: Float[Tensor, " steps"]) -> Float[Tensor, " steps+1"]:
    """Return the gain of each frame, given the logarithmic steps of `exposure_steps`; the geometric mean of the gains is 1."""
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
    """Return the natural logarithm of the brightness ratio between each frame and the one before it.

    The arguments are those of `exposure_gains`. A step is 0 where the two frames share fewer than `LEAST_PIXELS` pixels.
    """
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
