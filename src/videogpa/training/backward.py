"""The forward and backward passes of a step. The reference is the same network with its adapter off."""

from collections.abc import Callable, Mapping
from statistics import fmean

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor
from torch.nn import Parameter

from videogpa.maths.dpo import denoising_errors
from videogpa.maths.latents import static_penalty
from videogpa.models.base import VideoModel
from videogpa.training.data import Batch
from videogpa.training.losses import Objective, Term, Terms

Backward = Callable[[Tensor], None]


def backward_joint(
    model: VideoModel, adapter: PeftModel, batch: Batch, objective: Objective, backward: Backward
) -> dict[str, float]:
    """Add the gradients of the batch, with winners and losers in one forward pass of the policy; return what to log."""
    if not objective.compares:
        terms = winner_terms(model, batch, static=objective.static_weight > 0)
    else:
        reference = reference_terms(model, adapter, batch, together=True)
        terms = {**reference, **both_terms(model, batch, static=objective.static_weight > 0)}
    backward(objective(terms))
    return objective.numbers(terms)


def backward_loser_first(
    model: VideoModel, adapter: PeftModel, batch: Batch, objective: Objective, backward: Backward
) -> dict[str, float]:
    """Add the same gradients, with the activations of one clip in memory at a time; return what to log.

    The loss ties winner and loser together through their errors alone. So the loser's error is differentiated first, as if the
    slope of the loss along it were known; it is, once the winner's error is there, and the loser's gradient is put right.
    """
    if not objective.compares:
        return backward_joint(model, adapter, batch, objective, backward)
    pairs = [_loser_first(model, adapter, pair, objective, lambda loss: backward(loss / len(batch))) for pair in batch._split()]
    return {name: fmean(numbers[name] for numbers in pairs) for name in pairs[0]}


def _loser_first(
    model: VideoModel, adapter: PeftModel, pair: Batch, objective: Objective, backward: Backward
) -> dict[str, float]:
    reference = reference_terms(model, adapter, pair, together=False)
    trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    before = [parameter.grad for parameter in trained]
    adapter.zero_grad()
    loser = loser_terms(model, pair)
    supposed = objective.beta  # about what it will be: a gradient in float16 keeps within its range
    backward(supposed * loser["policy_loser"].sum())
    loser = {name: term.detach() for name, term in loser.items()}  # its graph is gone
    winner = winner_terms(model, pair, static=objective.static_weight > 0)
    slopes, numbers = _slopes({**reference, **winner, **loser}, objective)
    _correct(trained, before, float(slopes["policy_loser"]) / supposed)
    backward(surrogate_loss(slopes, winner))
    return numbers


def _correct(trained: list[Parameter], before: list[Tensor | None], factor: float) -> None:
    """Multiply the gradients by a factor, and add those from before."""
    for parameter, earlier in zip(trained, before, strict=True):
        if parameter.grad is None:  # of an expert that was not called upon
            parameter.grad = earlier
        else:
            parameter.grad.mul_(factor)
            if earlier is not None:
                parameter.grad.add_(earlier)


def reference_terms(model: VideoModel, adapter: PeftModel, batch: Batch, *, together: bool) -> Terms:
    """Return the reference's errors."""
    with torch.no_grad(), adapter.disable_adapter():
        if together:
            terms = both_terms(model, batch, static=False)
        else:
            terms = {**winner_terms(model, batch, static=False), **loser_terms(model, batch)}
    return {"reference_winner": terms["policy_winner"], "reference_loser": terms["policy_loser"]}


def both_terms(model: VideoModel, batch: Batch, *, static: bool) -> Terms:
    """Return the errors on winners and losers, from one forward pass, and the static penalty if it is asked for."""
    prediction, target = model.prediction_and_target(
        torch.cat([batch.winner, batch.loser]),
        torch.cat([batch.noise, batch.noise]),
        torch.cat([batch.timesteps, batch.timesteps]),
        _twice(batch.conditions),
    )
    winner, loser = denoising_errors(prediction, target).chunk(2)
    penalty = _penalty(model, batch, prediction.chunk(2)[0]) if static else {}
    return {"policy_winner": winner, "policy_loser": loser, **penalty}


def winner_terms(model: VideoModel, batch: Batch, *, static: bool) -> Terms:
    """Return the error on the winners, and the static penalty if it is asked for."""
    prediction, target = model.prediction_and_target(batch.winner, batch.noise, batch.timesteps, batch.conditions)
    penalty = _penalty(model, batch, prediction) if static else {}
    return {"policy_winner": denoising_errors(prediction, target), **penalty}


def loser_terms(model: VideoModel, batch: Batch) -> Terms:
    """Return the error on the losers."""
    prediction, target = model.prediction_and_target(batch.loser, batch.noise, batch.timesteps, batch.conditions)
    return {"policy_loser": denoising_errors(prediction, target)}


def _penalty(model: VideoModel, batch: Batch, prediction: Tensor) -> Terms:
    clean = model.clean_from_prediction(prediction, batch.winner, batch.noise, batch.timesteps)
    return {"static": static_penalty(clean)}


def _slopes(terms: Terms, objective: Objective) -> tuple[Terms, dict[str, float]]:
    """Return the derivatives of the loss along the policy's terms, and what there is to log."""
    leaves: dict[Term, Tensor] = {name: term.detach().requires_grad_() for name, term in terms.items()}
    along: list[Term] = [name for name in leaves if not name.startswith("reference")]
    slopes = torch.autograd.grad(objective(leaves), [leaves[name] for name in along])
    return dict(zip(along, slopes, strict=True)), objective.numbers(leaves)


def surrogate_loss(slopes: Terms, terms: Terms) -> Float[Tensor, ""]:
    """Return a number whose gradient is that of the loss through these terms."""
    return torch.stack([(slopes[name] * term).sum() for name, term in terms.items()]).sum()


def _twice(conditions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([tensor, tensor]) for name, tensor in conditions.items()}
