"""The shapes of objects at unit size: their intersections with rays, and their normals.

Rays come in an object's own coordinates, in which a sphere has radius 1, a box reaches from -1 to 1 along every axis, and a
cylinder has radius 1 and stands upright from y = 1 up to its lid at y = -1. A ray is at `origin + t * direction`; `t` is the
same number in any coordinates. A camera inside a solid does not see it.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.world.scenes import BOX, CYLINDER, SPHERE

NEVER = torch.inf


def _sphere(origin: Tensor, direction: Tensor) -> Tensor:
    return _nearest_root(direction.square().sum(0), (origin * direction).sum(0), origin.square().sum(0) - 1)


def _box(origin: Tensor, direction: Tensor) -> Tensor:
    """Slab method: the ray is inside once it has entered all three pairs of planes."""
    pace = direction.reciprocal()
    one, other = (-1 - origin) * pace, (1 - origin) * pace
    enters = torch.minimum(one, other).amax(dim=0)
    leaves = torch.maximum(one, other).amin(dim=0)
    return torch.where((enters > 0) & (enters < leaves), enters, NEVER)


def _cylinder(origin: Tensor, direction: Tensor) -> Tensor:
    """The side, or the lid where the ray comes from above. The cylinder stands on the floor: its bottom is never seen."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    side = _nearest_root(dx * dx + dz * dz, ox * dx + oz * dz, ox * ox + oz * oz - 1)
    side = torch.where((oy + side * dy).abs() <= 1, side, NEVER)
    lid = (-1 - oy) / dy
    on_lid = (ox + lid * dx).square() + (oz + lid * dz).square() <= 1
    return torch.minimum(side, torch.where((lid > 0) & (dy > 0) & on_lid, lid, NEVER))


def _nearest_root(a: Tensor, half_b: Tensor, c: Tensor) -> Tensor:
    """The smaller root of a t^2 + 2 half_b t + c = 0 if it lies ahead, else infinity."""
    discriminant = half_b.square() - a * c
    root = (-half_b - discriminant.clamp_min(0).sqrt()) / a
    return torch.where((discriminant > 0) & (root > 0), root, NEVER)


def _sphere_normal(points: Tensor) -> Tensor:
    return points


def _box_normal(points: Tensor) -> Tensor:
    length = points.abs()  # compared, since `argmax` over so short an axis is a hundred times slower
    return (length == length.amax(dim=0)) * points


def _cylinder_normal(points: Tensor) -> Tensor:
    x, y, z = points
    on_lid = y + 1 < 1e-4  # float32 puts hits on the lid no farther from it
    zero = torch.zeros_like(x)
    return torch.where(on_lid, torch.stack([zero, zero - 1, zero]), torch.stack([x, zero, z]))


HITS: dict[int, Callable[[Float[Tensor, "3 rays"], Float[Tensor, "3 rays"]], Float[Tensor, " rays"]]] = {
    SPHERE: _sphere, BOX: _box, CYLINDER: _cylinder,
}  # fmt: skip
"""The `t` of the first hit of every ray, infinite where it misses."""

NORMALS: dict[int, Callable[[Float[Tensor, "3 rays"]], Float[Tensor, "3 rays"]]] = {
    SPHERE: _sphere_normal, BOX: _box_normal, CYLINDER: _cylinder_normal,
}  # fmt: skip
"""The outward normal at points on the surface, of any length."""
