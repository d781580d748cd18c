"""One step of Diffusion-DPO on a model with an adapter; the reference is the same model with the adapter off."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor

from videogpa.maths.dpo import denoising_errors, dpo_logits, dpo_loss, implicit_accuracy, improvement
from videogpa.models.base import VideoModel
from videogpa.stages.train.pairs import Batch


def pair_loss(model: VideoModel, adapter: PeftModel, batch: Batch, beta: float) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of the batch, with its graph, and what there is to log of it: means over the pairs.

    `winner_gain` and `loser_gain` say by how much the policy denoises each better than the reference; `margin` is the mean
    of the logits, 0 for a policy equal to its reference.
    """
    with torch.no_grad(), adapter.disable_adapter():
        reference_winner, reference_loser = _errors(model, batch)
    policy_winner, policy_loser = _errors(model, batch)
    logits = dpo_logits(
        policy_winner=policy_winner,
        policy_loser=policy_loser,
        reference_winner=reference_winner,
        reference_loser=reference_loser,
        beta=beta,
    )
    loss = dpo_loss(logits)
    logged = {
        "loss": loss,
        "winner_gain": improvement(policy_winner, reference_winner).mean(),
        "loser_gain": improvement(policy_loser, reference_loser).mean(),
        "accuracy": implicit_accuracy(logits),
        "margin": logits.mean(),
    }
    return loss, {name: float(value.detach()) for name, value in logged.items()}


def _errors(model: VideoModel, batch: Batch) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Return the denoising errors of winners and losers, from one forward pass over both."""
    prediction, target = model.prediction_and_target(
        torch.cat([batch.winner, batch.loser]),
        torch.cat([batch.noise, batch.noise]),
        torch.cat([batch.timesteps, batch.timesteps]),
        _twice(batch.conditions),
    )
    winner, loser = denoising_errors(prediction, target).chunk(2)
    return winner, loser


def _twice(conditions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([tensor, tensor]) for name, tensor in conditions.items()}
