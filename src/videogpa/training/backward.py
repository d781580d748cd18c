"""The forward and backward passes of a batch: `joint`, and `loser_first` with half the activations in memory.

Policy and reference are one network: the reference is the policy with its adapter off, or with a frozen copy of the one that
training started from. First the two ways to the gradients, then the errors that both start from.
"""

from collections.abc import Callable, Mapping
from statistics import fmean

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor
from torch.nn import Parameter

from videogpa.config import TrainConfig
from videogpa.maths.dpo import mean_square, overlap, residuals
from videogpa.maths.latents import static_penalty
from videogpa.models.adapters import reference_of
from videogpa.models.base import VideoModel
from videogpa.training.data import Batch
from videogpa.training.losses import ErrorName, Errors, LossOutput, loss_of, needs_reference

Backpropagate = Callable[[Tensor], None]
"""Adds the gradients of a number to those of the adapter, each number with the weight that its batch has in the step."""


def joint(
    model: VideoModel, adapter: PeftModel, batch: Batch, settings: TrainConfig, backpropagate: Backpropagate
) -> dict[str, float]:
    """Add the gradients of the batch's loss, with winners and losers in one forward pass of the policy.

    Args:
        model: The video model, whose transformer carries the adapter.
        adapter: The adapter that is trained. For the reference it is switched off, or to its start (`reference_of`).
        batch: Pairs with their noise and timesteps.
        settings: The loss, with its settings.
        backpropagate: Called once, with the mean loss of the pairs.

    Returns:
        What is logged of the batch: `LossOutput.numbers`.
    """
    static = settings.static_weight > 0
    errors: Errors
    if needs_reference(settings.loss):
        errors = {**reference_errors(model, adapter, batch, joint=True), **joint_errors(model, batch, static=static)}
    else:
        errors = winner_errors(model, batch, static=static)
    output = loss_of(errors, settings, batch.weights)
    backpropagate(output.loss)
    return output.numbers()


def loser_first(
    model: VideoModel, adapter: PeftModel, batch: Batch, settings: TrainConfig, backpropagate: Backpropagate
) -> dict[str, float]:
    """Add the same gradients as `joint`, with the activations of one clip in memory at a time.

    The loss L of a pair depends on the policy's weights θ through its errors e_w on the winner and e_l on the loser alone (the
    static penalty counts as the winner's), so that

        dL/dθ = a · de_l/dθ + b · de_w/dθ,    a = dL/de_l,    b = dL/de_w.

    a is known only after both forward passes, when the loser's activations are to be gone. Hence, pair by pair: run the loser
    and backpropagate β · e_l; run the winner, which gives a and b; multiply the loser's gradients by a / β; backpropagate
    b · e_w. β is the right size for the guess, since |a| ≤ β / 2 for DPO: gradients in float16 stay within their range.

    Args and return value are those of `joint`. A copy of the adapter's gradients is kept meanwhile.
    """
    if not needs_reference(settings.loss):
        return joint(model, adapter, batch, settings, backpropagate)

    def share(loss: Tensor) -> None:
        backpropagate(loss / len(batch))

    pairs = [_loser_first(model, adapter, pair, settings, share) for pair in batch.split()]
    return {name: fmean(numbers[name] for numbers in pairs) for name in pairs[0]}


def _loser_first(
    model: VideoModel, adapter: PeftModel, pair: Batch, settings: TrainConfig, backpropagate: Backpropagate
) -> dict[str, float]:
    """Add the gradients of one pair."""
    reference = reference_errors(model, adapter, pair, joint=False)
    trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    earlier = [parameter.grad for parameter in trained]  # of the pairs before, not to be rescaled
    adapter.zero_grad()
    lost = _residual(model, pair, pair.loser)
    backpropagate(settings.beta * mean_square(lost).sum())
    lost = lost.detach()  # the backward pass has freed its graph
    winner, won = _winner(model, pair, static=settings.static_weight > 0)
    loser: Errors = {"policy_loser": mean_square(lost), "overlap": overlap(won, lost)}
    slopes, output = _slopes({**reference, **winner, **loser}, settings, pair.weights)
    _rescale(trained, float(slopes["policy_loser"]) / settings.beta, earlier)
    backpropagate(surrogate_loss(slopes, winner))
    return output.numbers()


def _slopes(errors: Errors, settings: TrainConfig, weights: Tensor | None) -> tuple[Errors, LossOutput]:
    """Return the derivative of the loss by each of the policy's errors, and the loss."""
    leaves: dict[ErrorName, Tensor] = {name: error.detach().requires_grad_() for name, error in errors.items()}
    output = loss_of(leaves, settings, weights)
    policys: list[ErrorName] = [name for name in leaves if name in ("policy_winner", "policy_loser", "static")]
    slopes = torch.autograd.grad(output.loss, [leaves[name] for name in policys])
    return dict(zip(policys, slopes, strict=True)), output


def _rescale(trained: list[Parameter], factor: float, earlier: list[Tensor | None]) -> None:
    """Multiply the gradients by a factor, then add the earlier ones."""
    for parameter, before in zip(trained, earlier, strict=True):
        if parameter.grad is None:  # the parameter belongs to an expert that did not run
            parameter.grad = before
        else:
            parameter.grad.mul_(factor)
            if before is not None:
                parameter.grad.add_(before)


def surrogate_loss(slopes: Errors, errors: Errors) -> Float[Tensor, ""]:
    """Return the sum of dL/d(error) · error, with dL/d(error) constant: its gradient is that of the loss L."""
    return torch.stack([(slopes[name] * error).sum() for name, error in errors.items()]).sum()


def reference_errors(model: VideoModel, adapter: PeftModel, batch: Batch, *, joint: bool) -> Errors:
    """Return the reference's errors on winners and losers, from one forward pass or (not `joint`) from two."""
    with torch.no_grad(), reference_of(adapter):
        errors = (joint_errors if joint else separate_errors)(model, batch, static=False)
    return {"reference_winner": errors["policy_winner"], "reference_loser": errors["policy_loser"]}


def joint_errors(model: VideoModel, batch: Batch, *, static: bool) -> Errors:
    """Return the policy's errors on winners and losers from one forward pass, and the static penalty if `static`."""
    prediction, target = model.prediction_and_target(
        torch.cat([batch.winner, batch.loser]),
        torch.cat([batch.noise, batch.noise]),
        torch.cat([batch.timesteps, batch.timesteps]),
        _twice(batch.conditions),
    )
    won, lost = residuals(prediction, target).chunk(2)
    penalty = _penalty(model, batch, prediction.chunk(2)[0]) if static else {}
    return {"policy_winner": mean_square(won), "policy_loser": mean_square(lost), "overlap": overlap(won, lost), **penalty}


def winner_errors(model: VideoModel, batch: Batch, *, static: bool) -> Errors:
    """Return the policy's error on the winners, and the static penalty if `static`."""
    return _winner(model, batch, static=static)[0]


def separate_errors(model: VideoModel, batch: Batch, *, static: bool) -> Errors:
    """Return the same as `joint_errors` from two forward passes."""
    winner, won = _winner(model, batch, static=static)
    lost = _residual(model, batch, batch.loser)
    return {**winner, "policy_loser": mean_square(lost), "overlap": overlap(won, lost)}


def _winner(model: VideoModel, batch: Batch, *, static: bool) -> tuple[Errors, Tensor]:
    """Return the error on the winners, with the penalty if it is wanted, and the residual."""
    prediction, target = model.prediction_and_target(batch.winner, batch.noise, batch.timesteps, batch.conditions)
    won = residuals(prediction, target)
    penalty = _penalty(model, batch, prediction) if static else {}
    return {"policy_winner": mean_square(won), **penalty}, won


def _residual(model: VideoModel, batch: Batch, clean: Tensor) -> Tensor:
    return residuals(*model.prediction_and_target(clean, batch.noise, batch.timesteps, batch.conditions))


def _penalty(model: VideoModel, batch: Batch, prediction: Tensor) -> Errors:
    clean = model.clean_from_prediction(prediction, batch.winner, batch.noise, batch.timesteps)
    return {"static": static_penalty(clean)}


def _twice(conditions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([tensor, tensor]) for name, tensor in conditions.items()}
