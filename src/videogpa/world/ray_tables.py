"""Shots made ready for the ray caster: for every frame the camera, and all surfaces as tables of numbers.

Everything about a surface that a ray may ask is affine in the world point or in the pixel: the coordinates in which an object
has unit size, and the phases of the waves of a texture. Placements are folded into these maps, so that moving, swelling and
leaning objects cost no more than still ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from videogpa.world.animation import Shot, yaw
from videogpa.world.scenes import BOX, CYLINDER, SPHERE, WALLS

LIGHT = (-0.6, -2.8, -0.8)
NEAR = 0.05  # metres in front of a camera: what reaches nearer has no rectangle in the picture
ABSENT = -1  # the kind of places that a world with fewer objects than the others of its batch leaves free
ROWS_BESIDE_WAVES = 8  # of a surface's table: sharpness, two colours, facing; before them four rows per wave


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one kind, every frame's on its own.

    `origin` is the camera's centre in the object's coordinates, `columns` takes pixels (u, v, 1) to directions there: three
    columns of three components. `box` is the rectangle of pixels that the object may touch: left, top, width, height.
    """

    kind: int
    frame: Int[Tensor, " objects"]
    surface: Int[Tensor, " objects"]
    origin: Float[Tensor, "3 objects"]
    columns: Float[Tensor, "9 objects"]
    local_from_world: Float[Tensor, "9 objects"]
    box: Int[Tensor, "4 objects"]


@dataclass(frozen=True, eq=False)
class Film:
    """What the ray caster reads.

    `columns` takes pixels (u, v, 1) to directions: three columns of three components. `table` has a column per frame and
    surface; every frame has `surfaces` of them.
    """

    height: int
    width: int
    surfaces: int
    objects: tuple[Objects, ...]
    centers: Float[Tensor, "3 frames"]
    columns: Float[Tensor, "3 3 frames"]
    room: Float[Tensor, "2 3 frames"]
    table: Float[Tensor, "rows columns"]


def build_tables(
    shots: Sequence[Shot], intrinsics: Float[Tensor, "3 3"], *, height: int, width: int, device: torch.device | str = "cpu"
) -> Film:
    """Fold worlds, placements and cameras into tables, and move these to the device."""
    cut = _splice(shots)
    rest_from_now = torch.linalg.inv(cut.object_poses)
    camera_from_world = cut.camera_from_world
    rotation = camera_from_world[:, :3, :3]
    centers = -(rotation.mT @ camera_from_world[:, :3, 3:])[..., 0]
    world_from_pixel = rotation.mT @ torch.linalg.inv(intrinsics)
    turned = yaw(-cut.yaws)
    local = turned @ torch.cat([rest_from_now[..., :3, :3], (rest_from_now[..., :3, 3] - cut.centers)[..., None]], dim=-1)
    local = local / cut.sizes[..., None]  # [frames, objects, 3, 4]: unit coordinates from world points
    corners = torch.tensor(list(product((-1.0, 1.0), repeat=3)))
    corners = (corners * cut.sizes[..., None, :]) @ turned + cut.centers[..., None, :]
    boxes = _boxes(corners, camera_from_world[:, None] @ cut.object_poses, intrinsics, height, width)
    origin = (local[..., :3] @ centers[:, None, :, None])[..., 0] + local[..., 3]
    columns = (local[..., :3] @ world_from_pixel[:, None]).mT.flatten(-2)
    objects = []
    for kind in (SPHERE, BOX, CYLINDER):
        frame, number = (cut.kinds == kind).nonzero(as_tuple=True)
        parts = (origin[frame, number].T, columns[frame, number].T, local[frame, number, :, :3].flatten(-2).T)
        tensors = (frame, (number + WALLS).to(torch.int32), *parts, boxes[frame, number].T)
        objects.append(Objects(kind, *(tensor.contiguous().to(device) for tensor in tensors)))
    surfaces = WALLS + cut.kinds.shape[1]
    rows = (centers.T, world_from_pixel.permute(2, 1, 0), cut.room.permute(1, 2, 0), _table(cut, rest_from_now))
    return Film(height, width, surfaces, tuple(objects), *(tensor.contiguous().to(device) for tensor in rows))


@dataclass(frozen=True, eq=False)
class _Cut:
    """The frames of all shots one after the other; worlds with fewer objects are filled up with absent ones."""

    camera_from_world: Float[Tensor, "frames 4 4"]
    object_poses: Float[Tensor, "frames objects 4 4"]
    room: Float[Tensor, "frames 2 3"]
    kinds: Int[Tensor, "frames objects"]
    centers: Float[Tensor, "frames objects 3"]
    sizes: Float[Tensor, "frames objects 3"]
    yaws: Float[Tensor, "frames objects"]
    colors: Float[Tensor, "frames surfaces 2 3"]
    frequencies: Float[Tensor, "frames surfaces waves 3"]
    phases: Float[Tensor, "frames surfaces waves"]
    sharpness: Float[Tensor, "frames surfaces"]


def _splice(shots: Sequence[Shot]) -> _Cut:
    worlds = [shot.world for shot in shots]
    most = max(len(world.kinds) for world in worlds)
    missing = [most - len(world.kinds) for world in worlds]
    lengths = torch.tensor([len(shot.camera_from_world) for shot in shots])
    scene = torch.arange(len(shots)).repeat_interleave(lengths)
    placements = [
        torch.cat([shot.object_poses, torch.eye(4).expand(len(shot.object_poses), extra, 4, 4)], dim=1)
        for shot, extra in zip(shots, missing, strict=True)
    ]
    waves = torch.cat([pad(shot.waves, (0, 0, 0, extra)) for shot, extra in zip(shots, missing, strict=True)])

    def stacked(parts: list[Tensor], fill: int = 0) -> Tensor:
        last = [
            pad(part, (0, 0) * (part.dim() - 1) + (0, extra), value=fill) for part, extra in zip(parts, missing, strict=True)
        ]
        return torch.stack(last)[scene]

    textures = [world.textures for world in worlds]
    return _Cut(
        torch.cat([shot.camera_from_world for shot in shots]),
        torch.cat(placements),
        torch.stack([world.room for world in worlds])[scene],
        stacked([world.kinds for world in worlds], fill=ABSENT),
        stacked([world.centers for world in worlds]),
        stacked([world.sizes for world in worlds], fill=1),
        stacked([world.yaws for world in worlds]),
        stacked([texture.colors for texture in textures]),
        stacked([texture.frequencies for texture in textures]),
        stacked([texture.phases for texture in textures]) + waves,
        stacked([texture.sharpness for texture in textures]),
    )


def _boxes(
    corners: Tensor, camera_from_rest: Tensor, intrinsics: Tensor, height: int, width: int
) -> Int[Tensor, "frames objects 4"]:
    """The pixels that a body with these corners may touch, with half a pixel to spare for rays beside pixel centres."""
    seen = corners @ camera_from_rest[..., :3, :3].mT + camera_from_rest[..., None, :3, 3]
    pixels = seen @ intrinsics.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    near = seen[..., 2].amin(-1, keepdim=True) < NEAR
    last = torch.tensor([width - 1.0, height - 1.0])
    low = torch.where(near, 0.0, (pixels.amin(-2) - 0.5).ceil().clamp_min(0))
    high = torch.where(near, last, torch.minimum((pixels.amax(-2) + 0.5).floor(), last))
    return torch.cat([low, (high - low + 1).clamp_min(0)], dim=-1).long()


def _table(cut: _Cut, rest_from_now: Float[Tensor, "frames objects 4 4"]) -> Float[Tensor, "rows columns"]:
    """Per surface: each wave's three factors and constant, sharpness, the first colour, the way to the second, facing.

    `facing` is a wall's distance from the light, which is what the normal times the way to the light comes to anywhere on it.
    """
    frames = len(cut.kinds)
    linear = torch.cat([torch.eye(3).expand(frames, WALLS, 3, 3), rest_from_now[..., :3, :3]], dim=1)
    offset = torch.cat([torch.zeros(frames, WALLS, 3), rest_from_now[..., :3, 3] - cut.centers], dim=1)
    constants = (cut.frequencies @ offset[..., None])[..., 0] + cut.phases
    waves = torch.cat([cut.frequencies @ linear, constants[..., None]], dim=-1).flatten(-2)
    first, second = cut.colors.unbind(-2)
    facing = pad((torch.tensor(LIGHT) - cut.room).abs().mT.flatten(1), (0, linear.shape[1] - WALLS))
    rows = torch.cat([waves, cut.sharpness[..., None], first, second - first, facing[..., None]], dim=-1)
    return rows.flatten(0, 1).T
