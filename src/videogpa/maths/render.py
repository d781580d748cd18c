"""Render a coloured point cloud into many views at once. Every point covers one pixel, and a pixel shows its nearest point.

This is the renderer of the paper's 3DCS (VideoGPA, https://arxiv.org/abs/2601.23286). The official code sorts the points of
every view by depth and writes them far to near, `canvas[v, u] = colour`. That is slow, and an indexed write with repeated
indices has no defined order on a GPU, nor on a CPU with several threads. Here a z-buffer of integers is used: a point's key has
its depth in the upper half and its index in the lower, and the pixel keeps the minimum. The result is the same on every
run, and ties go to the first point.

Depths within 3e-5 of each other (relative) count as tied. Points of two frames often coincide (if the camera is static, or
moves along the image plane), and rounding, which differs between machines, must not decide which of the two is visible.

Cameras follow docs/reference/conventions.md. Point i is not drawn in view `hidden_from[i]`, if that is given. With the index of
the frame from which each point was made, this is leave-one-out rendering.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

# On a CPU, a part of this size stays in its core's cache.
POINTS_AT_ONCE = 2**14
INDEX_BITS = 32
DROPPED_BITS = 8  # of the 23 mantissa bits of a float32 depth; bit patterns of positive floats are ordered like the floats
NOWHERE = (0x7F80_0000 >> DROPPED_BITS) << INDEX_BITS  # the key of an infinitely far point, and so of no point
LARGEST_IMAGE = 2**24  # pixel numbers are computed in float32


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch from splitting CPU operations between threads; this is a context manager and a decorator.

    Rendering takes thousands of operations, one part at a time. If each waits for the slower of two threads, they take 34 s
    instead of 1.2 s where another program runs on one of the two cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def splat_cloud(
    points: Float[Tensor, "points 3"],
    colors: Float[Tensor, "points 3"],
    intrinsics: Float[Tensor, "views 3 3"],
    camera_from_world: Float[Tensor, "views 4 4"],
    *,
    height: int,
    width: int,
    hidden_from: Int[Tensor, " points"] | None = None,
) -> tuple[Float[Tensor, "views 3 height width"], Bool[Tensor, "views height width"]]:
    """Return the image of the cloud in every view, and the mask of the pixels that a point covers.

    A point in front of the camera covers the pixel (round(u), round(v)), with halves rounded to even, as in the official code.

    Args:
        points: The cloud, in world coordinates.
        colors: RGB in [0, 1] of each point.
        intrinsics: Camera matrix of each view, in pixels.
        camera_from_world: Pose of each view.
        height: Height of the images, in pixels.
        width: Width of the images, in pixels.
        hidden_from: Point i is not drawn in view `hidden_from[i]`; None draws every point in every view.

    Returns:
        The images, RGB in [0, 1], in which pixels that no point covers are black; and the masks, true where a point covers.

    Raises:
        ValueError: If a point is not finite, or the image has more than 2^24 pixels.
    """
    check_cloud(points, height, width)
    bids = torch.full((len(intrinsics), (height + 2) * (width + 2)), NOWHERE, dtype=torch.int64, device=points.device)
    index = torch.arange(len(points), device=points.device)
    for view, part, uv, depth in project_in_parts(points, intrinsics, camera_from_world, hidden_from):
        rank = depth.view(torch.int32).add_(1 << DROPPED_BITS - 1).bitwise_right_shift_(DROPPED_BITS)
        bid = rank.to(torch.int64).bitwise_left_shift_(INDEX_BITS).add_(index[part])
        bids[view].scatter_reduce_(0, pixel_numbers(uv.round_(), height, width), bid, "amin")
    nearest = crop_border(bids, height, width)
    covered = nearest < NOWHERE
    black = torch.cat([colors, colors.new_zeros(1, 3)])
    winner = torch.where(covered, nearest & (2**INDEX_BITS - 1), len(points))
    return black[winner].permute(0, 3, 1, 2).contiguous(), covered


def project_in_parts(
    points: Float[Tensor, "points 3"],
    intrinsics: Float[Tensor, "views 3 3"],
    camera_from_world: Float[Tensor, "views 4 4"],
    hidden_from: Int[Tensor, " points"] | None,
) -> Iterator[tuple[int, slice, Float[Tensor, "2 part"], Float[Tensor, " part"]]]:
    """Project the points into every view, one part of the points at a time; on a CPU, a part fits into the cache.

    Args:
        points: The cloud, in world coordinates.
        intrinsics: Camera matrix of each view, in pixels.
        camera_from_world: Pose of each view.
        hidden_from: Point i is not shown in view `hidden_from[i]`; None shows every point in every view.

    Yields:
        (view, part of the points, pixel coordinates, depth). Points that the view must not show (not in front of it, or hidden
        from it) have infinite depth and finite coordinates. The caller may change the tensors in place.
    """
    pixels_from_world = intrinsics @ camera_from_world[:, :3]
    rows = points.T.contiguous()
    at_once = POINTS_AT_ONCE if points.device.type == "cpu" else max(1, len(points))
    for start in range(0, len(points), at_once):
        part = slice(start, min(start + at_once, len(points)))
        for view, matrix in enumerate(pixels_from_world):
            x, y, z, shift = matrix.unbind(1)
            # This is not a matrix product, whose library starts threads for any size and rounds differently between machines.
            projected = rows[0, part] * x[:, None]
            projected.addcmul_(rows[1, part], y[:, None]).addcmul_(rows[2, part], z[:, None]).add_(shift[:, None])
            depth = projected[2]
            hidden = depth <= 0
            if hidden_from is not None:
                hidden |= hidden_from[part] == view
            depth.masked_fill_(hidden, torch.inf)
            yield view, part, projected[:2].div_(depth), depth


def pixel_numbers(uv: Float[Tensor, "2 part"], height: int, width: int) -> Int64[Tensor, " part"]:
    """Return the flat index of each pixel in an image with a border of one pixel.

    All pixels outside the image fall on the border, so that no mask is needed.

    Args:
        uv: Pixel coordinates, whole numbers; they are changed in place.
        height: Height of the image without the border, in pixels.
        width: Width of the image without the border, in pixels.
    """
    u, v = uv[0].clamp_(-1, width), uv[1].clamp_(-1, height)
    return torch.add(u, v, alpha=width + 2).to(torch.int64).add_(width + 3)


def crop_border(numbered: Tensor, height: int, width: int) -> Tensor:
    """Return buffers `[... pixels]`, indexed by `pixel_numbers`, as images `[... height width]` without the border."""
    return numbered.view(*numbered.shape[:-1], height + 2, width + 2)[..., 1:-1, 1:-1]


def check_cloud(points: Float[Tensor, "points 3"], height: int, width: int) -> None:
    """Raise ValueError if a point is not finite, or the image is larger than `pixel_numbers` can count."""
    if not bool(points.isfinite().all()):
        raise ValueError("the cloud has points that are not finite; leave them out")
    if (height + 2) * (width + 2) > LARGEST_IMAGE:
        raise ValueError(f"images of {height} x {width} are too large to render, at most {LARGEST_IMAGE} pixels")
