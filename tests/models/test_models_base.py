"""First frames of any size."""

import pytest
import torch
from torch.testing import assert_close

from videogpa.models.base import fit_image


def test_the_right_size_is_left_alone() -> None:
    image = torch.rand(3, 16, 24)
    assert fit_image(image, height=16, width=24) is image


@pytest.mark.parametrize("size", [(33, 57), (100, 20), (8, 8), (16, 48)])
def test_any_size_fits(size: tuple[int, int]) -> None:
    fitted = fit_image(torch.rand(3, *size), height=16, width=24)
    assert fitted.shape == (3, 16, 24)
    assert 0 <= fitted.min() <= fitted.max() <= 1


def test_the_crop_is_around_the_centre() -> None:
    """Of a ramp three times as wide as wanted, the middle third is left."""
    ramp = torch.linspace(0, 1, 96).expand(3, 32, 96)
    fitted = fit_image(ramp, height=32, width=32)
    assert_close(fitted, ramp[:, :, 32:64])


def test_proportions_are_kept() -> None:
    """A disc stays a disc."""
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(128) - 63.5, indexing="ij")
    disc = ((x**2 + y**2) < 20**2).float().expand(3, 64, 128)
    fitted = fit_image(disc, height=32, width=48)[0] > 0.5
    rows, columns = fitted.any(1).sum(), fitted.any(0).sum()
    assert abs(int(rows) - int(columns)) <= 1
    assert int(rows) in (19, 20, 21)
