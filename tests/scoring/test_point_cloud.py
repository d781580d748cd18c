"""The points of a reconstruction: which count, and clouds put together from parts."""

from dataclasses import fields, replace

import pytest
import torch

from videogpa.critics.base import ReconstructionFailed
from videogpa.records import Reconstruction
from videogpa.scoring.point_cloud import Cloud, cloud_of, points_of


def reconstruction(frames: int, *, placed: bool = False) -> Reconstruction:
    generator = torch.Generator().manual_seed(frames)
    shape = (frames, 4, 5)
    return Reconstruction(
        images=torch.rand(frames, 3, 4, 5, generator=generator),
        depth=torch.rand(shape, generator=generator) - 0.2,  # some unknown
        confidence=torch.randint(0, 4, shape, generator=generator).float(),  # some 0, many alike
        intrinsics=torch.tensor([[5.0, 0, 2], [0, 5, 1.5], [0, 0, 1]]).repeat(frames, 1, 1),
        camera_from_world=torch.eye(4).repeat(frames, 1, 1),
        points=torch.rand(*shape, 3, generator=generator) if placed else None,
    )


def part(whole: Reconstruction, frames: slice) -> Reconstruction:
    names = [field.name for field in fields(whole) if isinstance(getattr(whole, field.name), torch.Tensor)]
    return replace(whole, **{name: getattr(whole, name)[frames] for name in names})


def same(a: Cloud, b: Cloud) -> bool:
    return all(torch.equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(Cloud))


@pytest.mark.parametrize("placed", [False, True])
def test_a_cloud_put_together_from_parts_is_that_of_the_whole(placed: bool) -> None:
    whole = reconstruction(4, placed=placed)
    parts = cloud_of(part(whole, slice(0, 3))).followed_by(points_of(part(whole, slice(3, 4)), first=3))
    assert same(parts, cloud_of(whole))
    usable = whole.confidence > 0 if placed else (whole.confidence > 0) & (whole.depth > 0)
    assert len(parts.points) == usable.sum()
    assert torch.equal(parts.frame, usable.nonzero()[:, 0])


def test_the_least_confident_points_are_left_out_the_last_of_equal_ones_first() -> None:
    confidence = torch.tensor([0.5, 0.9, 0.5, 0.1])
    cloud = Cloud(torch.arange(12.0).reshape(4, 3), torch.zeros(4, 3), confidence, torch.zeros(4, dtype=torch.int64))
    assert cloud.most_confident(1.0) is cloud
    assert cloud.most_confident(0.5).points[:, 0].tolist() == [0, 3]
    assert cloud.most_confident(0.6).points[:, 0].tolist() == [0, 3, 6]  # 2.4 points, rounded up


def test_a_frame_alone_or_nothing_usable_has_no_cloud() -> None:
    whole = reconstruction(3)
    with pytest.raises(ReconstructionFailed, match="1 frame cannot"):
        cloud_of(part(whole, slice(0, 1)))
    with pytest.raises(ReconstructionFailed, match="no pixel has a usable depth"):
        cloud_of(replace(whole, confidence=torch.zeros(3, 4, 5)))
    assert not len(points_of(replace(whole, confidence=torch.zeros(3, 4, 5))).points)
