"""Exposure gains: by hand, on a wall that the same camera sees at known gains."""

import torch

from videogpa.maths.exposure import exposure_gains

SIDE = 32


def wall(gains: list[float], seed: int = 0) -> tuple[torch.Tensor, ...]:
    """A textured wall at depth 1, seen by cameras that do not move, each at its own gain."""
    picture = 0.2 + 0.4 * torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    images = picture * torch.tensor(gains)[:, None, None, None]
    v, u = torch.meshgrid(torch.arange(SIDE).float(), torch.arange(SIDE).float(), indexing="ij")
    points = torch.stack([u, v, torch.ones_like(u)], dim=-1).reshape(-1, 3).repeat(len(gains), 1)
    frame = torch.arange(len(gains)).repeat_interleave(SIDE * SIDE)
    colors = images.movedim(1, -1).reshape(-1, 3)
    matrices = torch.eye(3).repeat(len(gains), 1, 1), torch.eye(4).repeat(len(gains), 1, 1)
    return images, points, colors, frame, *matrices


def test_known_gains_are_found_with_a_geometric_mean_of_one():
    gains = torch.tensor([1.0, 1.25, 0.8])
    assert torch.allclose(exposure_gains(*wall(gains.tolist())), gains, atol=1e-5)  # 1 * 1.25 * 0.8 = 1


def test_equal_frames_have_gains_of_one():
    assert torch.equal(exposure_gains(*wall([0.7, 0.7])), torch.ones(2))


def test_a_change_of_less_than_half_the_picture_is_no_gain():
    images, *rest = wall([1.0, 1.0])
    images[1, :, : SIDE // 3] *= 0.5
    assert torch.allclose(exposure_gains(images, *rest), torch.ones(2), atol=1e-6)


def test_clipped_pixels_say_nothing():
    images, points, colors, *rest = wall([1.0, 1.2])
    images[:, :, : SIDE * 2 // 3] = 1.0
    colors = images.movedim(1, -1).reshape(-1, 3)
    gains = exposure_gains(images, points, colors, *rest)
    assert torch.allclose(gains[1] / gains[0], torch.tensor(1.2), atol=1e-5)


def test_frames_that_share_too_little_are_left_as_they_are():
    images, points, *rest = wall([1.0, 1.2])
    points = points + torch.tensor([SIDE - 2.0, 0.0, 0.0])  # 2 columns of 32 pixels are shared: fewer than 100 pixels
    assert torch.equal(exposure_gains(images, points, *rest), torch.ones(2))
