"""Shots: a world, and for every frame the camera, the poses of all objects and the phases of all textures.

In a still shot nothing but the camera moves. Poses are affine maps, so that they can describe legitimate rigid motion and
failures (swelling, leaning, drifting: see failures.py) alike. A texture moves with its object.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from videogpa.records import Scene
from videogpa.world.materials import hardened
from videogpa.world.paths import camera_path
from videogpa.world.scenes import World, make_world

STRIDE, TURN = 0.5, math.radians(60)  # of a moving object over a whole clip, in metres and radians


@dataclass(frozen=True, eq=False)
class Shot:
    """A world and its animation.

    `object_poses` maps an object's points from their places in the world to their places in a frame. `waves` is added to the
    phases of the textures, in radians.
    """

    world: World
    camera_from_world: Float[Tensor, "frames 4 4"]
    object_poses: Float[Tensor, "frames objects 4 4"]
    waves: Float[Tensor, "frames surfaces waves"]


def still(world: World, camera_from_world: Float[Tensor, "frames 4 4"]) -> Shot:
    """Return a shot in which only the camera moves, and water where there is some."""
    frames = len(camera_from_world)
    poses = torch.eye(4).expand(frames, len(world.kinds), 4, 4)
    return Shot(world, camera_from_world, poses, clock(frames)[:, None, None] * world.textures.currents)


def shot(scene: Scene) -> Shot:
    """Return the shot that a perfect model would film for a scene: everything stands still but the objects that are to move."""
    world = hardened(make_world(scene.seed, scene.style), scene.hard)
    at_rest = still(world, camera_path(scene.camera, scene.frames))
    if scene.moving == 0:
        return at_rest
    return Shot(world, at_rest.camera_from_world, _walks(world, scene), at_rest.waves)


def at_frames(shot: Shot, indices: Sequence[int]) -> Shot:
    """Return some frames of a shot."""
    chosen = list(indices)
    return Shot(shot.world, shot.camera_from_world[chosen], shot.object_poses[chosen], shot.waves[chosen])


def clock(frames: int) -> Float[Tensor, " frames"]:
    """Return the share of the clip that has passed at every frame: 0 at the first, 1 at the last."""
    return torch.arange(frames) / max(frames - 1, 1)


def translation(offset: Float[Tensor, "*any 3"]) -> Float[Tensor, "*any 4 4"]:
    """Return the map that moves points by `offset`, in metres."""
    matrix = torch.eye(4).repeat(*offset.shape[:-1], 1, 1)
    matrix[..., :3, 3] = offset
    return matrix


def about(anchor: Float[Tensor, "*#any 3"], linear: Float[Tensor, "*#any 3 3"]) -> Float[Tensor, "*#any 4 4"]:
    """Return the map that applies `linear` about the fixed point `anchor`."""
    matrix = torch.eye(4).repeat(*linear.shape[:-2], 1, 1)
    matrix[..., :3, :3] = linear
    matrix[..., :3, 3] = anchor - (linear @ anchor[..., None])[..., 0]
    return matrix


def _walks(world: World, scene: Scene) -> Float[Tensor, "frames objects 4 4"]:
    """Return the rigid motion of the first `scene.moving` objects: a walk that never approaches the camera, and a turn."""
    generator, objects = Generator().manual_seed(scene.seed), len(world.kinds)
    moves = (torch.arange(objects) < scene.moving).float()
    turns = TURN * (2 * torch.rand(objects, generator=generator) - 1) * moves
    angles = math.pi * torch.rand(objects, generator=generator)  # from right over away from the camera to left
    steps = STRIDE * torch.stack([angles.cos(), torch.zeros(objects), angles.sin()], dim=-1) * moves[:, None]
    time = clock(scene.frames)[:, None]
    return translation(time[..., None] * steps) @ about(world.centers.expand(scene.frames, -1, -1), yaw(time * turns))


def yaw(angles: Float[Tensor, "*any"]) -> Float[Tensor, "*any 3 3"]:
    """Return rotations about the vertical axis, by angles in radians."""
    c, s, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    rows = [c, zero, s, zero, zero + 1, zero, -s, zero, c]
    return torch.stack(rows, dim=-1).view(*angles.shape, 3, 3)
