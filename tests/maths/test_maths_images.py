import json

import pytest
import torch
from torch.testing import assert_close

from golden_networks import draw
from videogpa.maths.images import cut_to_8_bits, mse, psnr, squared_error_map, ssim


def pair(height: int = 40, width: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(2, 3, height, width, generator=generator)
    return (first + 0.2 * torch.randn(first.shape, generator=generator)).clamp(0, 1), first


def half_mask(height: int = 40, width: int = 50) -> torch.Tensor:
    mask = torch.zeros(2, height, width, dtype=torch.bool)
    mask[:, :, : width // 2] = True
    return mask


def test_mse_and_psnr_by_hand():
    image, reference = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    image[0, 0] = 0.5  # one of three colours
    image[1, :, :2] = 0.1  # half of the pixels
    errors = mse(image, reference)
    assert_close(errors, torch.tensor([0.25 / 3, 0.005]))
    assert_close(psnr(torch.tensor([0.01, 1.0])), torch.tensor([20.0, 0.0]))
    assert psnr(torch.tensor(0.0)).isinf()


def test_masked_mse_by_hand():
    image, reference = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    image[:, :, :2] = 0.1
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[0, 1:3] = True
    errors = mse(image, reference, mask)
    assert errors[0].item() == pytest.approx(0.005)
    assert errors[1].isnan()


def test_map_averages_to_the_mse():
    assert_close(squared_error_map(*pair()).mean((1, 2)), mse(*pair()))


@pytest.mark.parametrize("case", ["small", "pooled"])
def test_ssim_equals_that_of_piq(case, golden):
    """From 384 pixels of the shorter side on, piq averages blocks of pixels first."""
    expected = json.loads((golden / "ssim.json").read_text())[case]
    height, width = expected["height"], expected["width"]
    squares = draw(f"ssim {case} reference", 2, 3, height // 8, width // 8)
    reference = squares.repeat_interleave(8, -1).repeat_interleave(8, -2)
    image = 0.7 * reference + 0.3 * draw(f"ssim {case} noise", 2, 3, height, width)
    assert ssim(image, reference).mean().item() == pytest.approx(expected["ssim"], abs=1e-5)


def test_ssim_of_one_window_by_hand():
    # in a single window of 11 x 11, constant images have no variance: only the luminance term remains
    image, reference = torch.full((1, 3, 11, 11), 0.2), torch.full((1, 3, 11, 11), 0.6)
    assert_close(ssim(image, reference), torch.tensor([(2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4)]), atol=1e-3, rtol=0)


def test_ssim_of_equal_images_is_one_and_falls_with_noise():
    image, reference = pair()
    assert_close(ssim(reference, reference), torch.ones(2))
    assert (ssim(image, reference) < ssim((image + reference) / 2, reference)).all()
    assert_close(ssim(image, reference), ssim(reference, image))


@pytest.mark.parametrize("size", [40, 400])
def test_masked_ssim(size):
    image, reference = pair(size, size)
    mask = half_mask(size, size)
    assert_close(ssim(image, reference, torch.ones_like(mask)), ssim(image, reference))
    assert ssim(image, reference, torch.zeros_like(mask)).isnan().all()
    worse = torch.where(mask[:, None], image, 1 - image)
    assert_close(ssim(worse, reference, mask), ssim(image, reference, mask))
    assert_close(ssim(image, reference, mask), ssim(image, reference), atol=0.1, rtol=0)


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(*pair(10, 50))


def test_cut_to_8_bits_truncates():
    values = torch.tensor([0.0, 0.999 / 255, 1.7 / 255, 0.9999, 1.0])
    assert_close(cut_to_8_bits(values), torch.tensor([0.0, 0.0, 1.0, 254.0, 255.0]) / 255)
