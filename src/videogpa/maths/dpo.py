"""Diffusion-DPO: the loss that aligns a denoiser with preference pairs, relative to a frozen reference.

The loss is eq. 14 of Wallace et al. 2023, "Diffusion Model Alignment Using Direct Preference Optimization",
https://arxiv.org/abs/2311.12908.

The inputs are denoising errors, one per pair, as `denoising_errors` returns them. All four errors of a pair (of policy and
reference, on winner and loser) must come from the same timestep and the same noise.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def denoising_errors(
    prediction: Float[Tensor, " batch *axes"], target: Float[Tensor, " batch *axes"]
) -> Float[Tensor, " batch"]:
    """Return mean((prediction - target)²) over all axes but the batch's, in float32 whatever the model's dtype.

    A gain over the reference is a small difference of two such means, smaller than the rounding errors of bfloat16.

    Args:
        prediction: The model's output.
        target: The training target of the same shape, for instance that of `videogpa.maths.diffusion.velocity_target`.
    """
    return mean_square(residuals(prediction, target))


def residuals(
    prediction: Float[Tensor, " batch *axes"], target: Float[Tensor, " batch *axes"]
) -> Float[Tensor, " batch *axes"]:
    """Return prediction - target in float32; the gradient of a denoising error by the prediction is a multiple of it."""
    return prediction.float() - target.float()


def mean_square(residual: Float[Tensor, " batch *axes"]) -> Float[Tensor, " batch"]:
    """Return the mean square over all axes but the batch's: the denoising error that belongs to a residual."""
    return residual.square().flatten(1).mean(1)


def overlap(winner: Float[Tensor, " pairs *axes"], loser: Float[Tensor, " pairs *axes"]) -> Float[Tensor, " pairs"]:
    """Return the mean product of the residuals on winner and loser, without gradients: see `safe_share`."""
    return (winner.detach() * loser.detach()).flatten(1).mean(1)


def improvement(policy: Float[Tensor, " pairs"], reference: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """Return the reference's denoising error minus the policy's, which is positive where the policy is better.

    Winners and losers should be logged separately, since the loss can fall while both get worse.

    Args:
        policy: Denoising errors of the trained model, one per pair.
        reference: Denoising errors of the frozen reference, at the same timesteps and noise.
    """
    return reference - policy


def dpo_logits(
    *,
    policy_winner: Float[Tensor, " pairs"],
    policy_loser: Float[Tensor, " pairs"],
    reference_winner: Float[Tensor, " pairs"],
    reference_loser: Float[Tensor, " pairs"],
    beta: float,
) -> Float[Tensor, " pairs"]:
    """Return the policy's improvement on the winner minus that on the loser, times `beta / 2`.

    The logit is 0 for a policy equal to its reference. The factor 1/2 is that of the authors' code, in which `beta` includes
    the paper's T omega(lambda), so that a `beta` quoted from there (2000 to 5000) can be used unchanged.

    Args:
        policy_winner: Denoising errors of the trained model on the winners, one per pair: see `denoising_errors`.
        policy_loser: Its errors on the losers.
        reference_winner: Errors of the frozen reference on the winners, at the same timesteps and noise.
        reference_loser: Its errors on the losers.
        beta: Strength of the regularisation towards the reference, above 0; a larger beta keeps the policy closer to it.

    Returns:
        One logit per pair; it is positive where the policy learned the preference.

    Example:
        >>> errors = torch.tensor([0.5])
        >>> dpo_logits(
        ...     policy_winner=errors - 0.1, policy_loser=errors, reference_winner=errors, reference_loser=errors, beta=20.0
        ... )  # 20 / 2 * (0.1 - 0)
        tensor([1.0000])
    """
    return 0.5 * beta * (improvement(policy_winner, reference_winner) - improvement(policy_loser, reference_loser))


def dpo_loss(logits: Float[Tensor, " pairs"]) -> Float[Tensor, ""]:
    """Return mean(-log sigmoid(logits)), which is log 2 for a policy equal to its reference and falls during training.

    Args:
        logits: The result of `dpo_logits`, one per pair.

    Returns:
        The loss, a scalar.

    Example:
        >>> dpo_loss(torch.zeros(4))  # log 2
        tensor(0.6931)
    """
    return -logsigmoid(logits).mean()


def implicit_accuracy(logits: Float[Tensor, " pairs"]) -> Float[Tensor, ""]:
    """Return the share of pairs on which the policy improved more on the winner; ties count half.

    The improvement is relative to the reference, so that the share is .5 for a policy equal to it. The raw errors are not
    informative: a loser that is easy to denoise has the smaller error before any training.

    Args:
        logits: The result of `dpo_logits`, one per pair.

    Returns:
        The share, in [0, 1].
    """
    return (0.5 * (1 + logits.sign())).mean()


def safe_share(winner: Float[Tensor, " pairs"], overlap: Float[Tensor, " pairs"], *, mu: float) -> Float[Tensor, " pairs"]:
    """Return by how much the loser's gradient may count for the winner's error to fall, to first order in the output.

    A step of DPO moves the predictions against g_w - s g_l, with g_w and g_l the gradients of the errors on winner and loser by
    the prediction, and s the share. The winner's error then falls by |g_w|² - s g_w·g_l, which is at least mu |g_w|² for
    s = (1 - mu) |g_w|² / g_w·g_l. The gradients are the residuals times the same factor, so that |g_w|² is to g_w·g_l as the
    winner's error is to the overlap. Fu et al. 2025, "Diffusion-SDPO", https://arxiv.org/abs/2511.03317; their code takes one
    share for all pairs of a batch, here each pair has its own.

    Args:
        winner: The policy's denoising errors on the winners.
        overlap: The mean products of its residuals on winners and losers.
        mu: Which part of the winner's own progress is kept, in [0, 1]; at 1 losers whose residual points the same way are
            ignored.

    Returns:
        Shares in [0, 1], without gradients; 1 where the residuals do not point the same way.

    Example:
        >>> safe_share(torch.tensor([1.0, 1.0]), torch.tensor([0.8, -0.5]), mu=0.6)
        tensor([0.5000, 1.0000])
    """
    share = (1 - mu) * winner.detach() / overlap.detach()
    return torch.where(overlap > 0, share, 1.0).clamp(0, 1)
