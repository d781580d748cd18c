"""Ray casting of the miniature world: images, exact depth, and which surface every pixel sees.

Rays are kept component first, `[3, rays]`: sums over three components are then plain vector operations, five times faster on
a CPU than with the components last. Directions have length 1 along the optical axis, so that distance is depth.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import max_pool2d

from videogpa.world.scenes import World

NEVER = torch.inf
WALLS = 6
LIGHT = (-0.6, -2.8, -0.8)
_SUBPIXELS = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))


@dataclass(frozen=True, eq=False)
class View:
    """What the cameras see. RGB in [0, 1]; depth along the optical axis in metres; surfaces numbered as in `World`."""

    images: Float[Tensor, "frames 3 height width"]
    depth: Float[Tensor, "frames height width"]
    surface: Int[Tensor, "frames height width"]


def render(
    world: World,
    intrinsics: Float[Tensor, "3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
    *,
    height: int,
    width: int,
) -> View:
    """Render the world from every camera. Outlines are smoothed by four rays a pixel; depth is that of the pixel's centre."""
    shape = (len(camera_from_world), height, width)
    frame, y, x = (axis.reshape(-1) for axis in torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"))
    origins, directions = _rays(frame, x.float(), y.float(), intrinsics, camera_from_world)
    depth, surface = _cast(world, origins, directions)
    colors = _shade(world, origins + depth * directions, surface)
    edge = _outlines(surface.reshape(shape)).reshape(-1)
    colors[:, edge] = _smooth(world, frame[edge], x[edge], y[edge], intrinsics, camera_from_world)
    images = colors.reshape(3, *shape).transpose(0, 1).contiguous()
    return View(images, depth.reshape(shape), surface.reshape(shape))


def exact_depth(
    world: World,
    intrinsics: Float[Tensor, "3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
    *,
    height: int,
    width: int,
) -> Float[Tensor, "frames height width"]:
    """Return the depth alone, in metres along the optical axis, without colouring anything."""
    shape = (len(camera_from_world), height, width)
    frame, y, x = (axis.reshape(-1) for axis in torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"))
    return _cast(world, *_rays(frame, x.float(), y.float(), intrinsics, camera_from_world))[0].reshape(shape)


def _outlines(surface: Int[Tensor, "frames height width"]) -> Bool[Tensor, "frames height width"]:
    """Pixels with another surface next to them."""
    numbers = surface.float()
    return (max_pool2d(numbers, 3, 1, 1) != numbers) | (-max_pool2d(-numbers, 3, 1, 1) != numbers)


def _smooth(
    world: World, frame: Tensor, x: Tensor, y: Tensor, intrinsics: Tensor, camera_from_world: Tensor
) -> Float[Tensor, "3 pixels"]:
    """Colour pixels by the mean of four rays spread evenly over each."""
    dx, dy = torch.tensor(_SUBPIXELS).T
    origins, directions = _rays(
        frame.repeat(4), (x + dx[:, None]).reshape(-1), (y + dy[:, None]).reshape(-1), intrinsics, camera_from_world
    )
    depth, surface = _cast(world, origins, directions)
    return _shade(world, origins + depth * directions, surface).reshape(3, 4, -1).mean(dim=1)


def _rays(
    frame: Tensor, x: Tensor, y: Tensor, intrinsics: Tensor, camera_from_world: Tensor
) -> tuple[Float[Tensor, "3 rays"], Float[Tensor, "3 rays"]]:
    """Return origin and direction of the rays through the pixel positions (x, y) of the given frames."""
    rotation, translation = camera_from_world[:, :3, :3], camera_from_world[:, :3, 3]
    centers = -(rotation.transpose(1, 2) @ translation[..., None])[..., 0]
    world_from_pixel = rotation.transpose(1, 2) @ torch.linalg.inv(intrinsics)
    columns = world_from_pixel.permute(2, 1, 0)[..., frame]  # [pixel component, world component, rays]
    return centers.T[:, frame], columns[0] * x + columns[1] * y + columns[2] + 0.0  # turns -0 to 0: divisions have a sign


def _cast(world: World, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first hit of every ray: its distance and its surface."""
    distance, surface = _room(world.room, origins, directions)
    for number, (kind, center, size, yaw) in enumerate(_objects(world), start=WALLS):
        t = _HITS[kind](_turned(origins - center[:, None], -yaw), _turned(directions, -yaw), size)
        surface = torch.where(t < distance, number, surface)
        distance = torch.minimum(t, distance)
    return distance, surface


def _objects(world: World) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Every object's kind, centre, size and yaw, in the order of the surfaces' numbers."""
    for kind in _HITS:
        solids = getattr(world, kind)
        for center, size, yaw in zip(solids.centers, solids.sizes, solids.yaws, strict=True):
            yield kind, center, size, yaw


def _normals(world: World, points: Tensor, surface: Tensor) -> Float[Tensor, "3 rays"]:
    """The surfaces' normals at points on them, towards the free side."""
    normals = _axis_vectors(surface // 2) * torch.where(surface % 2 == 1, -1.0, 1.0)  # right for walls; objects follow
    for number, (kind, center, size, yaw) in enumerate(_objects(world), start=WALLS):
        mine = (surface == number).nonzero()[:, 0]
        normals[:, mine] = _turned(_NORMALS[kind](_turned(points[:, mine] - center[:, None], -yaw), size), yaw)
    return normals


def _turned(vectors: Tensor, yaw: Tensor) -> Float[Tensor, "3 rays"]:
    """Turn vectors about the vertical axis."""
    c, s = yaw.cos(), yaw.sin()
    x, y, z = vectors
    return torch.stack([c * x + s * z, y, c * z - s * x])


def _room(room: Tensor, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """From inside a box every ray meets the nearest of the three walls it is heading for."""
    ahead = directions >= 0  # a ray along a wall heads for it at infinity
    t, axis = ((torch.where(ahead, room[1, :, None], room[0, :, None]) - origins) / directions).min(dim=0)
    return t, 2 * axis + ahead.gather(0, axis[None])[0]


def _axis_vectors(axis: Tensor) -> Float[Tensor, "3 rays"]:
    return (axis == torch.arange(3)[:, None]).float()


def _sphere(origin: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    return _nearest_root(direction.square().sum(0), (origin * direction).sum(0), origin.square().sum(0) - size[0] ** 2)


def _sphere_normal(points: Tensor, size: Tensor) -> Tensor:
    return points / size[0]


def _box(origin: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    """Slab method: the ray is inside once it has entered all three pairs of planes."""
    reach = torch.where(direction < 0, -1.0, 1.0) * size[:, None]
    t = ((-reach - origin) / direction).amax(dim=0)
    hit = (t > 0) & (t < ((reach - origin) / direction).amin(dim=0))
    return torch.where(hit, t, NEVER)


def _box_normal(points: Tensor, size: Tensor) -> Tensor:
    return _axis_vectors((points.abs() - size[:, None]).argmax(dim=0)) * torch.sign(points)


def _cylinder(origin: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    """An upright cylinder: its side, or the lid where the ray comes from above. It stands on the floor."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    side = _nearest_root(dx * dx + dz * dz, ox * dx + oz * dz, ox * ox + oz * oz - size[0] ** 2)
    side = torch.where((oy + side * dy).abs() <= size[1], side, NEVER)
    lid = (-size[1] - oy) / dy
    on_lid = (ox + lid * dx).square() + (oz + lid * dz).square() <= size[0] ** 2
    return torch.minimum(side, torch.where((lid > 0) & (dy > 0) & on_lid, lid, NEVER))


def _cylinder_normal(points: Tensor, size: Tensor) -> Tensor:
    x, y, z = points
    on_lid = y + size[1] < 1e-4  # a tenth of a millimetre: float32 puts hits on the lid no farther from it
    zero = torch.zeros_like(x)
    return torch.where(on_lid, torch.stack([zero, zero - 1, zero]), torch.stack([x, zero, z]) / size[0])


_HITS = {"spheres": _sphere, "boxes": _box, "cylinders": _cylinder}
_NORMALS = {"spheres": _sphere_normal, "boxes": _box_normal, "cylinders": _cylinder_normal}


def _nearest_root(a: Tensor, half_b: Tensor, c: Tensor) -> Tensor:
    """The smaller root of a t^2 + 2 half_b t + c = 0 if it lies ahead, else infinity."""
    discriminant = half_b.square() - a * c
    root = (-half_b - discriminant.clamp_min(0).sqrt()) / a
    return torch.where((discriminant > 0) & (root > 0), root, NEVER)


def _shade(world: World, points: Tensor, surface: Tensor) -> Float[Tensor, "3 rays"]:
    """Colour the points: solid texture times a light that hangs in the room, the same for every camera."""
    textures = world.textures
    centers = torch.cat([torch.zeros(WALLS, 3), *(center[None] for _, center, _, _ in _objects(world))])
    local = points - centers.T[:, surface]
    frequencies, phases = textures.frequencies.permute(1, 2, 0)[..., surface], textures.phases.T[:, surface]
    waves = ((frequencies * local).sum(dim=1) + phases).sin().sum(dim=0)
    mix = torch.sigmoid(textures.sharpness[surface] * waves)
    first, second = textures.colors.permute(1, 2, 0)[..., surface]
    to_light = torch.tensor(LIGHT)[:, None] - points
    cosine = (_normals(world, points, surface) * to_light).sum(0) * to_light.square().sum(0).rsqrt()
    light = 0.55 + 0.45 * cosine.clamp_min(0)
    color: Tensor = (first + (second - first) * mix) * light
    return color.clamp(0, 1)
