"""Ray casting of the miniature world: images, exact depth, and which surface every pixel sees.

All frames of a batch are cast at once. Rays are kept component first, `[3, rays]`: sums over three components are then plain
vector operations, five times faster on a CPU than with the components last. Directions have length 1 along the optical axis,
so that distance is depth. A ray is tested only against objects whose bounding rectangle contains its pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize, pad

from videogpa.world.animation import Shot, still
from videogpa.world.ray_tables import LIGHT, ROWS_BESIDE_WAVES, Objects, RayTables, build_tables
from videogpa.world.scenes import World
from videogpa.world.solids import HITS, NORMALS

_RAYS_AT_ONCE = {"cpu": 2**17, "cuda": 2**23}  # as many as fit a CPU's cache; 2 GB of a GPU's memory
HAZE_BRIGHTNESS = 0.75
STEP = 1e-3  # metres from a surface to where a ray from it begins
_SUBPIXELS = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))


@dataclass(frozen=True, eq=False)
class View:
    """Rendered frames: RGB in [0, 1], depth along the optical axis in metres, and surfaces numbered as in `World`."""

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
    """Render the world, in which nothing moves, from every camera."""
    return render_shots([still(world, camera_from_world)], intrinsics, height=height, width=width)


def render_shots(
    shots: Sequence[Shot],
    intrinsics: Float[Tensor, "3 3"],
    *,
    height: int,
    width: int,
    device: torch.device | str = "cpu",
) -> View:
    """Render the frames of all shots, one shot after the other.

    Outlines are anti-aliased with four rays per pixel; depth is that of the pixel's centre. A frame does not depend on what
    else is rendered with it.

    Args:
        shots: The shots to render.
        intrinsics: The camera's intrinsics in pixels.
        height: Height of the frames, in pixels.
        width: Width of the frames, in pixels.
        device: Where the frames are rendered, and returned.
    """
    rays = height * width * max(len(shot.camera_from_world) for shot in shots)
    at_once = max(_RAYS_AT_ONCE[torch.device(device).type] // rays, 1)
    groups = [shots[first : first + at_once] for first in range(0, len(shots), at_once)]
    views = [_render(group, intrinsics, height, width, device) for group in groups]
    return View(*(torch.cat([getattr(view, part.name) for view in views]) for part in fields(View)))


def _render(
    shots: Sequence[Shot], intrinsics: Float[Tensor, "3 3"], height: int, width: int, device: torch.device | str
) -> View:
    tables = build_tables(shots, intrinsics, height=height, width=width, device=device)
    rays = _all_rays(tables)
    seen = _cast(tables, rays)
    colors = _colors(tables, rays, seen)
    shape = (tables.centers.shape[1], height, width)
    surface = seen.surface.view(shape)
    edge = _outlines(surface).view(-1).nonzero()[:, 0]
    finer = _finer(tables, rays, edge)
    colors.view(3, -1).index_copy_(1, edge, _colors(tables, finer, _cast(tables, finer)).mean(dim=1))
    return View(colors.view(3, *shape).transpose(0, 1).contiguous(), seen.depth.view(shape), surface)


def exact_depth(
    shot: Shot, intrinsics: Float[Tensor, "3 3"], *, height: int, width: int
) -> Float[Tensor, "frames height width"]:
    """Return the depth of a shot, in metres along the optical axis, without rendering colours."""
    tables = build_tables([shot], intrinsics, height=height, width=width)
    return _cast(tables, _all_rays(tables)).depth.view(-1, height, width)


@dataclass(frozen=True, eq=False)
class _Tries:
    """Pairs of a ray and an object of one kind to test: the object's index, the ray's index, and the ray's pixel (u, v)."""

    objects: Objects
    number: Int[Tensor, " tries"]
    ray: Int[Tensor, " tries"]
    u: Float[Tensor, " tries"]
    v: Float[Tensor, " tries"]


@dataclass(frozen=True, eq=False)
class _Rays:
    """Rays in any arrangement; `origin`, `room` and `frame` broadcast against `direction`."""

    origin: Float[Tensor, "3 ..."]
    direction: Float[Tensor, "3 ..."]
    room: Float[Tensor, "2 3 ..."]
    frame: Int[Tensor, "..."]
    tries: list[_Tries]


@dataclass(frozen=True, eq=False)
class _Hits:
    """Hits of rays on objects of one kind: the object's index, the ray's index, and the point in the object's coordinates."""

    objects: Objects
    number: Int[Tensor, " hits"]
    ray: Int[Tensor, " hits"]
    point: Float[Tensor, "3 hits"]


@dataclass(frozen=True, eq=False)
class _Seen:
    depth: Float[Tensor, "..."]
    surface: Int[Tensor, "..."]
    hits: list[_Hits]


def _all_rays(tables: RayTables) -> _Rays:
    """Return one ray through every pixel of every frame: [3, frames, pixels]."""
    device = tables.centers.device
    pixel = torch.arange(tables.height * tables.width, device=device)
    u, v = (pixel % tables.width).float(), (pixel // tables.width).float()
    columns, frame = tables.columns[..., None], torch.arange(tables.centers.shape[1], device=device)
    direction = columns[0] * u + columns[1] * v + columns[2]
    tries = [_within_boxes(tables, objects) for objects in tables.objects]
    return _Rays(tables.centers[..., None], direction, tables.room[..., None], frame[:, None], tries)


def _within_boxes(tables: RayTables, objects: Objects) -> _Tries:
    """Return every pixel of every object's bounding rectangle."""
    left, top, width, height = objects.box
    area = width * height
    number = torch.arange(len(area), device=area.device).repeat_interleave(area)
    before = area.cumsum(0) - area
    left, top, width, frame, before = torch.stack([left, top, width, objects.frame, before]).index_select(1, number)
    inside = torch.arange(len(number), device=area.device) - before
    row = inside // width
    u, v = left + inside - row * width, top + row
    ray = (frame * tables.height + v) * tables.width + u
    return _Tries(objects, number, ray, u.float(), v.float())


def _finer(tables: RayTables, rays: _Rays, pixels: Int[Tensor, " pixels"]) -> _Rays:
    """Return four evenly spread rays through each of the given pixels: [3, 4, pixels]."""
    du, dv = torch.tensor(_SUBPIXELS, device=pixels.device).T[:, :, None]
    frame = pixels // (tables.height * tables.width)
    right, down = tables.columns[:2].view(6, -1).index_select(1, frame).view(2, 3, 1, -1)
    direction = rays.direction.view(3, -1).index_select(1, pixels)[:, None] + right * du + down * dv
    place = torch.full((rays.direction[0].numel(),), -1, device=pixels.device)
    place[pixels] = torch.arange(len(pixels), device=pixels.device)
    tries = [_repeated(tried, place, len(pixels), du, dv) for tried in rays.tries]
    centers = tables.centers.index_select(1, frame)[:, None]
    room = tables.room.view(6, -1).index_select(1, frame).view(2, 3, 1, -1)
    return _Rays(centers, direction, room, frame, tries)


def _repeated(tried: _Tries, place: Tensor, pixels: int, du: Tensor, dv: Tensor) -> _Tries:
    """Return the tries of the given pixels, once for each of the four rays."""
    here = place.index_select(0, tried.ray)
    kept = (here >= 0).nonzero()[:, 0]
    number, ray, u, v = (each.index_select(0, kept) for each in (tried.number, here, tried.u, tried.v))
    ray = ray + pixels * torch.arange(len(du), device=du.device)[:, None]
    return _Tries(tried.objects, number.repeat(len(du)), ray.view(-1), (u + du).view(-1), (v + dv).view(-1))


def _cast(tables: RayTables, rays: _Rays) -> _Seen:
    """Find the first hit of every ray."""
    depth, surface = _walls(rays)
    flat = depth.view(-1)
    met = [(tried, *_met(tried)) for tried in rays.tries]
    for tried, t, _ in met:
        flat.scatter_reduce_(0, tried.ray, t, "amin")
    hits = []
    for tried, t, point in met:
        first = (t == flat.index_select(0, tried.ray)).nonzero()[:, 0]
        number, ray = tried.number.index_select(0, first), tried.ray.index_select(0, first)
        surface.view(-1).scatter_(0, ray, tried.objects.surface.index_select(0, number))
        hits.append(_Hits(tried.objects, number, ray, point.index_select(1, first)))
    return _Seen(depth, surface, hits)


def _walls(rays: _Rays) -> tuple[Float[Tensor, "..."], Int[Tensor, "..."]]:
    """Return the distance to the wall that every ray hits, and the wall: the nearest of the three that it is heading for."""
    pace = rays.direction.reciprocal()
    low, high = ((wall - rays.origin) * pace for wall in rays.room)
    x, y, z = torch.maximum(low, high)  # infinite for rays along a wall
    nearer = torch.minimum(x, y)
    right, down, ahead = rays.direction >= 0
    surface = torch.where(y < x, 2 + down.to(torch.int32), right.to(torch.int32))
    return torch.minimum(nearer, z), torch.where(z < nearer, 4 + ahead.to(torch.int32), surface)


def _met(tried: _Tries) -> tuple[Float[Tensor, " tries"], Float[Tensor, "3 tries"]]:
    """Return the distance of every try's hit, infinite where it misses, and the point in the object's coordinates."""
    origin = tried.objects.origin.index_select(1, tried.number)
    columns = tried.objects.columns.index_select(1, tried.number)
    direction = columns[:3] * tried.u + columns[3:6] * tried.v + columns[6:]
    t = HITS[tried.objects.kind](origin, direction)
    return t, origin + t * direction


def _outlines(surface: Int[Tensor, "frames height width"]) -> Bool[Tensor, "frames height width"]:
    """Return the pixels that have another surface among their eight neighbours."""
    return _widest(_widest(surface, 2), 1) != -_widest(_widest(-surface, 2), 1)


def _widest(numbers: Int[Tensor, "frames height width"], axis: int) -> Int[Tensor, "frames height width"]:
    """Return the largest of every number and its two neighbours along an axis."""
    length = numbers.shape[axis] - 1
    larger = torch.maximum(numbers.narrow(axis, 0, length), numbers.narrow(axis, 1, length))
    result = numbers.clone()
    result.narrow(axis, 0, length).copy_(larger)
    rest = result.narrow(axis, 1, length)
    torch.maximum(rest, larger, out=rest)
    return result


def _colors(tables: RayTables, rays: _Rays, seen: _Seen) -> Float[Tensor, "3 ..."]:
    """Colour what the rays see: surfaces, what is reflected by them or seen through them, and the haze before them."""
    color = _shade(tables, rays, seen)
    if tables.optics is not None:
        _add_bounces(tables, rays, seen, color)
    if tables.haze is not None:
        distance = seen.depth * rays.direction.square().sum(0).sqrt()
        share = 1 - (-tables.haze[rays.frame] * distance).exp()
        color.lerp_(torch.full_like(color, HAZE_BRIGHTNESS), share.expand_as(color))
    return color


def _add_bounces(tables: RayTables, rays: _Rays, seen: _Seen, color: Float[Tensor, "3 ..."]) -> None:
    """Mix into the colours what mirrors and glass show: one bounce, in which everything is matt.

    A surface reflects more at a slant (Schlick 1994, "An Inexpensive BRDF Model for Physically-based Rendering"). Glass is
    taken as thin: it does not bend the light.
    """
    assert tables.optics is not None
    frame = rays.frame.expand_as(seen.surface).reshape(-1)
    reflection, transparency = tables.optics.index_select(1, seen.surface.view(-1) + frame * tables.surfaces)
    some = ((reflection > 0) | (transparency > 0)).nonzero()[:, 0]
    if not len(some):
        return
    reflection, transparency, frame = reflection[some], transparency[some], frame[some]
    origin, direction = (part.expand_as(color).reshape(3, -1)[:, some] for part in (rays.origin, rays.direction))
    point = origin + seen.depth.view(-1)[some] * direction
    direction = normalize(direction, dim=0)
    normal = _normals(seen, tables.table.device).view(3, -1)[:, some]
    facing = (direction * normal).sum(0)
    mirrored = _shade_from(tables, frame, point + STEP * normal, direction - 2 * facing * normal)
    through = _shade_from(tables, frame, point + STEP * direction, direction)
    share = torch.where(reflection > 0, reflection + (1 - reflection) * (1 - facing.abs()).clamp_min(0) ** 5, 0.0)
    flat = color.view(3, -1)
    flat[:, some] = flat[:, some].lerp(through, transparency.expand_as(through)).lerp(mirrored, share.expand_as(mirrored))


def _shade_from(
    tables: RayTables, frame: Int[Tensor, " rays"], origin: Float[Tensor, "3 rays"], direction: Float[Tensor, "3 rays"]
) -> Float[Tensor, "3 rays"]:
    """Colour what rays from any points see; every ray is tried against every object of its frame."""
    away = origin - tables.centers[:, frame]
    tries = []
    for objects in tables.objects:
        number, ray = (objects.frame[:, None] == frame).nonzero(as_tuple=True)
        turn = objects.local_from_world[:, number].view(3, 3, -1)
        local = objects.origin[:, number] + (turn * away[:, ray]).sum(1)
        columns = pad((turn * direction[:, ray]).sum(1), (0, 0, 6, 0))
        pairs = Objects(
            objects.kind, frame[ray], objects.surface[number], local, columns, turn.view(9, -1), objects.box[:, number]
        )
        nowhere = torch.zeros_like(local[0])
        tries.append(_Tries(pairs, torch.arange(len(ray), device=ray.device), ray, nowhere, nowhere))
    rays = _Rays(origin, direction, tables.room[..., frame], frame, tries)
    return _shade(tables, rays, _cast(tables, rays))


def _normals(seen: _Seen, device: torch.device) -> Float[Tensor, "3 ..."]:
    """Return the unit normal of every hit, on the side of the camera."""
    inward = torch.cat([torch.eye(3), -torch.eye(3)], 1).view(3, 2, 3).mT.reshape(3, 6).to(device)  # of the walls
    normals = inward[:, seen.surface.clamp_max(5).long()]
    for hits in seen.hits:
        normals.view(3, -1)[:, hits.ray] = normalize(_normal(hits), dim=0)
    return normals


def _shade(tables: RayTables, rays: _Rays, seen: _Seen) -> Float[Tensor, "3 ..."]:
    """Colour the hit points: solid texture times diffuse light from a lamp in the room, the same for every camera."""
    x, y, z = points = rays.origin + seen.depth * rays.direction
    column = seen.surface + (rays.frame * tables.surfaces).to(torch.int32)
    values = tables.table.index_select(1, column.view(-1)).view(-1, *column.shape)
    waves, beside = values[:-ROWS_BESIDE_WAVES], values[-ROWS_BESIDE_WAVES:]
    wave = [(a * x + b * y + c * z + d).sin_() for a, b, c, d in waves.view(-1, 4, *x.shape)]
    sharpness, first, way, facing = beside[0], beside[1:4], beside[4:7], beside[7]
    mix = (sharpness * sum(wave[1:], start=wave[0])).sigmoid_()
    light = torch.tensor(LIGHT, device=x.device).view(3, *[1] * x.dim()) - points
    for hits in seen.hits:
        facing.view(-1).scatter_(0, hits.ray, _facing(hits, light.view(3, -1).index_select(1, hits.ray)))
    brightness = 0.55 + 0.45 * (facing * light.square().sum(0).rsqrt()).clamp_min(0)
    color: Tensor = (first + way * mix) * brightness
    return color.clamp_(0, 1)


def _facing(hits: _Hits, light: Float[Tensor, "3 hits"]) -> Float[Tensor, " hits"]:
    """Return the dot product of the unit normal at the hits and the way to the light."""
    normal = _normal(hits)
    facing: Tensor = (normal * light).sum(0) * normal.square().sum(0).rsqrt()
    return facing


def _normal(hits: _Hits) -> Float[Tensor, "3 hits"]:
    """Return the outward normals at the hits, of any length."""
    local = hits.objects.local_from_world.index_select(1, hits.number).view(3, 3, -1)
    normal: Tensor = (local * NORMALS[hits.objects.kind](hits.point)[:, None]).sum(0)  # they map by the transposed inverse
    return normal
