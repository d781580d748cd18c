"""Noising, training targets, and their inversion, for the two kinds of denoiser among video models.

v-prediction (CogVideoX) follows Salimans and Ho 2022, "Progressive Distillation for Fast Sampling of Diffusion Models",
https://arxiv.org/abs/2202.00512, appendix D. Flow matching (Wan) follows Lipman et al. 2022, "Flow Matching for Generative
Modeling", https://arxiv.org/abs/2210.02747, along the straight path of Liu et al. 2022, https://arxiv.org/abs/2209.03003.

Both mix a clean latent x and Gaussian noise eps into z = alpha x + sigma eps; they differ in the coefficients (alpha, sigma)
and in the target. sigma = 0 is clean, sigma = 1 is noise. There is one alpha and one sigma per item of the batch.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def variance_preserving(
    alpha_bar: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Return (alpha, sigma) of a v-prediction model: the square roots of `alpha_bar` and 1 - `alpha_bar`.

    Args:
        alpha_bar: Values in [0, 1], which are `scheduler.alphas_cumprod[timestep]` in diffusers.
    """
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def straight_path(sigma: Float[Tensor, " batch"]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Return (alpha, sigma) = (1 - sigma, sigma), the mix of a flow-matching model, for sigma in [0, 1]."""
    return 1 - sigma, sigma


def add_noise(
    clean: Float[Tensor, " batch *axes"],
    noise: Float[Tensor, " batch *axes"],
    *,
    alpha: Float[Tensor, " batch"],
    sigma: Float[Tensor, " batch"],
) -> Float[Tensor, " batch *axes"]:
    """Return the noisy latents z = alpha x + sigma eps, in the dtype of `clean`.

    Args:
        clean: The clean latents x.
        noise: The noise eps.
        alpha: Coefficient of `clean`, one per item.
        sigma: Coefficient of `noise`, one per item.
    """
    return _per_item(alpha, clean) * clean + _per_item(sigma, clean) * noise


def velocity_target(
    clean: Float[Tensor, " batch *axes"],
    noise: Float[Tensor, " batch *axes"],
    *,
    alpha: Float[Tensor, " batch"],
    sigma: Float[Tensor, " batch"],
) -> Float[Tensor, " batch *axes"]:
    """Return v = alpha eps - sigma x, the training target of a v-prediction model.

    This is not the velocity of a flow, which is `flow_target`.

    Args:
        clean: The clean latents x.
        noise: The noise eps.
        alpha: Coefficient of `clean` in the noisy latents, one per item.
        sigma: Coefficient of `noise` in the noisy latents, one per item.
    """
    return _per_item(alpha, clean) * noise - _per_item(sigma, clean) * clean


def flow_target(clean: Float[Tensor, " batch *axes"], noise: Float[Tensor, " batch *axes"]) -> Float[Tensor, " batch *axes"]:
    """Return u = eps - x, the training target of a flow-matching model, which is dz/dsigma along the straight path."""
    return noise - clean


def from_velocity(
    noisy: Float[Tensor, " batch *axes"],
    velocity: Float[Tensor, " batch *axes"],
    *,
    alpha: Float[Tensor, " batch"],
    sigma: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, " batch *axes"], Float[Tensor, " batch *axes"]]:
    """Return the (clean, noise) that a predicted v implies.

    Args:
        noisy: The noisy latents z.
        velocity: The model's prediction of v.
        alpha: Coefficient of the clean latents in z, one per item.
        sigma: Coefficient of the noise in z, one per item; alpha^2 + sigma^2 = 1 is required (variance preserving).
    """
    a, s = _per_item(alpha, noisy), _per_item(sigma, noisy)
    return a * noisy - s * velocity, s * noisy + a * velocity


def from_flow(
    noisy: Float[Tensor, " batch *axes"],
    flow: Float[Tensor, " batch *axes"],
    *,
    sigma: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, " batch *axes"], Float[Tensor, " batch *axes"]]:
    """Return the (clean, noise) that a predicted u implies: the two ends of the straight path through `noisy`.

    Args:
        noisy: The noisy latents z.
        flow: The model's prediction of u.
        sigma: Noise level of z in [0, 1], one per item.
    """
    s = _per_item(sigma, noisy)
    return noisy - s * flow, noisy + (1 - s) * flow


def logit_normal(quantiles: Float[Tensor, " batch"], *, mean: float, std: float) -> Float[Tensor, " batch"]:
    """Return logit-normal noise levels, sigmoid(mean + std z) with z standard normal, at the given quantiles.

    The distribution is that of Esser et al. 2024, "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis",
    eq. 19, https://arxiv.org/abs/2403.03206.

    Args:
        quantiles: Quantiles in [0, 1); uniform random ones give random levels.
        mean: Mean of the logit. A mean above 0 shifts the levels towards noise.
        std: Standard deviation of the logit. A small one concentrates the levels around sigmoid(mean).

    Returns:
        Noise levels in [0, 1).
    """
    levels = torch.sigmoid(mean + std * torch.special.ndtri(quantiles.double()))
    return _below_one(levels.to(quantiles.dtype))


def shifted(levels: Float[Tensor, " batch"], shift: float) -> Float[Tensor, " batch"]:
    """Return noise levels moved towards noise, in the same order: shift sigma / (1 + (shift - 1) sigma).

    This is eq. 23 of Esser et al. 2024, and the same as adding log(shift) to the logit. Flow-matching schedulers sample with
    it: uniform levels, shifted, are distributed like the levels at which a model is evaluated during sampling.

    Args:
        levels: Noise levels in [0, 1).
        shift: The shift, above 0; 1 leaves the levels as they are.

    Returns:
        Noise levels in [0, 1).
    """
    return _below_one((shift * levels.double() / (1 + (shift - 1) * levels.double())).to(levels.dtype))


def bell_weights(levels: Float[Tensor, " batch"], *, shift: float, count: int = 1000) -> Float[Tensor, " batch"]:
    """Return the weight of a loss at these noise levels: a bell around 1/2, 0 at pure noise.

    The bell is exp(-2 (sigma - 1/2)²) minus its least value, exp(-1/2), divided by its mean over the levels of a schedule,
    which are `count` equal steps, shifted. It is that of DiffSynth-Studio's `FlowMatchScheduler` (`set_timesteps` with
    `training=True`, and `training_weight`), with which Epipolar-DPO trains; there sigma is timestep / 1000.

    Args:
        levels: Noise levels in [0, 1].
        shift: The shift of the schedule; see `shifted`.
        count: Levels of the schedule.

    Returns:
        Weights of at least 0, whose mean over the schedule's levels is 1.

    Example:
        >>> bell_weights(torch.tensor([0.5, 0.9, 1.0]), shift=1.0)
        tensor([1.5796, 0.4802, 0.0000])
    """
    steps = torch.arange(1, count + 1, dtype=torch.float64) / count
    schedule = shift * steps / (1 + (shift - 1) * steps)
    return (_bell(levels.double()) / _bell(schedule).mean()).to(levels.dtype)


def _bell(levels: Float[Tensor, " levels"]) -> Float[Tensor, " levels"]:
    return torch.exp(-2 * (levels - 0.5) ** 2) - math.exp(-0.5)


def _below_one(levels: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Return the levels, with those that were rounded to 1 replaced by the largest number below 1."""
    return torch.minimum(levels, torch.nextafter(torch.ones_like(levels), torch.zeros_like(levels)))


def _per_item(coefficient: Float[Tensor, " batch"], like: Float[Tensor, " batch *axes"]) -> Tensor:
    return coefficient.to(device=like.device, dtype=like.dtype).reshape(-1, *[1] * (like.ndim - 1))
