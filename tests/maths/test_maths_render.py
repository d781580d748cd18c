import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videogpa.maths import render
from videogpa.maths.cameras import project, unproject
from videogpa.maths.render import splat_cloud

SIZE = {"height": 24, "width": 32}
INTRINSICS = torch.tensor([[30.0, 0, 15.5], [0, 30, 11.5], [0, 0, 1]])


def random_cloud(points: int, views: int, seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    cloud = 2 * torch.rand(points, 3, generator=generator) - 1
    cloud[:, 2] = 0.2 + 3 * cloud[:, 2].abs() - (torch.rand(points, generator=generator) < 0.1).float() * 4
    cameras = torch.eye(4).repeat(views, 1, 1)
    cameras[:, :3, 3] = 0.3 * torch.randn(views, 3, generator=generator)
    colors = 0.1 + 0.9 * torch.rand(points, 3, generator=generator)
    return cloud, colors, INTRINSICS.repeat(views, 1, 1), cameras


def slow_twin(points, colors, intrinsics, cameras, height, width, hidden_from=None):
    """Point after point, and the nearest one so far stays."""
    images, covered = torch.zeros(len(cameras), 3, height, width), torch.zeros(len(cameras), height, width) > 0
    for view in range(len(cameras)):
        nearest = {}
        pixels, depths = project(points, intrinsics[view], cameras[view])
        for i, ((u, v), z) in enumerate(zip(pixels.tolist(), depths.tolist(), strict=True)):
            if z <= 0 or (hidden_from is not None and hidden_from[i] == view):
                continue
            x, y = round(u), round(v)
            if 0 <= x < width and 0 <= y < height and z < nearest.get((x, y), (float("inf"),))[0]:
                nearest[x, y] = z, i
        for (x, y), (_, i) in nearest.items():
            images[view, :, y, x], covered[view, y, x] = colors[i], True
    return images, covered


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_equals_its_slow_twin(seed, leave_one_out):
    cloud = random_cloud(400, 3, seed)
    hidden_from = torch.arange(400) % 3 if leave_one_out else None
    image, covered = splat_cloud(*cloud, **SIZE, hidden_from=hidden_from)
    expected, expected_covered = slow_twin(*cloud, **SIZE, hidden_from=hidden_from)
    # a point may fall on either of two pixels, if it is between them to the last bit
    assert (covered != expected_covered).sum() <= 1
    assert (image != expected).any(1).sum() <= 2


def test_nearest_point_wins_wherever_it_stands_in_the_cloud():
    points = torch.tensor([[0.0, 0, 3], [0, 0, 2], [0, 0, 4]])
    for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1]):
        colors = torch.eye(3)[order]
        image, covered = splat_cloud(points[order], colors, INTRINSICS[None], torch.eye(4)[None], **SIZE)
        assert image[0, :, 12, 16].tolist() == [0, 1, 0]  # (15.5, 11.5): halves to even
        assert covered.sum() == 1


def test_ties_go_to_the_first_point():
    points = torch.tensor([[0.0, 0, 2]]).repeat(3, 1)
    image, _ = splat_cloud(points, torch.eye(3), INTRINSICS[None], torch.eye(4)[None], **SIZE)
    assert image[0, :, 12, 16].tolist() == [1, 0, 0]
    points[2, 2] -= 1e-6  # nearer, by less than rounding could tell
    image, _ = splat_cloud(points, torch.eye(3), INTRINSICS[None], torch.eye(4)[None], **SIZE)
    assert image[0, :, 12, 16].tolist() == [1, 0, 0]


def test_points_behind_beside_and_in_the_camera_are_not_seen():
    points = torch.tensor([[0.0, 0, -2], [0, 0, 0], [5, 0, 2], [-5, 0, 2], [0, 5, 2], [0, -5, 2]])
    image, covered = splat_cloud(points, torch.ones(6, 3), INTRINSICS[None], torch.eye(4)[None], **SIZE)
    assert not covered.any()
    assert not image.any()


def test_the_outermost_pixels_are_inside():
    corners = torch.tensor([[0.0, 0], [31, 0], [0, 23], [31, 23]])
    rays = torch.cat([(corners - INTRINSICS[:2, 2]) / 30, torch.ones(4, 1)], dim=1)
    for shift, inside in ((0.49, True), (0.51, False)):
        outward = rays.clone()
        outward[:, :2] += shift / 30 * rays[:, :2].sign()
        _, covered = splat_cloud(2 * outward, torch.ones(4, 3), INTRINSICS[None], torch.eye(4)[None], **SIZE)
        assert covered[0, [0, 0, 23, 23], [0, 31, 0, 31]].tolist() == [inside] * 4
        assert covered.sum() == 4 * inside


def test_a_frame_renders_back_to_itself():
    generator = torch.Generator().manual_seed(0)
    depth, frame = 1 + torch.rand(1, 24, 32, generator=generator), torch.rand(1, 3, 24, 32, generator=generator)
    camera = random_cloud(1, 1, seed=5)[3]
    points = unproject(depth, INTRINSICS[None], camera).reshape(-1, 3)
    image, covered = splat_cloud(points, frame[0].flatten(1).T, INTRINSICS[None], camera, **SIZE)
    assert torch.equal(image, frame)
    assert covered.all()


def test_leave_one_out_equals_rendering_the_rest():
    points, colors, intrinsics, cameras = random_cloud(600, 3, seed=1)
    frame = torch.arange(600) // 200
    image, covered = splat_cloud(points, colors, intrinsics, cameras, **SIZE, hidden_from=frame)
    for view in range(3):
        rest = frame != view
        one = slice(view, view + 1)
        expected, mask = splat_cloud(points[rest], colors[rest], intrinsics[one], cameras[one], **SIZE)
        assert torch.equal(image[one], expected)
        assert torch.equal(covered[one], mask)


def test_size_of_the_parts_and_runs_do_not_matter(monkeypatch):
    cloud = random_cloud(1000, 2, seed=2)
    image, covered = splat_cloud(*cloud, **SIZE)
    assert torch.equal(splat_cloud(*cloud, **SIZE)[0], image)
    monkeypatch.setattr(render, "POINTS_AT_ONCE", 77)
    again, covered_again = splat_cloud(*cloud, **SIZE)
    assert (image != again).any(1).sum() <= 1  # sums of three in another order
    assert (covered != covered_again).sum() <= 1


def test_an_empty_cloud_is_black():
    image, covered = splat_cloud(torch.zeros(0, 3), torch.zeros(0, 3), INTRINSICS[None], torch.eye(4)[None], **SIZE)
    assert not image.any()
    assert not covered.any()


def test_refuses_points_that_are_not_finite_and_images_too_large():
    cloud = random_cloud(10, 1, seed=3)
    with pytest.raises(ValueError, match="too large"):
        splat_cloud(*cloud, height=5000, width=5000)
    cloud[0][3, 1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        splat_cloud(*cloud, **SIZE)
