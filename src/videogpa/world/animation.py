"""Shots: a world, the camera of every frame, and where every object and every texture has got to by then.

In a still shot nothing but the camera moves. Placements are affine maps, so that one description holds what is legitimate
(rigid motion) and what is not (swelling, leaning, sliding: see failures.py). A texture rides on its object.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from videogpa.records import Scene
from videogpa.world.paths import camera_path
from videogpa.world.scenes import World, make_world

STRIDE, TURN = 0.5, math.radians(60)  # how far a moving object goes and turns in the course of a clip, in metres and radians


@dataclass(frozen=True, eq=False)
class Shot:
    """A world and what happens in every frame.

    `object_poses` takes an object's points from where the world has them to where they are in a frame. `waves` is added to
    the phases of the textures, in radians.
    """

    world: World
    camera_from_world: Float[Tensor, "frames 4 4"]
    object_poses: Float[Tensor, "frames objects 4 4"]
    waves: Float[Tensor, "frames surfaces waves"]


def still(world: World, camera_from_world: Float[Tensor, "frames 4 4"]) -> Shot:
    """Return a shot in which only the camera moves."""
    frames = len(camera_from_world)
    placements = torch.eye(4).expand(frames, len(world.kinds), 4, 4)
    return Shot(world, camera_from_world, placements, world.textures.phases.new_zeros(frames, *world.textures.phases.shape))


def shot(scene: Scene) -> Shot:
    """Return what a perfect model would film for a scene: still, but for the objects that are to move."""
    world = make_world(scene.seed, scene.style)
    at_rest = still(world, camera_path(scene.camera, scene.frames))
    if scene.moving == 0:
        return at_rest
    return Shot(world, at_rest.camera_from_world, _walks(world, scene), at_rest.waves)


def at_frames(shot: Shot, indices: Sequence[int]) -> Shot:
    """Return some frames of a shot."""
    chosen = list(indices)
    return Shot(shot.world, shot.camera_from_world[chosen], shot.object_poses[chosen], shot.waves[chosen])


def clock(frames: int) -> Float[Tensor, " frames"]:
    """The share of the clip that has passed at every frame: 0 at the first, 1 at the last."""
    return torch.arange(frames) / max(frames - 1, 1)


def translation(offset: Float[Tensor, "*any 3"]) -> Float[Tensor, "*any 4 4"]:
    """The map that moves points by `offset`."""
    matrix = torch.eye(4).repeat(*offset.shape[:-1], 1, 1)
    matrix[..., :3, 3] = offset
    return matrix


def about(anchor: Float[Tensor, "*#any 3"], linear: Float[Tensor, "*#any 3 3"]) -> Float[Tensor, "*#any 4 4"]:
    """The map that applies `linear` about the point `anchor`, which stays where it is."""
    matrix = torch.eye(4).repeat(*linear.shape[:-2], 1, 1)
    matrix[..., :3, :3] = linear
    matrix[..., :3, 3] = anchor - (linear @ anchor[..., None])[..., 0]
    return matrix


def _walks(world: World, scene: Scene) -> Float[Tensor, "frames objects 4 4"]:
    """Rigid motion of the first `scene.moving` objects: outwards or along the ring on which they stand, and a turn."""
    generator, objects = Generator().manual_seed(scene.seed), len(world.kinds)
    moves = (torch.arange(objects) < scene.moving).float()
    turns = TURN * (2 * torch.rand(objects, generator=generator) - 1) * moves
    angles = math.pi * torch.rand(objects, generator=generator)  # from right over away from the camera to left
    steps = STRIDE * torch.stack([angles.cos(), torch.zeros(objects), angles.sin()], dim=-1) * moves[:, None]
    time = clock(scene.frames)[:, None]
    return translation(time[..., None] * steps) @ about(world.centers.expand(scene.frames, -1, -1), yaw(time * turns))


def yaw(angles: Float[Tensor, "*any"]) -> Float[Tensor, "*any 3 3"]:
    """Rotations about the vertical axis, by radians."""
    c, s, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    rows = [c, zero, s, zero, zero + 1, zero, -s, zero, c]
    return torch.stack(rows, dim=-1).view(*angles.shape, 3, 3)
