"""Tables of numbers for the ray caster, made from shots: the cameras of all frames, and the surfaces in them.

Everything that the ray caster needs to know of a surface is affine in the world point or in the pixel: the coordinates in
which an object has unit size, and the phases of the waves of a texture. The poses of objects are multiplied into these maps,
so that moving, swelling and leaning objects cost no more than still ones.
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
NEAR = 0.05  # metres in front of a camera: objects that come nearer may cover the whole picture
ABSENT = -1  # padding: worlds of a batch are filled up to the same number of objects
ROWS_BESIDE_WAVES = 8  # of a surface's table: sharpness, two colours, facing; before them four rows per wave


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one kind; an object counts once per frame.

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
class RayTables:
    """What the ray caster reads: the cameras, rooms and objects of all frames.

    `columns` takes pixels (u, v, 1) to directions: three columns of three components. `table` has a column per frame and
    surface; every frame has `surfaces` of them. `optics` has columns like it, of reflection and transparency; None where all is
    matt. `haze` is None in clear air.
    """

    height: int
    width: int
    surfaces: int
    objects: tuple[Objects, ...]
    centers: Float[Tensor, "3 frames"]
    columns: Float[Tensor, "3 3 frames"]
    room: Float[Tensor, "2 3 frames"]
    table: Float[Tensor, "rows columns"]
    optics: Float[Tensor, "2 columns"] | None
    haze: Float[Tensor, " frames"] | None


def build_tables(
    shots: Sequence[Shot], intrinsics: Float[Tensor, "3 3"], *, height: int, width: int, device: torch.device | str = "cpu"
) -> RayTables:
    """Build the tables of some shots.

    Args:
        shots: The shots, whose frames follow each other.
        intrinsics: The camera's intrinsics in pixels.
        height: Height of the picture, in pixels.
        width: Width of the picture, in pixels.
        device: Where the tables are moved to.
    """
    batch = _concatenate(shots)
    rest_from_now = torch.linalg.inv(batch.object_poses)
    camera_from_world = batch.camera_from_world
    rotation = camera_from_world[:, :3, :3]
    centers = -(rotation.mT @ camera_from_world[:, :3, 3:])[..., 0]
    world_from_pixel = rotation.mT @ torch.linalg.inv(intrinsics)
    turned = yaw(-batch.yaws)
    local = turned @ torch.cat([rest_from_now[..., :3, :3], (rest_from_now[..., :3, 3] - batch.centers)[..., None]], dim=-1)
    local = local / batch.sizes[..., None]  # [frames, objects, 3, 4]: unit coordinates from world points
    corners = torch.tensor(list(product((-1.0, 1.0), repeat=3)))
    corners = (corners * batch.sizes[..., None, :]) @ turned + batch.centers[..., None, :]
    boxes = _boxes(corners, camera_from_world[:, None] @ batch.object_poses, intrinsics, height, width)
    origin = (local[..., :3] @ centers[:, None, :, None])[..., 0] + local[..., 3]
    columns = (local[..., :3] @ world_from_pixel[:, None]).mT.flatten(-2)
    objects = []
    for kind in (SPHERE, BOX, CYLINDER):
        frame, number = (batch.kinds == kind).nonzero(as_tuple=True)
        parts = (origin[frame, number].T, columns[frame, number].T, local[frame, number, :, :3].flatten(-2).T)
        tensors = (frame, (number + WALLS).to(torch.int32), *parts, boxes[frame, number].T)
        objects.append(Objects(kind, *(tensor.contiguous().to(device) for tensor in tensors)))
    surfaces = WALLS + batch.kinds.shape[1]
    rows = (centers.T, world_from_pixel.permute(2, 1, 0), batch.room.permute(1, 2, 0), _table(batch, rest_from_now))
    rare = (batch.optics.flatten(0, 1).T.contiguous(), batch.haze)
    optics, haze = (part.to(device) if bool(part.any()) else None for part in rare)
    centers, looks, room, table = (tensor.contiguous().to(device) for tensor in rows)
    return RayTables(height, width, surfaces, tuple(objects), centers, looks, room, table, optics, haze)


@dataclass(frozen=True, eq=False)
class _Batch:
    """The frames of all shots, one after the other; worlds with fewer objects than others are padded with `ABSENT` ones."""

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
    optics: Float[Tensor, "frames surfaces 2"]
    haze: Float[Tensor, " frames"]


def _concatenate(shots: Sequence[Shot]) -> _Batch:
    worlds = [shot.world for shot in shots]
    most = max(len(world.kinds) for world in worlds)
    missing = [most - len(world.kinds) for world in worlds]
    lengths = torch.tensor([len(shot.camera_from_world) for shot in shots])
    scene = torch.arange(len(shots)).repeat_interleave(lengths)
    poses = [
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
    return _Batch(
        torch.cat([shot.camera_from_world for shot in shots]),
        torch.cat(poses),
        torch.stack([world.room for world in worlds])[scene],
        stacked([world.kinds for world in worlds], fill=ABSENT),
        stacked([world.centers for world in worlds]),
        stacked([world.sizes for world in worlds], fill=1),
        stacked([world.yaws for world in worlds]),
        stacked([texture.colors for texture in textures]),
        stacked([texture.frequencies for texture in textures]),
        stacked([texture.phases for texture in textures]) + waves,
        stacked([texture.sharpness for texture in textures]),
        stacked([torch.stack([texture.reflection, texture.transparency], dim=-1) for texture in textures]),
        torch.tensor([world.haze for world in worlds])[scene],
    )


def _boxes(
    corners: Tensor, camera_from_rest: Tensor, intrinsics: Tensor, height: int, width: int
) -> Int[Tensor, "frames objects 4"]:
    """Return the rectangle of pixels that an object may touch, half a pixel wider for rays beside pixel centres."""
    seen = corners @ camera_from_rest[..., :3, :3].mT + camera_from_rest[..., None, :3, 3]
    pixels = seen @ intrinsics.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    near = seen[..., 2].amin(-1, keepdim=True) < NEAR
    last = torch.tensor([width - 1.0, height - 1.0])
    low = torch.where(near, 0.0, (pixels.amin(-2) - 0.5).ceil().clamp_min(0))
    high = torch.where(near, last, torch.minimum((pixels.amax(-2) + 0.5).floor(), last))
    return torch.cat([low, (high - low + 1).clamp_min(0)], dim=-1).long()


def _table(batch: _Batch, rest_from_now: Float[Tensor, "frames objects 4 4"]) -> Float[Tensor, "rows columns"]:
    """Return per surface: three factors and a constant for each wave, sharpness, first colour, second minus first, facing.

    `facing` is a wall's distance from the light: the dot product of its normal and the way to the light, equal anywhere on it.
    """
    frames = len(batch.kinds)
    linear = torch.cat([torch.eye(3).expand(frames, WALLS, 3, 3), rest_from_now[..., :3, :3]], dim=1)
    offset = torch.cat([torch.zeros(frames, WALLS, 3), rest_from_now[..., :3, 3] - batch.centers], dim=1)
    constants = (batch.frequencies @ offset[..., None])[..., 0] + batch.phases
    waves = torch.cat([batch.frequencies @ linear, constants[..., None]], dim=-1).flatten(-2)
    first, second = batch.colors.unbind(-2)
    facing = pad((torch.tensor(LIGHT) - batch.room).abs().mT.flatten(1), (0, linear.shape[1] - WALLS))
    rows = torch.cat([waves, batch.sharpness[..., None], first, second - first, facing[..., None]], dim=-1)
    return rows.flatten(0, 1).T
