"""Diffusion-DPO: align a denoiser with preference pairs, against its frozen reference.

Wallace et al. 2023, "Diffusion Model Alignment Using Direct Preference Optimization", eq. 14,
https://arxiv.org/abs/2311.12908.

The inputs are denoising errors, one per pair: what `denoising_errors` returns. All four of a pair (of policy and reference,
on winner and loser) must come from the same timestep and the same noise.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def denoising_errors(
    prediction: Float[Tensor, " batch *axes"], target: Float[Tensor, " batch *axes"]
) -> Float[Tensor, " batch"]:
    """Return mean((prediction - target)²) over all but the batch axis, in float32 whatever the model's dtype.

    A gain over the reference is a small difference of two such means: in bfloat16 it would drown in rounding.
    """
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def improvement(policy: Float[Tensor, " pairs"], reference: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """Return by how much the policy denoises better than its reference; positive = better.

    To be logged for winners and losers apart: a falling loss may hide that both get worse.
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
    """Return how much more the policy improved on the winner than on the loser, times `beta / 2`.

    Zero for a policy equal to its reference. The factor 1/2 is that of the authors' code, which takes up the
    paper's T omega(lambda) in beta, so that a `beta` quoted from there (2000 to 5000) can be used as it is.

    Args:
        policy_winner: Denoising errors of the trained model on the winners, one per pair: see `denoising_errors`.
        policy_loser: Its errors on the losers.
        reference_winner: Errors of the frozen reference on the winners, at the same timesteps and noise.
        reference_loser: Its errors on the losers.
        beta: How strongly the policy is held to its reference; more is stricter.

    Returns:
        One logit per pair; positive where the policy learned the preference.

    Example:
        >>> errors = torch.tensor([0.5])
        >>> dpo_logits(
        ...     policy_winner=errors - 0.1, policy_loser=errors, reference_winner=errors, reference_loser=errors, beta=20.0
        ... )  # 20 / 2 * (0.1 - 0)
        tensor([1.0000])
    """
    return 0.5 * beta * (improvement(policy_winner, reference_winner) - improvement(policy_loser, reference_loser))


def dpo_loss(logits: Float[Tensor, " pairs"]) -> Float[Tensor, ""]:
    """Return mean(-log sigmoid(logits)): log 2 for a policy equal to its reference, and falling as it learns.

    Args:
        logits: What `dpo_logits` returns, one per pair.

    Returns:
        The loss, a scalar.

    Example:
        >>> dpo_loss(torch.zeros(4))  # log 2
        tensor(0.6931)
    """
    return -logsigmoid(logits).mean()


def implicit_accuracy(logits: Float[Tensor, " pairs"]) -> Float[Tensor, ""]:
    """Return the share of pairs on which the policy improved more on the winner; ties count half.

    Relative to the reference, hence .5 for a policy equal to it. The raw errors say little: an easy loser has the
    smaller one before any training.
    """
    return (0.5 * (1 + logits.sign())).mean()
