"""Worlds that are hard to reconstruct: what their surfaces are made of, what stands before them, and what is in the air.

The geometry of a hard world is as exactly known as that of any other. A mirror has the depth of its own surface, though what
is seen in it lies behind that.
"""

import math
from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from videogpa.records import HardKind
from videogpa.world.scenes import BOX, CYLINDER, WALLS, Textures, World

FLOOR, FAR_WALL = 3, 5  # surfaces
MIRROR, POLISHED, LACQUERED, PANE, WATER = 0.9, 0.35, 0.15, 0.08, 0.1  # reflection
CLEAR = 0.9  # transparency of glass
TILE = 0.32  # metres after which a repeated texture is the same again
CURRENT = 3.0 * math.pi  # radians that water travels over a clip, at most
HAZE = 0.4  # of fog: a wall 6 m away keeps a tenth of its contrast
RODS, ROD, RAIL_HEIGHTS, FENCE_HEIGHT, FENCE_WIDTH, FENCE_AT = 15, 0.007, (0.5, 1.5), 1.7, 2.8, -1.3  # metres


def hardened(world: World, kind: HardKind | None) -> World:
    """Return a world with what makes it hard; itself where that is not in the world but in the camera.

    `mirror`: the far wall and an object are mirrors. `glossy`: the floor is polished and the objects lacquered. `glass`: every
    other object is of glass. `rods`: a fence of thin rods stands before the objects. `bare`: the walls are of one colour.
    `repeated`: walls and floor repeat their texture. `water`: the floor is water. `fog`: the air is thick.
    """
    return world if kind is None or kind not in _MAKE else _MAKE[kind](world)


def _mirror(world: World) -> World:
    return _made_of(world, reflection={FAR_WALL: MIRROR, WALLS: MIRROR})


def _glossy(world: World) -> World:
    objects = range(WALLS, WALLS + len(world.kinds))
    return _made_of(world, reflection={FLOOR: POLISHED, **dict.fromkeys(objects, LACQUERED)})


def _glass(world: World) -> World:
    some = range(WALLS, WALLS + len(world.kinds), 2)
    return _made_of(world, reflection=dict.fromkeys(some, PANE), transparency=dict.fromkeys(some, CLEAR))


def _rods(world: World) -> World:
    """Stand upright cylinders in a row, and lay two boxes across as rails."""
    x = torch.linspace(-FENCE_WIDTH / 2, FENCE_WIDTH / 2, RODS)
    upright = torch.stack([x, torch.full_like(x, -FENCE_HEIGHT / 2), torch.full_like(x, FENCE_AT)], dim=-1)
    rails = torch.tensor([[0.0, -height, FENCE_AT] for height in RAIL_HEIGHTS])
    sizes = torch.tensor([[ROD, FENCE_HEIGHT / 2, ROD]] * RODS + [[FENCE_WIDTH / 2, ROD, ROD]] * len(rails))
    count = len(sizes)
    return replace(
        world,
        kinds=torch.cat([world.kinds, torch.tensor([CYLINDER] * RODS + [BOX] * len(rails))]),
        centers=torch.cat([world.centers, upright, rails]),
        sizes=torch.cat([world.sizes, sizes]),
        yaws=torch.cat([world.yaws, torch.zeros(count)]),
        textures=_more(world.textures, count, dark=0.12),
    )


def _bare(world: World) -> World:
    colors = world.textures.colors.clone()
    colors[:WALLS, 1] = colors[:WALLS, 0]
    return replace(world, textures=replace(world.textures, colors=colors))


def _repeated(world: World) -> World:
    """Give walls and floor three waves of one length, along the axes: a chequered pattern."""
    frequencies, phases, sharpness = (
        part.clone() for part in (world.textures.frequencies, world.textures.phases, world.textures.sharpness)
    )
    frequencies[:WALLS], phases[:WALLS], sharpness[:WALLS] = 0, 0, 4
    frequencies[:WALLS, :3] = 2 * math.pi / TILE * torch.eye(3)
    return replace(world, textures=replace(world.textures, frequencies=frequencies, phases=phases, sharpness=sharpness))


def _water(world: World) -> World:
    """Let the waves of the floor's texture travel, each at its own pace, half of them backwards."""
    currents = world.textures.currents.clone()
    waves = currents.shape[1]
    signs = 1 - 2 * (torch.arange(waves) % 2)
    currents[FLOOR] = CURRENT * signs * torch.linspace(0.4, 1, waves)
    wet = _made_of(world, reflection={FLOOR: WATER})
    return replace(wet, textures=replace(wet.textures, currents=currents))


def _fog(world: World) -> World:
    return replace(world, haze=HAZE)


_MAKE: dict[HardKind, Callable[[World], World]] = {
    "mirror": _mirror, "glossy": _glossy, "glass": _glass, "rods": _rods, "bare": _bare, "repeated": _repeated,
    "water": _water, "fog": _fog,
}  # fmt: skip


def _made_of(world: World, *, reflection: dict[int, float], transparency: dict[int, float] | None = None) -> World:
    """Set the optics of some surfaces."""
    textures = world.textures
    optics = {
        "reflection": _with(textures.reflection, reflection),
        "transparency": _with(textures.transparency, transparency or {}),
    }
    return replace(world, textures=replace(textures, **optics))


def _with(values: Tensor, changed: dict[int, float]) -> Tensor:
    values = values.clone()
    values[list(changed)] = torch.tensor(list(changed.values()))
    return values


def _more(textures: Textures, count: int, *, dark: float) -> Textures:
    """Append surfaces of one dark colour."""
    names = [field.name for field in fields(Textures)]
    parts = {name: getattr(textures, name) for name in names}
    zeros = {name: part.new_zeros(count, *part.shape[1:]) for name, part in parts.items()}
    zeros["colors"] += dark
    return Textures(**{name: torch.cat([parts[name], zeros[name]]) for name in names})
