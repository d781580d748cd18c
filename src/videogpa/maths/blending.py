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

from collections.abc import Iterator

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
    views, pixels = len(intrinsics), (height + 2) * (width + 2)
    cameras = (intrinsics, camera_from_world)

    fronts = points.new_zeros(views, 2 * pixels)  # inverse depth of the front, first of trusted points, then of the others
    for view, part, uv, depth in project_in_parts(points, *cameras, hidden_from):
        near, layer = depth.reciprocal(), torch.where(trusted[part], 0, pixels)
        for pixel, share in _taps(uv, height, width):
            fronts[view].scatter_reduce_(0, pixel + layer, torch.where(share >= FAIR_SHARE, near, 0.0), "amax")
    front = torch.where(fronts[:, :pixels] > 0, fronts[:, :pixels], fronts[:, pixels:])

    sums = torch.zeros(views, 4, pixels, dtype=torch.int64, device=points.device)  # three colours and the weight
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
    """Yield, for each of a point's four neighbouring pixels in turn, its number and the point's bilinear share in it."""
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
