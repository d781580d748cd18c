import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation
from torch.testing import assert_close

from videogpa.maths.cameras import (
    camera_centers,
    camera_jerk,
    invert,
    mvcs,
    paper_motion,
    project,
    relative_motion,
    rotation_from_quaternion,
    rotation_vectors,
    unproject,
)

INTRINSICS = torch.tensor([[100.0, 0, 31.5], [0, 120, 23.5], [0, 0, 1]])


def cameras_at(centers: torch.Tensor, turns: torch.Tensor | None = None) -> torch.Tensor:
    """Return camera_from_world of cameras at `centers`, turned by rotation vectors (of world_from_camera)."""
    world_from_camera = torch.eye(4).repeat(len(centers), 1, 1)
    world_from_camera[:, :3, 3] = centers
    if turns is not None:
        world_from_camera[:, :3, :3] = torch.tensor(Rotation.from_rotvec(turns.numpy()).as_matrix()).float()
    return torch.linalg.inv(world_from_camera)


def random_cameras(count: int, seed: int = 0) -> torch.Tensor:
    centers, turns = torch.randn(2, count, 3, generator=torch.Generator().manual_seed(seed))
    return cameras_at(centers, 0.5 * turns)


def test_invert_equals_the_inverse_and_centers_are_in_the_world():
    cameras = random_cameras(5)
    assert_close(invert(cameras), torch.linalg.inv(cameras))
    assert_close(camera_centers(cameras), torch.linalg.inv(cameras)[:, :3, 3])


def test_project_by_hand():
    # camera 2 behind the origin: (1, 0.5, 2) is at depth 4, and falls 100 * 1 / 4 right and 120 * 0.5 / 4 below the centre
    pixels, depth = project(torch.tensor([[1.0, 0.5, 2.0]]), INTRINSICS, cameras_at(torch.tensor([[0.0, 0, -2]]))[0])
    assert_close(pixels, torch.tensor([[31.5 + 25, 23.5 + 15]]))
    assert_close(depth, torch.tensor([4.0]))


def test_points_behind_have_negative_depth():
    _, depth = project(torch.tensor([[0.0, 0, -1]]), INTRINSICS, torch.eye(4))
    assert depth.item() == -1


def test_project_undoes_unproject():
    cameras = random_cameras(3)
    depth = 1 + torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(1))
    points = unproject(depth, INTRINSICS.repeat(3, 1, 1), cameras)
    v, u = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    for frame in range(3):
        pixels, back = project(points[frame], INTRINSICS, cameras[frame])
        assert_close(pixels, torch.stack([u, v], dim=-1), atol=1e-3, rtol=0)
        assert_close(back, depth[frame])


def test_relative_motion_leads_from_one_camera_to_the_next():
    cameras = random_cameras(4)
    assert_close(relative_motion(cameras) @ cameras[:-1], cameras[1:])


@given(st.floats(1e-7, math.pi - 0.01), st.integers(0, 1000))
def test_rotation_vectors_equal_those_of_scipy(angle, seed):
    axis = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    vector = angle * axis / axis.norm()
    matrix = torch.tensor(Rotation.from_rotvec(vector.numpy()).as_matrix())
    assert_close(rotation_vectors(matrix), vector, rtol=1e-6, atol=1e-12)


def test_rotation_vector_of_no_rotation_is_zero():
    assert torch.equal(rotation_vectors(torch.eye(3)), torch.zeros(3))


@pytest.mark.parametrize("case", ["static_noisy", "drifting"])
def test_motion_and_mvcs_equal_the_official_ones(case, golden):
    folder = golden / "scoring"
    tensors = load_file(folder / f"{case}.safetensors")
    expected = json.loads((folder / "expected.json").read_text())[case]["confidence_percentile_0"]
    cameras = torch.eye(4).repeat(len(tensors["depth"]), 1, 1)
    cameras[:, :3] = tensors["extrinsics"]
    assert paper_motion(cameras).item() == pytest.approx(expected["motion"], abs=1e-5)
    assert mvcs(tensors["depth"], tensors["intrinsics"], cameras).item() == pytest.approx(expected["mvcs"], abs=1e-4)


def test_motion_by_hand():
    # translations move by 3 and 4, rotations about y by .2 and .4
    cameras = torch.eye(4).repeat(3, 1, 1)
    cameras[:, :3, :3] = torch.tensor(Rotation.from_rotvec([[0, 0, 0], [0, 0.2, 0], [0, 0.6, 0]]).as_matrix()).float()
    cameras[:, 0, 3] = torch.tensor([0.0, 3.0, 3.0])
    cameras[:, 1, 3] = torch.tensor([0.0, 0.0, 4.0])
    assert_close(paper_motion(cameras), torch.tensor(3.5 + 0.1 * 0.3))


def test_motion_needs_two_cameras():
    with pytest.raises(ValueError, match="got 1 cameras, need at least 2"):
        paper_motion(torch.eye(4)[None])


TIME = torch.arange(10.0)[:, None]


def test_static_camera_has_no_jerk_and_no_motion():
    for cameras in (torch.eye(4).repeat(10, 1, 1), random_cameras(1).repeat(10, 1, 1)):
        assert camera_jerk(cameras) == 0
        assert paper_motion(cameras) == 0


@pytest.mark.parametrize(
    "cameras",
    [
        cameras_at(TIME * torch.tensor([0.1, 0.0, 0.3])),  # dolly
        cameras_at(TIME**2 * torch.tensor([0.01, 0.0, 0.03])),  # a dolly that speeds up
        cameras_at(torch.tensor([[5.0, 1.0, 2.0]]).repeat(10, 1), TIME * torch.tensor([0.0, 0.05, 0.0])),  # pan
    ],
)
def test_steady_cameras_have_next_to_no_jerk(cameras):
    assert camera_jerk(cameras) < 1e-3


def test_jerk_of_an_orbit_is_the_square_of_the_angle_per_step():
    turns = TIME * torch.tensor([0.0, 0.1, 0.0])
    centers = torch.cat([-torch.sin(turns[:, 1:2]), 0 * TIME, -torch.cos(turns[:, 1:2])], dim=1)
    # the centres take (1 / 9) / (1 / 9 + .1) of the pose's steps, and theirs is (2 sin(.05))^2
    expected = (2 * math.sin(0.05)) ** 2 * (1 / 9) / (1 / 9 + 0.1)
    assert camera_jerk(cameras_at(centers, turns)).item() == pytest.approx(expected, rel=1e-3)


def test_jerk_by_hand():
    # forth and back by one: steps +1 -1 +1, their second difference 4, so jerk 4 times the step
    centers = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]])
    assert camera_jerk(cameras_at(centers)).item() == pytest.approx(4.0)


def test_jerk_grows_with_the_shaking_and_knows_neither_unit_nor_frame():
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(10, 3, generator=generator)
    shaken = [cameras_at(TIME * torch.tensor([0.1, 0, 0]) + size * noise) for size in (0.0, 0.01, 0.03, 0.1)]
    jerks = [camera_jerk(cameras).item() for cameras in shaken]
    assert jerks == sorted(jerks)
    assert jerks[0] < 1e-4 < 1 < jerks[-1]
    larger = shaken[2].clone()
    larger[:, :3, 3] *= 100
    assert camera_jerk(larger).item() == pytest.approx(jerks[2], rel=1e-4)
    assert camera_jerk(shaken[2] @ random_cameras(1)).item() == pytest.approx(jerks[2], rel=1e-4)


def test_jerk_sees_shaking_of_the_orientation_too():
    noise = 0.02 * torch.randn(10, 3, generator=torch.Generator().manual_seed(4))
    path = TIME * torch.tensor([0.1, 0, 0])
    assert camera_jerk(cameras_at(path, noise)) > 0.3 > camera_jerk(cameras_at(path))


def test_jerk_needs_four_cameras():
    with pytest.raises(ValueError, match="got 3 cameras, need at least 4"):
        camera_jerk(torch.eye(4).repeat(3, 1, 1))


def test_mvcs_by_hand():
    # one step back: depth 5 becomes 6 where the next camera sees 5.5
    cameras = cameras_at(torch.tensor([[0.0, 0, 0], [0, 0, -1]]))
    depth = torch.stack([torch.full((48, 64), 5.0), torch.full((48, 64), 5.5)])
    assert mvcs(depth, INTRINSICS.repeat(2, 1, 1), cameras).item() == pytest.approx(math.exp(-0.25), abs=1e-4)


def test_mvcs_leaves_unknown_depth_out():
    cameras = torch.eye(4).repeat(2, 1, 1)
    depth = torch.full((2, 48, 64), 5.0)
    depth[0, :10], depth[1, 20:30] = 0, 0
    assert mvcs(depth, INTRINSICS.repeat(2, 1, 1), cameras).item() == pytest.approx(1, abs=1e-4)


def test_mvcs_without_overlap_is_not_a_number():
    cameras = cameras_at(torch.tensor([[0.0, 0, 0], [50.0, 0, 0]]))
    assert mvcs(torch.ones(2, 48, 64), INTRINSICS.repeat(2, 1, 1), cameras).isnan()


def test_quaternions_turn_as_scipy_says():
    quaternions = torch.randn(7, 4, dtype=torch.float64)
    expected = torch.from_numpy(Rotation.from_quat(quaternions.numpy()).as_matrix())
    assert_close(rotation_from_quaternion(quaternions), expected)
