import math

import pytest
import torch

from videogpa.config import WorldPrompts
from videogpa.maths.cameras import project, unproject
from videogpa.records import CAMERA_PATHS, Scene, Style
from videogpa.world.animation import still
from videogpa.world.paths import PATHS, camera_path, intrinsics
from videogpa.world.prompts import view, world_prompts
from videogpa.world.raycast import exact_depth, render
from videogpa.world.scenes import ROOM_DEPTH, make_world

SIZE = {"height": 48, "width": 64}


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_rigid_start_alike_and_do_what_their_name_says(name: str) -> None:
    poses = camera_path(name, 9)
    rotation = poses[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(9, 3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(9))
    centers = -(rotation.mT @ poses[:, :3, 3:])[..., 0]
    moved = centers[-1] - centers[0]
    expected = {  # axis and sign of the camera's way, or none for a turn on the spot
        "orbit-left": (0, -1), "orbit-right": (0, 1), "dolly-in": (2, 1), "dolly-out": (2, -1), "truck-left": (0, -1),
        "truck-right": (0, 1), "rise-up": (1, -1), "rise-down": (1, 1), "pan-left": None, "pan-right": None,
    }[name]  # fmt: skip
    if expected is None:
        assert moved.abs().max() < 1e-6
        turn = poses[-1, 0, :3] @ poses[0, 2, :3]  # how much of the old forward is now to the right
        assert (turn > 0) == (name == "pan-left")
    else:
        axis, sign = expected
        assert moved[axis] * sign > 0.5


def test_an_unknown_path_names_those_there_are() -> None:
    with pytest.raises(KeyError, match="orbit-left"):
        camera_path("barrel-roll", 9)


def test_intrinsics_see_the_asked_field_of_view() -> None:
    camera = intrinsics(48, 64, math.radians(90))
    left_edge = torch.linalg.inv(camera) @ torch.tensor([-0.5, 23.5, 1.0])
    torch.testing.assert_close(left_edge, torch.tensor([-1.0, 0.0, 1.0]), atol=1e-6, rtol=0)


def test_depth_of_the_back_wall_by_hand() -> None:
    """Straight ahead, from (0, -1.5, -2.6), over the objects' heads: the back wall is 6.2 m away."""
    pose = torch.eye(4)
    pose[:3, 3] = -torch.tensor([0.0, -3.0, -2.6])
    depth = exact_depth(still(make_world(0), pose[None]), intrinsics(5, 5), height=5, width=5)
    assert float(depth[0, 2, 2]) == pytest.approx(ROOM_DEPTH + 2.6, abs=1e-5)


@pytest.mark.parametrize("name", ["orbit-left", "dolly-in", "rise-up"])
def test_a_point_keeps_its_place_and_its_colour_in_every_view(name: str) -> None:
    """The world's own law: what frame 0 shows at a pixel, frame i shows where that point projects, unless hidden there."""
    poses, camera = camera_path(name, 5), intrinsics(**SIZE)
    seen = render(make_world(3), camera, poses, **SIZE)
    points = unproject(seen.depth[:1], camera[None], poses[:1])[0].reshape(-1, 3)
    colors = seen.images[0].reshape(3, -1)
    pixels, depth = project(points, camera, poses[4])
    column, line = pixels.round().long().unbind(-1)
    inside = (column >= 0) & (column < 64) & (line >= 0) & (line < 48) & (depth > 0)
    there = seen.depth[4][line[inside], column[inside]]
    visible = (there - depth[inside]).abs() < 0.02 * there
    assert visible.float().mean() > 0.6
    difference = (seen.images[4][:, line[inside], column[inside]] - colors[:, inside]).abs().amax(0)[visible]
    assert difference.median() < 0.02
    assert (difference < 0.1).float().mean() > 0.9


def test_scenes_are_deterministic_differ_by_seed_and_hold_several_objects() -> None:
    scene = Scene(seed=5, camera="orbit-left", frames=3, **SIZE)
    assert torch.equal(view(scene).images, view(scene).images)
    assert not torch.equal(view(scene).images, view(scene.model_copy(update={"seed": 6})).images)
    for seed in range(20):
        seen = view(Scene(seed=seed, camera="orbit-left", frames=3, **SIZE))
        assert len(set(seen.surface.unique().tolist()) - set(range(6))) >= 2, seed
        assert float(seen.depth.min()) > 0.3
        assert 0 <= float(seen.images.min()) <= float(seen.images.max()) <= 1


def test_plain_worlds_have_one_or_two_objects_that_stand_out_from_quiet_walls() -> None:
    counts = set()
    for seed in range(20):
        world = make_world(seed, "plain")
        counts.add(len(world.kinds))
        seen = view(Scene(seed=seed, camera="rise-up", frames=2, style="plain", **SIZE))
        assert (seen.surface >= 6).float().mean() > 0.01, seed
        colors = world.textures.colors
        assert ((colors[:6, 0] - colors[:6, 1]).abs().amax() < 0.2).item()
        spread = colors[6:].amax(-1) - colors[6:].amin(-1)
        assert float(spread.min()) > 0.8  # saturated
    assert counts == {1, 2}


@pytest.mark.parametrize("style", ["rich", "plain"])
@pytest.mark.parametrize("name", PATHS)
def test_cameras_never_enter_an_object_or_leave_the_room(name: str, style: Style) -> None:
    for seed in range(10):
        depth = exact_depth(still(make_world(seed, style), camera_path(name, 9)), intrinsics(16, 16), height=16, width=16)
        assert float(depth.min()) > 0.2
        assert float(depth.max()) < 12


def test_prompts_take_turns_and_held_out_scenes_are_never_trained_on() -> None:
    few, many = (world_prompts(WorldPrompts(train=n, held_out=5)) for n in (4, 40))
    assert [row for row in few if row.split == "held_out"] == [row for row in many if row.split == "held_out"]
    train = {row.scene.seed for row in many if row.split == "train" and row.scene}
    held = {row.scene.seed for row in many if row.split == "held_out" and row.scene}
    assert len(train) == 40
    assert not train & held
    assert {row.scene.camera for row in many if row.scene} == set(PATHS)
    assert {row.scene.style for row in world_prompts(WorldPrompts(style="plain")) if row.scene} == {"plain"}


def test_a_scene_names_a_camera_path_that_there_is_and_fits_into_memory() -> None:
    assert set(CAMERA_PATHS) == set(PATHS)
    scene = {"seed": 0, "camera": "dolly-in", "frames": 9, "height": 64, "width": 64}
    assert Scene.model_validate(scene).camera == "dolly-in"
    for wrong in (
        {"camera": "dolly-on"},
        {"seed": -1},
        {"seed": 2**63},
        {"frames": 0},
        {"frames": 900, "height": 999, "width": 999},
    ):
        with pytest.raises(ValueError, match=r"no camera path|greater than|less than|is the most"):
            Scene.model_validate(scene | wrong)
