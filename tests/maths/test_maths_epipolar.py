import cv2
import pytest
import torch
from torch.testing import assert_close

from videogpa.maths.cameras import project
from videogpa.maths.epipolar import cross_matrix, fundamental_from_cameras, fundamental_from_matches, sampson_errors


def rotation(x: float, y: float, z: float) -> torch.Tensor:
    return torch.linalg.matrix_exp(cross_matrix(torch.tensor([x, y, z], dtype=torch.float64)))


@pytest.fixture
def two_views() -> tuple[torch.Tensor, ...]:
    intrinsics = torch.tensor([[300.0, 0, 160], [0, 310, 120], [0, 0, 1]], dtype=torch.float64).repeat(2, 1, 1)
    intrinsics[1, :2, :2] *= 1.2
    cameras = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    cameras[0, :3, :3], cameras[0, :3, 3] = rotation(0.1, 0.0, 0.05), torch.tensor([0.1, 0.2, 0.0])
    cameras[1, :3, :3], cameras[1, :3, 3] = rotation(0.0, -0.2, 0.0), torch.tensor([-0.6, 0.1, 0.3])
    points = torch.rand(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    points[:, 2] += 4
    first, second = (project(points, intrinsics[i], cameras[i])[0] for i in range(2))
    return intrinsics, cameras, first, second


def test_true_matches_have_no_error(two_views):
    intrinsics, cameras, first, second = two_views
    fundamental = fundamental_from_cameras(intrinsics, cameras)
    assert sampson_errors(fundamental, first, second).max() < 1e-18
    assert torch.linalg.matrix_rank(fundamental, rtol=1e-9) == 2


def test_eight_points_find_the_fundamental_matrix_of_the_cameras(two_views):
    intrinsics, cameras, first, second = two_views
    expected = fundamental_from_cameras(intrinsics, cameras)
    for count in (8, 60):
        found = fundamental_from_matches(first[:count], second[:count])
        assert_close(found * torch.sign((found * expected).sum()), expected, atol=1e-8, rtol=1e-6)


def test_eight_point_algorithm_equals_that_of_opencv_on_noisy_matches(two_views):
    _, _, first, second = two_views
    second = second + 0.5 * torch.randn(second.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.tensor(cv2.findFundamentalMat(first.numpy(), second.numpy(), cv2.FM_8POINT)[0])
    expected = expected / expected.norm()
    found = fundamental_from_matches(first, second)
    assert_close(found * torch.sign((found * expected).sum()), expected, atol=1e-5, rtol=1e-3)


def test_sampson_error_by_hand_and_by_opencv(two_views):
    # a camera that slides to the right: epipolar lines are rows; two pixels apart by 3 rows meet halfway, 1.5^2 + 1.5^2
    slide = cross_matrix(torch.tensor([1.0, 0, 0], dtype=torch.float64))
    pixels = torch.tensor([[10.0, 20.0]], dtype=torch.float64)
    assert_close(sampson_errors(slide, pixels, pixels + torch.tensor([7.0, 3.0]).double()), torch.tensor([4.5]).double())
    intrinsics, cameras, first, second = two_views
    fundamental, moved = fundamental_from_cameras(intrinsics, cameras), second + 1
    ones = torch.ones(1, dtype=torch.float64)
    expected = [
        cv2.sampsonDistance(torch.cat([a, ones]).numpy(), torch.cat([b, ones]).numpy(), fundamental.numpy())
        for a, b in zip(first, moved, strict=True)
    ]
    assert_close(sampson_errors(fundamental, first, moved), torch.tensor(expected, dtype=torch.float64))


def test_sampson_error_is_the_squared_displacement_to_first_order(two_views):
    intrinsics, cameras, first, second = two_views
    fundamental = fundamental_from_cameras(intrinsics, cameras)
    line = torch.cat([first, torch.ones(60, 1, dtype=torch.float64)], 1) @ fundamental.T
    normal = line[:, :2] / line[:, :2].norm(dim=1, keepdim=True)
    back = torch.cat([second, torch.ones(60, 1, dtype=torch.float64)], 1) @ fundamental
    share = line[:, :2].square().sum(1) / (line[:, :2].square().sum(1) + back[:, :2].square().sum(1))
    errors = sampson_errors(fundamental, first, second + 0.01 * normal)
    assert_close(errors, 1e-4 * share, rtol=1e-2, atol=0)


def test_seven_matches_are_too_few(two_views):
    _, _, first, second = two_views
    with pytest.raises(ValueError, match="needs 8 matches, got 7"):
        fundamental_from_matches(first[:7], second[:7])
