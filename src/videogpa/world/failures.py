"""Failures of real video models, rendered in a scene of the miniature world at a chosen strength.

A failure changes the clip, not the scene: the scene's exact geometry stays known, and the failing clip can be compared with
it. The first frame is always that of the consistent clip, as if given to an image-to-video model; at strength 0 the clip is
bit for bit the consistent one. Everything depends on the scene, the strength and the seed alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal, get_args

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor

from videogpa.records import Scene
from videogpa.world.animation import Shot, about, at_frames, clock, shot, still, translation, yaw
from videogpa.world.camera_effects import filmed
from videogpa.world.paths import START, camera_path, intrinsics
from videogpa.world.ray_tables import ABSENT
from videogpa.world.raycast import render_shots
from videogpa.world.scenes import BOX, WALLS, Textures, World, make_world

FailureKind = Literal["drift", "swell", "deform", "swim", "appear", "vanish", "jump", "fade"]

DRIFT = 0.7  # metres that an object drifts over a clip; this and the following constants hold at strength 1
SWELL = math.log(1.6)  # logarithm of the factor by which an object grows
LEAN, SQUASH = 0.5, math.log(1.5)  # metres of lean per metre of height; logarithm of the factor by which an object gets flatter
SWIM = 1.2 * math.pi  # radians by which the waves of a texture travel
STEP, TWIST = 0.35, math.radians(12)  # how far a jump moves and turns the camera, in metres and radians
PIXELS_AT_ONCE = 2**19
WINDOW = 0.3  # radius of the region that fades into another scene, in frame widths


class Failure(BaseModel):
    """A kind of failure, its strength in [0, 1] and a seed.

    `drift`: objects slide away, each at its own speed. `swell`: they grow or shrink. `deform`: they lean over and get flatter.
    `swim`: textures travel over surfaces that stand still. `appear`: a new object fades in. `vanish`: one
    fades out. `jump`: the camera suddenly has another pose. `fade`: a region turns into another scene.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FailureKind
    strength: Annotated[float, Field(ge=0, le=1)]
    seed: Annotated[int, Field(ge=0)] = 0


FAILURES: tuple[FailureKind, ...] = get_args(FailureKind)


@dataclass(frozen=True, eq=False)
class Take:
    """A shot, and optionally a second shot blended over it with the weight `share`, in [0, 1], at every frame and pixel."""

    shot: Shot
    overlay: Shot | None = None
    share: Float[Tensor, "frames height width"] | None = None


def take(scene: Scene, failure: Failure | None = None) -> Take:
    """Return the take of a scene with a failure; the consistent take without one."""
    intended = shot(scene)
    if failure is None or failure.strength == 0:
        return Take(intended)
    return _FAIL[failure.kind](intended, scene, failure.strength, Generator().manual_seed(failure.seed))


def render_failing(scene: Scene, failure: Failure | None) -> Float[Tensor, "frames 3 height width"]:
    """Render a scene with a failure, as its camera films it, RGB in [0, 1]."""
    return filmed(scene, lambda finer: _render_take(take(finer, failure), scene.height, scene.width))


def _render_take(whole: Take, height: int, width: int) -> Float[Tensor, "frames 3 height width"]:
    """Render few frames at a time: a detailed surface takes 400 bytes a pixel."""
    frames, at_once = len(whole.shot.camera_from_world), max(PIXELS_AT_ONCE // (height * width), 1)
    parts = [range(first, min(first + at_once, frames)) for first in range(0, frames, at_once)]
    return torch.cat([render_takes([_take_at(whole, list(part))], height, width)[0] for part in parts])


def _take_at(whole: Take, indices: list[int]) -> Take:
    """Return some frames of a take."""
    overlay = None if whole.overlay is None else at_frames(whole.overlay, indices)
    return Take(at_frames(whole.shot, indices), overlay, None if whole.share is None else whole.share[indices])


def render_takes(
    takes: Sequence[Take], height: int, width: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "takes frames 3 height width"]:
    """Render many takes of equal length together, which is the fast way to make training data. Without camera effects.

    A clip does not depend on the others that are rendered with it; on a CPU it is bit for bit the same.

    Args:
        takes: What to render; all have the same number of frames.
        height: Height of the clips, in pixels.
        width: Width of the clips, in pixels.
        device: Where the clips are rendered, and returned.

    Returns:
        The clips, RGB in [0, 1].
    """
    over = [one for one in takes if one.overlay is not None]
    shots = [one.shot for one in takes] + [one.overlay for one in over if one.overlay is not None]
    images = render_shots(shots, intrinsics(height, width), height=height, width=width, device=device).images
    clips = images.view(len(shots), -1, 3, height, width)
    result, overlays = clips[: len(takes)], iter(clips[len(takes) :])
    for clip, one in zip(result, takes, strict=True):
        if one.share is not None:
            share = one.share.to(device)[:, None]
            clip.lerp_(next(overlays), share.expand_as(clip))
    return result


def _objects_placed(intended: Shot, maps: Float[Tensor, "frames objects 4 4"]) -> Take:
    return Take(replace(intended, object_poses=maps @ intended.object_poses))


def _drift(intended: Shot, scene: Scene, strength: float, generator: Generator) -> Take:
    count = len(intended.world.kinds)
    angles = math.pi * torch.rand(count, generator=generator)  # never towards the camera, which an object could enclose
    ways = torch.stack([angles.cos(), torch.zeros(count), 0.7 * angles.sin()], dim=-1) * _paces(count, generator)[:, None]
    return _objects_placed(intended, translation(DRIFT * strength * clock(scene.frames)[:, None, None] * ways))


def _swell(intended: Shot, scene: Scene, strength: float, generator: Generator) -> Take:
    world = intended.world
    paces = _paces(len(world.kinds), generator) * _signs(len(world.kinds), generator)
    factors = (SWELL * strength * clock(scene.frames)[:, None] * paces).exp()
    return _objects_placed(intended, about(_anchors(world), factors[..., None, None] * torch.eye(3)))


def _deform(intended: Shot, scene: Scene, strength: float, generator: Generator) -> Take:
    world, time = intended.world, strength * clock(scene.frames)[:, None]
    count = len(world.kinds)
    paces = _paces(count, generator)
    lean = LEAN * time * paces * _signs(count, generator)
    flatter = (-SQUASH * time * paces).exp()
    linear = torch.eye(3).repeat(*lean.shape, 1, 1)
    linear[..., 0, 1], linear[..., 1, 1] = lean, flatter
    linear[..., 0, 0] = linear[..., 2, 2] = flatter.rsqrt()  # the volume stays
    return _objects_placed(intended, about(_anchors(world), linear))


def _swim(intended: Shot, scene: Scene, strength: float, generator: Generator) -> Take:
    shape = intended.waves.shape[1:]
    paces = (0.5 + 0.5 * torch.rand(shape, generator=generator)) * _signs(shape.numel(), generator).view(shape)
    return Take(replace(intended, waves=intended.waves + SWIM * strength * clock(scene.frames)[:, None, None] * paces))


def _appear(intended: Shot, scene: Scene, strength: float, generator: Generator) -> Take:
    world = intended.world
    donor = make_world(_another_seed(generator), scene.style)
    center = _free_place(world, generator) + donor.centers[0] * torch.tensor([0.0, 1, 0])
    fuller = replace(
        world,
        kinds=torch.cat([world.kinds, donor.kinds[:1]]),
        centers=torch.cat([world.centers, center[None]]),
        sizes=torch.cat([world.sizes, donor.sizes[:1]]),
        yaws=torch.cat([world.yaws, donor.yaws[:1]]),
        textures=_with_one_more(world.textures, donor.textures),
    )
    overlay = still(fuller, intended.camera_from_world)
    moving = torch.cat([intended.object_poses, overlay.object_poses[:, -1:]], dim=1)
    overlay = replace(overlay, object_poses=moving)
    return Take(intended, overlay, strength * _onset(scene, generator))


def _vanish(intended: Shot, scene: Scene, strength: float, generator: Generator) -> Take:
    gone = int(torch.multinomial(_prominence(intended, scene), 1, generator=generator))
    kinds = intended.world.kinds.clone()
    kinds[gone] = ABSENT
    overlay = replace(intended, world=replace(intended.world, kinds=kinds))
    return Take(intended, overlay, strength * _onset(scene, generator))


def _jump(intended: Shot, scene: Scene, strength: float, generator: Generator) -> Take:
    right, twist = _signs(2, generator)
    down = 0.6 * torch.rand((), generator=generator) - 0.3
    step = strength * STEP * torch.stack([right, down, torch.zeros(())])
    away = translation(step) @ about(torch.zeros(3), yaw(strength * TWIST * twist))
    after = clock(scene.frames) >= 0.25 + 0.5 * torch.rand((), generator=generator)
    after[0] = False  # a clip of one or two frames has no middle
    path = torch.where(after[:, None, None], away @ intended.camera_from_world, intended.camera_from_world)
    return Take(replace(intended, camera_from_world=path))


def _fade(intended: Shot, scene: Scene, strength: float, generator: Generator) -> Take:
    other = still(make_world(_another_seed(generator), scene.style), camera_path(scene.camera, scene.frames))
    x, y = 0.25 + 0.5 * torch.rand(2, generator=generator)  # of the middle of the region, in widths and heights
    u, v = (torch.arange(scene.width) + 0.5) / scene.width, (torch.arange(scene.height) + 0.5) / scene.height
    rise = (v[:, None] - y) * scene.height / scene.width
    distance = (u - x).square() + rise.square()
    window = ((WINDOW - distance.sqrt()) / (0.3 * WINDOW) + 0.5).clamp(0, 1)  # soft at its rim
    return Take(intended, other, strength * clock(scene.frames)[:, None, None] * window)


_FAIL: dict[FailureKind, Callable[[Shot, Scene, float, Generator], Take]] = {
    "drift": _drift, "swell": _swell, "deform": _deform, "swim": _swim,
    "appear": _appear, "vanish": _vanish, "jump": _jump, "fade": _fade,
}  # fmt: skip


def _onset(scene: Scene, generator: Generator) -> Float[Tensor, "frames height width"]:
    """Return a weight that rises from 0 to 1 at a random time in the first half of the clip, equal for all pixels."""
    start = 0.1 + 0.4 * torch.rand((), generator=generator)
    share = ((clock(scene.frames) - start) / 0.2).clamp(0, 1)
    return share[:, None, None].expand(-1, scene.height, scene.width)


def _anchors(world: World) -> Float[Tensor, "objects 3"]:
    """Return the point at the foot of every object that is nearest to the cameras: swelling about it, none comes nearer."""
    reach = torch.where(world.kinds == BOX, world.sizes[:, [0, 2]].norm(dim=-1), world.sizes[:, 0])
    x, _, z = world.centers.T
    return torch.stack([x, torch.zeros_like(x), z - reach], dim=-1)


def _prominence(intended: Shot, scene: Scene) -> Float[Tensor, " objects"]:
    """Return roughly how much of the picture each object covers, over the frames in which it is well inside; above 0."""
    centers = (
        intended.object_poses @ torch.cat([intended.world.centers, torch.ones(len(intended.world.kinds), 1)], 1)[..., None]
    )
    seen = (intended.camera_from_world[:, None] @ centers)[..., :3, 0]
    focal = intrinsics(scene.height, scene.width)[0, 0]
    inside = (seen[..., 0].abs() * focal < 0.45 * scene.width * seen[..., 2]).float()
    area = intended.world.sizes[:, :2].prod(dim=-1) / seen[..., 2].square()
    return (inside * area).mean(dim=0) + 1e-6


def _free_place(world: World, generator: Generator) -> Float[Tensor, " 3"]:
    """Return, of a few random places on the floor, the one farthest beside all objects as seen from the start."""
    places = torch.rand(8, 3, generator=generator) * torch.tensor([1.6, 0, 0.5]) - torch.tensor([0.8, 0, 0.8])
    beside = (_bearing(places)[:, None] - _bearing(world.centers)).abs().amin(dim=1)
    return places[beside.argmax()]


def _bearing(points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """Return the horizontal angle between the first line of sight and points, as a tangent; positive to the right."""
    return (points[:, 0] - START[0]) / (points[:, 2] - START[2])


def _with_one_more(textures: Textures, donor: Textures) -> Textures:
    """Append the texture of the donor's first object."""
    names = [field.name for field in fields(Textures)]
    return Textures(*(torch.cat([getattr(textures, name), getattr(donor, name)[WALLS : WALLS + 1]]) for name in names))


def _another_seed(generator: Generator) -> int:
    return int(torch.randint(2**40, 2**41, (1,), generator=generator))  # above all seeds that a recipe would use


def _paces(count: int, generator: Generator) -> Float[Tensor, " objects"]:
    """Return a random speed in [0.4, 1] for every object; one object has speed 1."""
    paces = 0.4 + 0.6 * torch.rand(count, generator=generator)
    paces[torch.randint(count, (1,), generator=generator)] = 1
    return paces


def _signs(count: int, generator: Generator) -> Float[Tensor, " objects"]:
    return 2.0 * torch.randint(2, (count,), generator=generator) - 1
