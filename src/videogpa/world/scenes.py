"""Scenes of the miniature world: a textured room with several objects, made from a seed.

A scene is a list of surfaces. Every surface carries a solid texture (a function of the point in the object's own
coordinates), so that a point keeps its colour whichever camera sees it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from videogpa.records import Style

ROOM_HALF_WIDTH, ROOM_HEIGHT, ROOM_DEPTH = 3.2, 3.2, 3.6  # metres; the room reaches from -depth to +depth along z
WALLS = 6
WAVES = 3
FINE_WAVES, FINEST = 24, 12.0  # of a detailed surface, and how many a metre the finest has
SPHERE, BOX, CYLINDER = range(3)


@dataclass(frozen=True, eq=False)
class Textures:
    """One solid texture per surface: a mix of two colours, steered by a sum of plane waves through the object.

    `currents` are the radians by which its waves travel over a clip. `reflection` is the share of the light that a surface
    reflects as a mirror does, looked at squarely, and `transparency` the share of the rest that comes from behind it.
    """

    colors: Float[Tensor, "surfaces 2 3"]
    frequencies: Float[Tensor, "surfaces waves 3"]
    phases: Float[Tensor, "surfaces waves"]
    sharpness: Float[Tensor, " surfaces"]
    currents: Float[Tensor, "surfaces waves"]
    reflection: Float[Tensor, " surfaces"]
    transparency: Float[Tensor, " surfaces"]


@dataclass(frozen=True, eq=False)
class World:
    """A room of six walls (surfaces 0 to 5) and the objects in it (surfaces from 6 on), in the order of their kinds.

    Objects stand on the floor. `kinds` are SPHERE, BOX and CYLINDER; `sizes` along x, y, z are half extents, a radius where
    the object is round; `yaws` turn it about the vertical axis. `haze` is the density of the air: of the light of a surface
    `exp(-haze)` is left after a metre.
    """

    room: Float[Tensor, "2 3"]
    kinds: Int[Tensor, " objects"]
    centers: Float[Tensor, "objects 3"]
    sizes: Float[Tensor, "objects 3"]
    yaws: Float[Tensor, " objects"]
    textures: Textures
    haze: float = 0.0


def make_world(seed: int, style: Style = "rich") -> World:
    """Make the world of a seed.

    Args:
        seed: Determines the world.
        style: `rich`: three to five objects that stand apart, with patterns on all surfaces. `plain`: one or two objects of
            strong colours in a room of pale, almost uniform walls, for models too small to learn patterns. `detailed`: the rich
            world with fine patterns, for critics that detect and match features.
    """
    generator = Generator().manual_seed(seed)
    return _STYLES[style](generator)


def _rich(generator: Generator) -> World:
    count = int(torch.randint(3, 6, (1,), generator=generator))
    kinds = torch.randint(0, 3, (count,), generator=generator)
    centers, sizes = _place(count, generator)
    return _furnish(kinds, centers, sizes, _uniform((count,), 0.0, math.pi / 2, generator), _patterns(count, generator))


def _plain(generator: Generator) -> World:
    count = int(torch.randint(1, 3, (1,), generator=generator))
    kinds = torch.randint(0, 3, (count,), generator=generator)
    centers, sizes = _place(count, generator)
    centers, sizes = 0.65 * centers, sizes * torch.tensor([1.45, 1.0, 1.45])  # wider, and as much nearer to the middle
    return _furnish(kinds, centers, sizes, _uniform((count,), 0.0, math.pi / 2, generator), _plain_colours(count, generator))


def _detailed(generator: Generator) -> World:
    world = _rich(generator)
    grain = Generator().manual_seed(generator.initial_seed())
    surfaces = len(world.textures.sharpness)
    directions = torch.nn.functional.normalize(torch.randn(surfaces, FINE_WAVES, 3, generator=grain), dim=-1)
    lengths = 2 * math.pi * FINEST ** torch.rand(surfaces, FINE_WAVES, 1, generator=grain)  # from one a metre to the finest
    phases = 2 * math.pi * torch.rand(surfaces, FINE_WAVES, generator=grain)
    return replace(
        world,
        textures=replace(world.textures, frequencies=directions * lengths, phases=phases, currents=torch.zeros_like(phases)),
    )


_STYLES: dict[Style, Callable[[Generator], World]] = {"rich": _rich, "plain": _plain, "detailed": _detailed}


def _furnish(kinds: Tensor, centers: Tensor, sizes: Tensor, yaws: Tensor, textures: Textures) -> World:
    """Stand the objects on the floor, those of a kind next to each other in the list."""
    order = kinds.argsort(stable=True)
    kinds, centers, sizes, yaws = kinds[order], centers[order], sizes[order], yaws[order]
    sizes = torch.where((kinds == SPHERE)[:, None], sizes[:, :1], sizes)
    sizes = torch.where((kinds == CYLINDER)[:, None], sizes[:, [0, 1, 0]], sizes)
    centers = torch.stack([centers[:, 0], -sizes[:, 1], centers[:, 2]], dim=-1)
    room = torch.tensor([[-ROOM_HALF_WIDTH, -ROOM_HEIGHT, -ROOM_DEPTH], [ROOM_HALF_WIDTH, 0.0, ROOM_DEPTH]])
    return World(room, kinds, centers, sizes, yaws, textures)


def _place(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Spread the objects on a ring around the target, so that cameras (2 m and more away) never meet them."""
    turn = _uniform((1,), 0.0, 2 * math.pi, generator)
    angles = turn + 2 * math.pi * (torch.arange(count) + _uniform((count,), -0.25, 0.25, generator)) / count
    radii = _uniform((count,), 0.7, 1.15, generator)
    centers = torch.stack([radii * angles.sin(), torch.zeros(count), radii * angles.cos()], dim=-1)
    sizes = _uniform((count, 3), 0.22, 0.42, generator)
    sizes[:, 1] = _uniform((count,), 0.3, 0.9, generator)
    return centers, sizes


def _patterns(objects: int, generator: Generator) -> Textures:
    """Draw textures: slow waves on the walls, faster ones on the objects, none finer than a few pixels at 64 x 64."""
    surfaces = WALLS + objects
    frequencies = _waves([0.7] * WALLS + [1.6] * objects, generator)
    colors = _uniform((surfaces, 2, 3), 0.08, 0.92, generator)
    colors[:WALLS] = 0.35 + 0.6 * colors[:WALLS]  # walls are lighter than what stands before them
    phases = _uniform((surfaces, WAVES), 0.0, 2 * math.pi, generator)
    return _matt(colors, frequencies, phases, _uniform((surfaces,), 1.0, 4.0, generator))


def _plain_colours(objects: int, generator: Generator) -> Textures:
    """Draw pale walls of one hue each, and objects of saturated colours, far apart in hue, with one soft band or two."""
    surfaces = WALLS + objects
    frequencies = _waves([0.3] * WALLS + [1.0] * objects, generator)
    wall = _uniform((WALLS, 1, 3), 0.55, 0.9, generator)
    shade = torch.tensor([1.0, 0.8])[:, None]  # a wall's second colour is its first, a little darker
    hues = _uniform((1, 1), 0.0, 1.0, generator) + torch.arange(objects)[:, None] / objects + torch.tensor([0.0, 0.12])
    colors = torch.cat([wall * shade, _saturated(hues)])
    phases = _uniform((surfaces, WAVES), 0.0, 2 * math.pi, generator)
    return _matt(colors, frequencies, phases, torch.tensor([0.7] * WALLS + [1.5] * objects))


def _matt(colors: Tensor, frequencies: Tensor, phases: Tensor, sharpness: Tensor) -> Textures:
    none = torch.zeros_like(sharpness)
    return Textures(colors, frequencies, phases, sharpness, torch.zeros_like(phases), none, none)


def _waves(reach: list[float], generator: Generator) -> Float[Tensor, "surfaces waves 3"]:
    """Draw wave vectors in random directions, in radians per metre; `reach` is each surface's finest, in waves per metre."""
    directions = torch.nn.functional.normalize(torch.randn(len(reach), WAVES, 3, generator=generator), dim=-1)
    lengths = _uniform((len(reach), WAVES), 0.4, 1.0, generator) * torch.tensor(reach)[:, None]
    return 2 * math.pi * directions * lengths[..., None]


def _saturated(hues: Float[Tensor, "*any"]) -> Float[Tensor, "*any 3"]:
    """Return strong colours; hues count in turns. Channels are thirds of a turn apart, as in the HSV cone."""
    thirds = torch.tensor([0.0, 1 / 3, 2 / 3])
    distance = ((hues[..., None] - thirds + 0.5) % 1 - 0.5).abs()
    return 0.08 + 0.84 * (2 - 6 * distance).clamp(0, 1)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
