"""Render a coloured point cloud into many views at once, every point as one pixel, the nearest one winning.

This is the renderer of the paper's 3DCS (VideoGPA, https://arxiv.org/abs/2601.23286). The official code sorts the points of
every view by depth and writes them far to near, `canvas[v, u] = colour`: slow, and an indexed write with repeated indices has
no defined order on a GPU, nor on a CPU with several threads. Here every point bids for its pixel with one integer, depth in the
upper half and index in the lower, and the pixel keeps the minimum: the same on every run, and ties go to the first point.

Depths within 3e-5 of each other count as tied. Points of two frames often coincide (a camera that stands still, or slides along
the image plane), and rounding, which differs between machines, must not decide which of the two is seen.

Cameras follow docs/reference/conventions.md. Point i is not drawn in view `hidden_from[i]`, if that is given: with the frame
that each point came from, this is leave-one-out.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

# On a CPU: a part stays in the cache of its core, and is too small for torch to split (from 2^15 values on). Split, it is at
# best a third faster, and on a busy machine ten times slower, since threads wait for each other at every operation.
POINTS_AT_ONCE = 2**13
INDEX_BITS = 32
DROPPED_BITS = 8  # of the 23 of a float32 depth; the bit patterns of positive floats are ordered like the floats
NOWHERE = (0x7F80_0000 >> DROPPED_BITS) << INDEX_BITS  # the bid of an infinitely far point, and so of no point
LARGEST_IMAGE = 2**24  # pixel numbers are computed in float32


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch's operations on a CPU from being split between threads, as a context or as a decorator.

    Thousands of operations on a part at a time, each waiting for the slower of two threads, take 34 s instead of 1.2 s where
    another program works on one of the two cores.
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

    A point in front of the camera falls on the pixel (round(u), round(v)), halves to even, as in the official code. Pixels
    that no point covers are black.

    Raises:
        ValueError: If a point is not finite, or the image has more than 2^24 pixels.
    """
    check_cloud(points, height, width)
    bids = torch.full((len(intrinsics), (height + 2) * (width + 2)), NOWHERE, dtype=torch.int64, device=points.device)
    index = torch.arange(len(points), device=points.device)
    for view, part, uv, depth in project_in_parts(points, intrinsics, camera_from_world, hidden_from):
        rank = depth.view(torch.int32).add_(1 << DROPPED_BITS - 1).bitwise_right_shift_(DROPPED_BITS)
        bid = rank.to(torch.int64).bitwise_left_shift_(INDEX_BITS).add_(index[part])
        for coordinate in uv:  # one by one: `round_` is split between threads from 2^14 values on
            coordinate.round_()
        bids[view].scatter_reduce_(0, pixel_numbers(uv, height, width), bid, "amin")
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
    """Yield (view, part of the points, pixel coordinates, depth), a cache-sized part at a time (on a CPU).

    Points that the view must not show (behind it, or hidden from it) have infinite depth, and finite coordinates. The tensors
    are the caller's, to change in place.
    """
    pixels_from_world = intrinsics @ camera_from_world[:, :3]
    rows = points.T.contiguous()
    at_once = POINTS_AT_ONCE if points.device.type == "cpu" else max(1, len(points))
    for start in range(0, len(points), at_once):
        part = slice(start, min(start + at_once, len(points)))
        for view, matrix in enumerate(pixels_from_world):
            x, y, z, shift = matrix.unbind(1)
            # Not a matrix product: its library starts threads for any size, and rounds as the machine at hand suits it.
            projected = rows[0, part] * x[:, None]
            projected.addcmul_(rows[1, part], y[:, None]).addcmul_(rows[2, part], z[:, None]).add_(shift[:, None])
            depth = projected[2]
            hidden = depth <= 0
            if hidden_from is not None:
                hidden |= hidden_from[part] == view
            depth.masked_fill_(hidden, torch.inf)
            yield view, part, projected[:2].div_(depth), depth


def pixel_numbers(uv: Float[Tensor, "2 part"], height: int, width: int) -> Int64[Tensor, " part"]:
    """Return the number of each pixel in an image with a border of one pixel, where all that is outside lands.

    So no mask is needed. `uv` are whole numbers and are changed in place.
    """
    u, v = uv[0].clamp_(-1, width), uv[1].clamp_(-1, height)
    return torch.add(u, v, alpha=width + 2).to(torch.int64).add_(width + 3)


def crop_border(numbered: Tensor, height: int, width: int) -> Tensor:
    """Return [... height width] of buffers indexed by `pixel_numbers`, [... pixels]."""
    return numbered.view(*numbered.shape[:-1], height + 2, width + 2)[..., 1:-1, 1:-1]


def check_cloud(points: Float[Tensor, "points 3"], height: int, width: int) -> None:
    """Raise ValueError if a point is not finite, or the image is larger than `pixel_numbers` can count."""
    if not bool(points.isfinite().all()):
        raise ValueError("the cloud has points that are not finite; leave them out")
    if (height + 2) * (width + 2) > LARGEST_IMAGE:
        raise ValueError(f"images of {height} x {width} are too large to render, at most {LARGEST_IMAGE} pixels")
