"""Scenes of the miniature world: a textured room with several objects, made from a seed.

A scene is a list of surfaces. Every surface carries a solid texture (a function of the point in the object's own
coordinates), so that a point keeps its colour whichever camera sees it.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

ROOM_HALF_WIDTH, ROOM_HEIGHT, ROOM_DEPTH = 3.2, 3.2, 3.6  # metres; the room reaches from -depth to +depth along z
WAVES = 3


@dataclass(frozen=True, eq=False)
class Textures:
    """One solid texture per surface: a mix of two colours, steered by a sum of plane waves through the object."""

    colors: Float[Tensor, "surfaces 2 3"]
    frequencies: Float[Tensor, "surfaces waves 3"]
    phases: Float[Tensor, "surfaces waves"]
    sharpness: Float[Tensor, " surfaces"]


@dataclass(frozen=True, eq=False)
class Solids:
    """Objects of one kind: where they stand, and their size along x, y, z (half extents; a radius where they are round)."""

    centers: Float[Tensor, "objects 3"]
    sizes: Float[Tensor, "objects 3"]
    yaws: Float[Tensor, " objects"]


@dataclass(frozen=True, eq=False)
class World:
    """A room of six walls (surfaces 0 to 5), then the spheres, the boxes and the cylinders, in this order."""

    room: Float[Tensor, "2 3"]
    spheres: Solids
    boxes: Solids
    cylinders: Solids
    textures: Textures


def make_world(seed: int) -> World:
    """Make the scene of a seed: three to five objects on the floor, apart from each other, no two scenes alike."""
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(3, 6, (1,), generator=generator))
    kinds = torch.randint(0, 3, (count,), generator=generator)
    centers, sizes = _place(count, generator)
    yaws = _uniform((count,), 0.0, math.pi / 2, generator)
    spheres, boxes, cylinders = (Solids(centers[kinds == kind], sizes[kinds == kind], yaws[kinds == kind]) for kind in range(3))
    radii = spheres.sizes[:, :1].expand(-1, 3)
    spheres = Solids(_standing(spheres.centers, radii), radii, spheres.yaws)
    boxes, cylinders = (Solids(_standing(s.centers, s.sizes), s.sizes, s.yaws) for s in (boxes, cylinders))
    room = torch.tensor(
        [[-ROOM_HALF_WIDTH, -ROOM_HEIGHT, -ROOM_DEPTH], [ROOM_HALF_WIDTH, 0.0, ROOM_DEPTH]], dtype=torch.float32
    )
    return World(room, spheres, boxes, cylinders, _textures(6, count, generator))


def _place(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Spread the objects on a ring around the target, so that cameras (2 m and more away) never meet them."""
    turn = _uniform((1,), 0.0, 2 * math.pi, generator)
    angles = turn + 2 * math.pi * (torch.arange(count) + _uniform((count,), -0.25, 0.25, generator)) / count
    radii = _uniform((count,), 0.7, 1.15, generator)
    centers = torch.stack([radii * angles.sin(), torch.zeros(count), radii * angles.cos()], dim=-1)
    sizes = _uniform((count, 3), 0.22, 0.42, generator)
    sizes[:, 1] = _uniform((count,), 0.3, 0.9, generator)
    return centers, sizes


def _standing(centers: Tensor, sizes: Tensor) -> Tensor:
    return torch.stack([centers[:, 0], -sizes[:, 1], centers[:, 2]], dim=-1)


def _textures(walls: int, objects: int, generator: torch.Generator) -> Textures:
    """Draw textures: slow waves on the walls, faster ones on the objects, none finer than a few pixels at 64 x 64."""
    surfaces = walls + objects
    reach = torch.tensor([0.7] * walls + [1.6] * objects)  # waves per metre
    directions = torch.nn.functional.normalize(torch.randn(surfaces, WAVES, 3, generator=generator), dim=-1)
    lengths = _uniform((surfaces, WAVES), 0.4, 1.0, generator) * reach[:, None]
    colors = _uniform((surfaces, 2, 3), 0.08, 0.92, generator)
    colors[:walls] = 0.35 + 0.6 * colors[:walls]  # walls are lighter than what stands before them
    return Textures(
        colors=colors,
        frequencies=2 * math.pi * directions * lengths[..., None],
        phases=_uniform((surfaces, WAVES), 0.0, 2 * math.pi, generator),
        sharpness=_uniform((surfaces,), 1.0, 4.0, generator),
    )


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
