"""Render a point cloud with a depth tolerance: points that agree are blended, and uncertain points do not occlude.

The plain renderer (maths/render.py) gives salt-and-pepper noise for a cloud whose depths are slightly wrong: where two points
should coincide, the nearer one wins the pixel, whichever it is. The renderer of this module serves the leave-one-out scores.
Every point is splatted bilinearly onto the four pixels around it, and
- the front of a pixel is the nearest point whose share of the pixel is at least `FAIR_SHARE`, so that a point with a very small
  share does not hide the points behind it;
- trusted points define the front; other points define it only where there is no trusted one, so that they fill holes;
- all points within the tolerance of the front are blended, weighted by share times weight. Points nearer than that, which have
  a small share or are not trusted, are left out, and so are points farther away.

The tolerance is in inverse depth: an error of d in inverse depth moves a point by focal length x baseline x d pixels.

Sums are taken in integers, for which the order does not matter, so that results are the same on every run on any device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from videogpa.maths.render import check_cloud, crop_border, one_thread, pixel_numbers, project_in_parts

FAIR_SHARE = 0.1  # least share of a point that sets the front; with points 1.3 pixels apart, every pixel has one with .12
FIXED_POINT = 2**24  # integer that stands for 1 in the sums of share x weight x colour; 2^39 full points may share a pixel


@one_thread()
def blend_cloud(
    points: Float[Tensor, "points 3"],
    colors: Float[Tensor, "points 3"],
    intrinsics: Float[Tensor, "views 3 3"],
    camera_from_world: Float[Tensor, "views 4 4"],
    *,
    height: int,
    width: int,
    weights: Float[Tensor, " points"],
    trusted: Bool[Tensor, " points"],
    tolerance: Float[Tensor, " views"],
    hidden_from: Int[Tensor, " points"] | None = None,
) -> tuple[Float[Tensor, "views 3 height width"], Bool[Tensor, "views height width"]]:
    """Return the blended image of the cloud in every view, and the mask of the pixels that a point covers.

    Args:
        points: The cloud, in world coordinates.
        colors: RGB in [0, 1] of each point.
        intrinsics: Camera matrix of each view, in pixels.
        camera_from_world: Pose of each view.
        height: Height of the images, in pixels.
        width: Width of the images, in pixels.
        weights: Weight of each point in the blend, in (0, 1].
        trusted: Whether each point defines the front of its pixels with priority over points that are not trusted.
        tolerance: Tolerance of each view, in inverse depth; it may be infinite.
        hidden_from: Point i is not drawn in view `hidden_from[i]`; None draws every point in every view.

    Returns:
        The images, RGB in [0, 1], in which pixels that no point covers are black; and the masks, true where a point covers.

    Raises:
        ValueError: If a point is not finite, or the image has more than 2^24 pixels.
    """
    check_cloud(points, height, width)
    values = torch.cat([colors, torch.ones_like(colors[:, :1])], dim=1).T * (FIXED_POINT * weights)
    # Three colours and the weight of every pixel.
    sums = torch.zeros(len(intrinsics), 4, (height + 2) * (width + 2), dtype=torch.int64, device=points.device)
    for view, camera in enumerate(camera_from_world):
        hidden = None if hidden_from is None else hidden_from - view
        splats = [
            _splat(part, uv, depth, height, width)
            for _, part, uv, depth in project_in_parts(points, intrinsics[view, None], camera[None], hidden)
        ]
        front = _front(splats, trusted, points.new_zeros(2, sums.shape[-1]))
        for splat in splats:
            surface = front.index_select(0, splat.pixels.flatten()).view_as(splat.pixels)
            agrees = (surface > 0) & ((splat.near - surface).abs_() <= tolerance[view]) & (splat.near > 0)
            shares = torch.where(agrees, splat.shares, 0.0)
            for pixel, share in zip(splat.pixels, shares, strict=True):
                sums[view].scatter_add_(1, pixel.expand(4, -1), (values[:, splat.part] * share).to(torch.int64))
    return _normalise(crop_border(sums, height, width))


class _Splat(NamedTuple):
    """Points of one part of a cloud on the four pixels around each of them, in one view."""

    part: slice
    near: Float[Tensor, " part"]
    """Inverse depth; 0 for a point that the view must not show."""
    pixels: Int64[Tensor, "4 part"]
    shares: Float[Tensor, "4 part"]
    """Of the point in each pixel, bilinear; they sum to 1."""


def _splat(part: slice, uv: Float[Tensor, "2 part"], depth: Float[Tensor, " part"], height: int, width: int) -> _Splat:
    corner = uv.floor()
    right, down = uv - corner
    left, up = 1 - right, 1 - down
    (u, v), (u_next, v_next) = corner, corner + 1
    pixels = [pixel_numbers(torch.stack(taps), height, width) for taps in ((u, v), (u, v_next), (u_next, v), (u_next, v_next))]
    shares = [left * up, left * down, right * up, right * down]
    return _Splat(part, depth.reciprocal(), torch.stack(pixels), torch.stack(shares))


def _front(
    splats: Sequence[_Splat], trusted: Bool[Tensor, " points"], nothing: Float[Tensor, "2 pixels"]
) -> Float[Tensor, " pixels"]:
    """Return the inverse depth of the front of each pixel: that of trusted points, or of others where there is none.

    `nothing` is filled: its first row with the front of trusted points, the second with that of the others.
    """
    for splat in splats:
        row = torch.where(trusted[splat.part], 0, nothing.shape[1])
        near = torch.where(splat.shares >= FAIR_SHARE, splat.near, 0.0)
        nothing.view(-1).scatter_reduce_(0, (splat.pixels + row).flatten(), near.flatten(), "amax")
    of_trusted, of_others = nothing
    return torch.where(of_trusted > 0, of_trusted, of_others)


def _normalise(
    sums: Int64[Tensor, "views 4 height width"],
) -> tuple[Float[Tensor, "views 3 height width"], Bool[Tensor, "views height width"]]:
    weight = sums[:, 3]
    image = sums[:, :3].double() / weight.clamp(min=1)[:, None]
    return image.float(), weight > 0
