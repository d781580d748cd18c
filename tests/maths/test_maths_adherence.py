"""Adherence against renders of the miniature world, whose cameras were where the test put them."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.maths.adherence import part_of_the_way, path_adherence
from videogpa.records import Scene
from videogpa.world.animation import shot
from videogpa.world.paths import PATHS, camera_path, intrinsics
from videogpa.world.prompts import view
from videogpa.world.raycast import render_shots

SIDE, FRAMES = 32, 5
CAMERA = intrinsics(SIDE, SIDE)
OPPOSITE = {"left": "right", "right": "left", "in": "out", "out": "in", "up": "down", "down": "up"}


def scene_of(camera: str, style: str) -> Scene:
    return Scene.model_validate({"seed": 3, "camera": camera, "frames": FRAMES, "height": SIDE, "width": SIDE, "style": style})


def filmed(scene: Scene, path: Tensor) -> Tensor:
    """The scene's room along another path."""
    return render_shots([replace(shot(scene), camera_from_world=path)], CAMERA, height=SIDE, width=SIDE).images


def adherence(scene: Scene, clip: Tensor) -> float:
    return path_adherence(clip, view(scene).depth[0], CAMERA, camera_path(scene.camera, FRAMES))


@pytest.mark.parametrize("camera", ["orbit-left", "dolly-in", "truck-right", "rise-down", "pan-left"])
@pytest.mark.parametrize("style", ["plain", "rich"])
def test_the_share_of_the_path_that_a_clip_shows(camera: str, style: str) -> None:
    scene = scene_of(camera, style)
    clip = view(scene).images
    kind, _, side = camera.partition("-")
    assert adherence(scene, clip) == pytest.approx(1, abs=0.06)
    assert adherence(scene, clip[:1].expand(FRAMES, -1, -1, -1)) == pytest.approx(0, abs=0.02)
    assert adherence(scene, filmed(scene, camera_path(camera, 2 * FRAMES - 1)[:FRAMES])) == pytest.approx(0.5, abs=0.1)
    assert adherence(scene, filmed(scene, camera_path(f"{kind}-{OPPOSITE[side]}", FRAMES))) < -0.35
    blurred = interpolate(interpolate(clip, scale_factor=0.5, mode="area"), scale_factor=2, mode="bilinear")
    assert adherence(scene, torch.cat([clip[:1], blurred[1:]])) == pytest.approx(1, abs=0.2)


def test_a_clip_that_stops_halfway_is_weighed_by_what_was_to_be_seen() -> None:
    """Shares 1, 1, 2/3, 1/2 of displacements that grow as 1, 2, 3, 4: (1 + 4 + 6 + 8) / 30."""
    scene = scene_of("truck-right", "rich")
    clip = view(scene).images
    assert adherence(scene, clip[[0, 1, 2, 2, 2]]) == pytest.approx(19 / 30, abs=0.03)


def test_nothing_to_adhere_to_is_not_a_number() -> None:
    scene = scene_of("truck-right", "plain")
    clip, depth = view(scene).images, view(scene).depth[0]
    still = camera_path("truck-right", FRAMES)[:1].expand(FRAMES, 4, 4)
    assert math.isnan(path_adherence(clip, depth, CAMERA, still))
    assert math.isnan(path_adherence(clip[:1], depth, CAMERA, still[:1]))


def test_part_of_the_way_begins_and_ends_where_it_should() -> None:
    first, last = camera_path("orbit-left", FRAMES)[[0, -1]]
    cameras = part_of_the_way(first, last, torch.tensor([0.0, 0.5, 1.0, -1.0]))
    assert torch.allclose(cameras[0], first, atol=1e-5)
    assert torch.allclose(cameras[2], last, atol=1e-5)
    rotations = cameras[:, :3, :3]
    assert torch.allclose(rotations @ rotations.transpose(1, 2), torch.eye(3).expand(4, 3, 3), atol=1e-5)
    half = part_of_the_way(first, cameras[1], torch.tensor([2.0]))  # twice half the way
    assert torch.allclose(half[0], last, atol=1e-4)
    there_and_back = part_of_the_way(cameras[3], first, torch.tensor([2.0]))
    assert torch.allclose(there_and_back[0], last, atol=1e-4)


def test_every_path_of_the_world_moves_enough_to_be_followed() -> None:
    for camera in PATHS:
        scene = scene_of(camera, "rich")
        assert adherence(scene, view(scene).images) > 0.9, camera
