"""Render a point cloud tolerantly: what agrees within a tolerance is blended, and weak evidence hides nothing.

The plain renderer (maths/render.py) makes salt and pepper of a cloud whose depths are a little off: of two points that should
be one, the nearer wins the pixel, whichever it is. This one serves the leave-one-out scores. Every point spreads over the four
pixels around it, bilinearly, and
- the front of a pixel is the nearest point that has a fair share in it (a sliver of a share must not hide what is behind);
- trusted points make the front; the others do so only where no trusted one does, so that they fill holes;
- all points within the tolerance of the front are blended, by share times weight; what is nearer still, a sliver
  or not trusted, is left out like what is behind.

The tolerance is in inverse depth: to be wrong by d in inverse depth moves a point by focal length x baseline x d pixels.

Sums are taken in integers, whose order does not matter, so that a result does not differ from run to run on any device.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from videogpa.maths.render import check_cloud, crop_border, one_thread, pixel_numbers, project_in_parts

FAIR_SHARE = 0.1  # of a point in a pixel, to set its front; where points are 1.3 pixels apart every pixel has one with .12
FIXED_POINT = 2**24  # sums of share x weight x colour, in units of this; 2^39 full points may fall on one pixel


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

    `weights` are in (0, 1]; `tolerance` is in inverse depth, one for each view, and may be infinite. Point i is not drawn in
    view `hidden_from[i]`. Pixels that nothing covers are black.

    Raises:
        ValueError: If a point is not finite, or the image has more than 2^24 pixels.
    """
    check_cloud(points, height, width)
    views, pixels = len(intrinsics), (height + 2) * (width + 2)
    cameras = (intrinsics, camera_from_world)

    fronts = points.new_zeros(views, 2 * pixels)  # inverse depth of the front: of trusted points, then of the others
    for view, part, uv, depth in project_in_parts(points, *cameras, hidden_from):
        near, layer = depth.reciprocal(), torch.where(trusted[part], 0, pixels)
        for pixel, share in _taps(uv, height, width):
            fronts[view].scatter_reduce_(0, pixel + layer, torch.where(share >= FAIR_SHARE, near, 0.0), "amax")
    front = torch.where(fronts[:, :pixels] > 0, fronts[:, :pixels], fronts[:, pixels:])

    sums = torch.zeros(views, 4, pixels, dtype=torch.int64, device=points.device)  # colour, weight
    values = torch.cat([colors, torch.ones_like(colors[:, :1])], dim=1).T * (FIXED_POINT * weights)
    for view, part, uv, depth in project_in_parts(points, *cameras, hidden_from):
        near = torch.where(depth < torch.inf, depth.reciprocal(), torch.nan)  # nan is within no tolerance
        for pixel, share in _taps(uv, height, width):
            surface = front[view].index_select(0, pixel)
            share = torch.where((surface > 0) & ((near - surface).abs() <= tolerance[view]), share, 0.0)
            sums[view].scatter_add_(1, pixel.expand(4, -1), (values[:, part] * share).to(torch.int64))
    return _normalise(crop_border(sums, height, width))


def _taps(
    uv: Float[Tensor, "2 part"], height: int, width: int
) -> Iterator[tuple[Int64[Tensor, " part"], Float[Tensor, " part"]]]:
    """Yield the number of each of the four pixels around every point, and the point's bilinear share in it."""
    corner = uv.floor()
    right, down = uv - corner
    for du, share_u in ((0, 1 - right), (1, right)):
        for dv, share_v in ((0, 1 - down), (1, down)):
            offset = torch.tensor([[du], [dv]]).to(uv)
            yield pixel_numbers(corner + offset, height, width), share_u * share_v


def _normalise(
    sums: Int64[Tensor, "views 4 height width"],
) -> tuple[Float[Tensor, "views 3 height width"], Bool[Tensor, "views height width"]]:
    weight = sums[:, 3]
    image = sums[:, :3].double() / weight.clamp(min=1)[:, None]
    return image.float(), weight > 0
