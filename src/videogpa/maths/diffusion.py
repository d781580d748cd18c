"""Noising, training targets, and the way back, for the two kinds of denoiser that video models are.

v-prediction (CogVideoX): Salimans and Ho 2022, "Progressive Distillation for Fast Sampling of Diffusion Models",
https://arxiv.org/abs/2202.00512, appendix D. Flow matching (Wan): Lipman et al. 2022, "Flow Matching for Generative
Modeling", https://arxiv.org/abs/2210.02747, along the straight path of Liu et al. 2022, https://arxiv.org/abs/2209.03003.

Both mix a clean latent x and noise eps into z = alpha x + sigma eps; they differ in the mix (alpha, sigma) and in the
target. sigma = 0 is clean, sigma = 1 is noise. There is one alpha and one sigma per item of the batch.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def variance_preserving(
    alpha_bar: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Return (alpha, sigma) of a v-prediction model: the square roots of `alpha_bar` and 1 - `alpha_bar`.

    `alpha_bar` in [0, 1] is `scheduler.alphas_cumprod[timestep]` in diffusers.
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
    """Return z = alpha x + sigma eps, in the dtype of `clean`."""
    return _per_item(alpha, clean) * clean + _per_item(sigma, clean) * noise


def velocity_target(
    clean: Float[Tensor, " batch *axes"],
    noise: Float[Tensor, " batch *axes"],
    *,
    alpha: Float[Tensor, " batch"],
    sigma: Float[Tensor, " batch"],
) -> Float[Tensor, " batch *axes"]:
    """Return v = alpha eps - sigma x, what a v-prediction model is trained to output.

    Not the velocity of a flow: that is `flow_target`.
    """
    return _per_item(alpha, clean) * noise - _per_item(sigma, clean) * clean


def flow_target(clean: Float[Tensor, " batch *axes"], noise: Float[Tensor, " batch *axes"]) -> Float[Tensor, " batch *axes"]:
    """Return u = eps - x, what a flow-matching model is trained to output: dz/dsigma along the straight path."""
    return noise - clean


def from_velocity(
    noisy: Float[Tensor, " batch *axes"],
    velocity: Float[Tensor, " batch *axes"],
    *,
    alpha: Float[Tensor, " batch"],
    sigma: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, " batch *axes"], Float[Tensor, " batch *axes"]]:
    """Return the (clean, noise) that a predicted v implies. Holds for variance-preserving mixes only: alpha^2 + sigma^2 = 1."""
    a, s = _per_item(alpha, noisy), _per_item(sigma, noisy)
    return a * noisy - s * velocity, s * noisy + a * velocity


def from_flow(
    noisy: Float[Tensor, " batch *axes"],
    flow: Float[Tensor, " batch *axes"],
    *,
    sigma: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, " batch *axes"], Float[Tensor, " batch *axes"]]:
    """Return the (clean, noise) that a predicted u implies: the two ends of the straight path through `noisy`."""
    s = _per_item(sigma, noisy)
    return noisy - s * flow, noisy + (1 - s) * flow


def logit_normal(quantiles: Float[Tensor, " batch"], *, mean: float, std: float) -> Float[Tensor, " batch"]:
    """Return the logit-normal noise levels in [0, 1) at uniform quantiles in [0, 1): sigmoid(mean + std z), z normal.

    Esser et al. 2024, "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", eq. 19,
    https://arxiv.org/abs/2403.03206. A mean above 0 leans towards noise, a small std towards the middle.
    """
    levels = torch.sigmoid(mean + std * torch.special.ndtri(quantiles.double()))
    return _below_one(levels.to(quantiles.dtype))


def shifted(levels: Float[Tensor, " batch"], shift: float) -> Float[Tensor, " batch"]:
    """Return noise levels in [0, 1) moved towards noise, in their order: shift sigma / (1 + (shift - 1) sigma); 1 leaves them.

    Esser et al. 2024, eq. 23: the same as log(shift) added to the logit. Flow-matching schedulers sample with it: levels drawn
    alike and shifted are those that a model is asked for when it makes a clip.
    """
    return _below_one((shift * levels.double() / (1 + (shift - 1) * levels.double())).to(levels.dtype))


def _below_one(levels: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Return the levels with those that rounding has brought to 1 just below it."""
    return torch.minimum(levels, torch.nextafter(torch.ones_like(levels), torch.zeros_like(levels)))


def _per_item(coefficient: Float[Tensor, " batch"], like: Float[Tensor, " batch *axes"]) -> Tensor:
    return coefficient.to(device=like.device, dtype=like.dtype).reshape(-1, *[1] * (like.ndim - 1))
