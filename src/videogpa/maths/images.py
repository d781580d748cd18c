"""Image quality relative to a reference: MSE, PSNR and SSIM, one number per image, for RGB in [0, 1].

With a mask, only the pixels where it is true count. The result is nan for an image whose mask is empty.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

SSIM_TAPS, SSIM_SIGMA = 11, 1.5  # Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity"
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # (K1 L)^2, (K2 L)^2 of the same paper, for a range L = 1
SSIM_SIDE = 256  # larger images are first reduced to about this short side, as the authors advise and `piq` does


def squared_error_map(
    image: Float[Tensor, "images 3 height width"], reference: Float[Tensor, "images 3 height width"]
) -> Float[Tensor, "images height width"]:
    """Return the squared error of every pixel, averaged over the colours."""
    return (image - reference).square().mean(1)


def mse(
    image: Float[Tensor, "images 3 height width"],
    reference: Float[Tensor, "images 3 height width"],
    mask: Bool[Tensor, "images height width"] | None = None,
) -> Float[Tensor, " images"]:
    """Return the mean squared error of each image.

    Args:
        image: RGB in [0, 1].
        reference: RGB in [0, 1].
        mask: True where pixels count; None counts all of them.

    Returns:
        The errors, in [0, 1]; nan where the mask is empty.
    """
    errors = squared_error_map(image, reference)
    return _weighted_mean(errors, torch.ones_like(errors) if mask is None else mask.to(errors))


def cut_to_8_bits(images: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Return images quantised to 8 bits by truncation (not rounding), in [0, 1]; the paper's code stores colours so."""
    return (images * 255).floor().clamp(0, 255) / 255


def psnr(mse: Float[Tensor, "*images"]) -> Float[Tensor, "*images"]:
    """Return the peak signal-to-noise ratio -10 log10(mse), in decibels, for a peak of 1; it is infinite for equal images.

    The paper's figure is the PSNR of the mean MSE over frames, not the mean of the frames' PSNR.
    """
    return -10 * torch.log10(mse)


def ssim(
    image: Float[Tensor, "images 3 height width"],
    reference: Float[Tensor, "images 3 height width"],
    mask: Bool[Tensor, "images height width"] | None = None,
) -> Float[Tensor, " images"]:
    """Return the structural similarity (SSIM) of each image, averaged over colours and windows, as `piq.ssim` computes it.

    Only Gaussian windows that lie wholly inside the image are used, after average pooling by round(short side / 256) where that
    is above 1. With a mask, a window is weighted by the mask (after pooling) at its centre, and pixels outside the mask are
    taken as equal to the reference.

    Args:
        image: RGB in [0, 1].
        reference: RGB in [0, 1].
        mask: True where pixels count; None counts all of them.

    Returns:
        Similarities of at most 1, which means equal; nan where no window counts.

    Raises:
        ValueError: If the image (after pooling) is smaller than the window of 11 pixels.
    """
    weight = torch.ones_like(image[:, :1]) if mask is None else mask[:, None].to(image)
    image = torch.where(weight > 0, image, reference)
    factor = max(1, round(min(image.shape[-2:]) / SSIM_SIDE))
    if factor > 1:
        image, reference, weight = (avg_pool2d(x, factor) for x in (image, reference, weight))
    if min(image.shape[-2:]) < SSIM_TAPS:
        raise ValueError(f"SSIM needs images of at least {SSIM_TAPS} x {SSIM_TAPS} pixels, got {tuple(image.shape[-2:])}")
    border = SSIM_TAPS // 2
    return _weighted_mean(_ssim_map(image, reference).mean(1), weight[:, 0, border:-border, border:-border])


def _ssim_map(
    x: Float[Tensor, "images 3 height width"], y: Float[Tensor, "images 3 height width"]
) -> Float[Tensor, "images 3 height-10 width-10"]:
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    contrast = (2 * covariance + SSIM_C2) / (variance_x + variance_y + SSIM_C2)
    return (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1) * contrast


def _blur(images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 height-10 width-10"]:
    offsets = torch.arange(SSIM_TAPS).to(images) - SSIM_TAPS // 2
    taps = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    return conv2d(conv2d(images, taps, groups=3), taps.transpose(-1, -2), groups=3)


def _weighted_mean(
    values: Float[Tensor, "images height width"], weights: Float[Tensor, "images height width"]
) -> Float[Tensor, " images"]:
    return (values * weights).sum((1, 2)) / weights.sum((1, 2))
