import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.testing import assert_close

from videogpa.maths.alignment import Similarity, umeyama

POINTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TRUE = Similarity(
    torch.tensor(2.5, dtype=torch.float64),
    torch.tensor(Rotation.from_rotvec([0.4, -1.9, 0.3]).as_matrix()),
    torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64),
)


def test_finds_the_similarity_that_was_applied():
    for found, expected in zip(umeyama(POINTS, TRUE(POINTS)), TRUE, strict=True):
        assert_close(found, expected)


def test_never_reflects():
    mirrored = POINTS * torch.tensor([1.0, 1.0, -1.0])
    assert_close(torch.linalg.det(umeyama(POINTS, mirrored).rotation), torch.tensor(1.0, dtype=torch.float64))


def test_works_on_a_plane():
    flat = POINTS * torch.tensor([1.0, 1.0, 0.0])
    assert_close(umeyama(flat, TRUE(flat)).rotation, TRUE.rotation)


def test_rotation_equals_that_of_scipy_on_noisy_points_with_weights():
    generator = torch.Generator().manual_seed(1)
    noisy = TRUE(POINTS) + 0.3 * torch.randn(40, 3, generator=generator, dtype=torch.float64)
    weights = torch.rand(40, generator=generator, dtype=torch.float64)
    share = weights / weights.sum()
    expected, _ = Rotation.align_vectors(noisy - share @ noisy, POINTS - share @ POINTS, weights=weights)
    assert_close(umeyama(POINTS, noisy, weights).rotation, torch.tensor(expected.as_matrix()))


def test_no_nearby_similarity_fits_better():
    generator = torch.Generator().manual_seed(2)
    noisy = TRUE(POINTS) + 0.3 * torch.randn(40, 3, generator=generator, dtype=torch.float64)
    best = umeyama(POINTS, noisy)
    least = (best(POINTS) - noisy).square().sum()
    for _ in range(50):
        step = 1e-3 * torch.randn(7, generator=generator, dtype=torch.float64)
        turn = torch.tensor(Rotation.from_rotvec(step[:3].numpy()).as_matrix())
        other = Similarity(best.scale * (1 + step[6]), turn @ best.rotation, best.translation + step[3:6])
        assert (other(POINTS) - noisy).square().sum() > least


def test_weights_count_like_copies_and_zero_like_absence():
    noisy = TRUE(POINTS) + torch.sin(37 * POINTS)
    twice = umeyama(torch.cat([POINTS, POINTS[:9]]), torch.cat([noisy, noisy[:9]]))
    weights = torch.ones(40, dtype=torch.float64)
    weights[:9] = 2
    for found, expected in zip(umeyama(POINTS, noisy, weights), twice, strict=True):
        assert_close(found, expected)
    weights[:9] = 0
    for found, expected in zip(umeyama(POINTS, noisy, weights), umeyama(POINTS[9:], noisy[9:]), strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize("points", [POINTS[:2], POINTS[:1].repeat(5, 1), torch.arange(12.0)[:, None] * POINTS[:1].float()])
def test_refuses_points_that_determine_nothing(points):
    with pytest.raises(ValueError, match="do not determine an alignment"):
        umeyama(points, points)
