"""What training minimises: a loss is a function of the errors on some pairs and the settings, and a line in `LOSSES`.

A loss of one's own is a function that ends in `_output`, a line in `LOSSES`, and its name among those of
`videogpa.config.TrainConfig.loss`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.config import TrainConfig
from videogpa.maths.dpo import dpo_logits, dpo_loss, implicit_accuracy, improvement, safe_share

ErrorName = Literal["policy_winner", "policy_loser", "reference_winner", "reference_loser", "static", "overlap"]

Errors = Mapping[ErrorName, Float[Tensor, " pairs"]]
"""One number per pair: the denoising errors of policy and reference on winner and loser (`videogpa.maths.dpo`); `static`, the
static penalty of the clean winner that the policy predicts (`videogpa.maths.latents`); and `overlap`, the mean product of the
policy's residuals (prediction - target) on winner and loser, without gradients. All of a pair come from the same noise and
timestep. Only those that a loss needs have to be there."""


@dataclass(frozen=True, eq=False)
class LossOutput:
    """The loss of some pairs, and the means over these pairs that the metrics show."""

    loss: Float[Tensor, ""]
    """The mean over the pairs. Gradients flow through it into the policy's errors."""
    logged: Mapping[str, Float[Tensor, ""]]
    """Without gradients: `loss`; `static`, if the static penalty has a weight; and, if the reference's errors were given,
    `winner_gain` and `loser_gain` (by how much the policy denoises each better than the reference), `accuracy` (the share of
    pairs with the larger gain on the winner) and `margin` (the mean of the DPO logits, 0 for a policy equal to its reference).
    """

    def numbers(self) -> dict[str, float]:
        """Return what is logged as plain numbers. On a GPU this waits for the passes to end."""
        return {name: float(value) for name, value in self.logged.items()}


LossFunction = Callable[[Errors, TrainConfig], LossOutput]


def loss_of(errors: Errors, settings: TrainConfig, weights: Float[Tensor, " pairs"] | None = None) -> LossOutput:
    """Return the loss that the settings name, of these pairs.

    Args:
        errors: The errors that the loss needs.
        settings: The loss with its settings.
        weights: Weights of the pairs' losses in their mean; None where all are 1. Other numbers than the loss are not weighted.
    """
    function = LOSSES[settings.loss]
    if weights is None:
        return function(errors, settings)
    logged = function(errors, settings).logged
    one_by_one = [function({name: error[i : i + 1] for name, error in errors.items()}, settings) for i in range(len(weights))]
    loss = (weights * torch.stack([output.loss for output in one_by_one])).mean()
    return LossOutput(loss, {**logged, "loss": loss.detach()})


def dpo(errors: Errors, settings: TrainConfig) -> LossOutput:
    """Return the Diffusion-DPO loss, -log sigmoid(beta / 2 * (winner gain - loser gain)).

    Wallace et al. 2023, https://arxiv.org/abs/2311.12908. Needs all four denoising errors; reads `settings.beta`.
    """
    return _output(dpo_loss(_logits(errors, settings.beta)), errors, settings)


def sft(errors: Errors, settings: TrainConfig) -> LossOutput:
    """Return the policy's error on the winners: plain fine-tuning, the paper's baseline. Needs no other error."""
    return _output(errors["policy_winner"].mean(), errors, settings)


def sdpo(errors: Errors, settings: TrainConfig) -> LossOutput:
    """Return the `dpo` loss with the loser's gradient scaled down so that no step makes the winner worse, to first order.

    Diffusion-SDPO, Fu et al. 2025, https://arxiv.org/abs/2511.03317: `videogpa.maths.dpo.safe_share`. The loss has the value of
    `dpo`. Needs all four denoising errors and `overlap`; reads `settings.beta` and `settings.sdpo_mu`.
    """
    share = safe_share(errors["policy_winner"], errors["overlap"], mu=settings.sdpo_mu)
    loser = errors["policy_loser"]
    scaled = loser.detach() + share * (loser - loser.detach())
    return _output(dpo_loss(_logits({**errors, "policy_loser": scaled}, settings.beta)), errors, settings)


def dpop(errors: Errors, settings: TrainConfig) -> LossOutput:
    """Return the `dpo` loss with a penalty in the logit where the policy denoises the winner worse than the reference does.

    DPO-Positive, Pal et al. 2024, https://arxiv.org/abs/2402.13228, eq. 3: the logit loses `settings.dpop_lambda` * beta / 2 *
    max(0, -winner gain). Needs all four denoising errors.
    """
    worse = -improvement(errors["policy_winner"], errors["reference_winner"])
    penalty = 0.5 * settings.beta * settings.dpop_lambda * worse.clamp(min=0)
    return _output(dpo_loss(_logits(errors, settings.beta) - penalty), errors, settings)


def linear(errors: Errors, settings: TrainConfig) -> LossOutput:
    """Return log 2 - w * logit with w = 1/2 - 0.4 * logit, clipped to [eta, 1 - eta] and without gradients.

    The weight is that of `dpo`, a sigmoid, made linear with a floor `settings.linear_eta`: a pair that is learned goes on to
    count. As in https://arxiv.org/abs/2605.21123 (there with a moving reference). Needs all four denoising errors.
    """
    logits = _logits(errors, settings.beta)
    weights = (0.5 - 0.4 * logits.detach()).clamp(settings.linear_eta, 1 - settings.linear_eta)
    return _output(math.log(2) - (weights * logits).mean(), errors, settings)


def with_winners(preference: LossFunction) -> LossFunction:
    """Return a loss plus `settings.sft_weight` * the policy's error on the winners, which keeps that error from growing.

    As Reg-DPO, https://arxiv.org/abs/2511.01450, does with `dpo`.
    """

    def both(errors: Errors, settings: TrainConfig) -> LossOutput:
        output = preference(errors, settings)
        loss = output.loss + settings.sft_weight * errors["policy_winner"].mean()
        return LossOutput(loss, {**output.logged, "loss": loss.detach()})

    return both


PREFERENCES: dict[str, LossFunction] = {"dpo": dpo, "sdpo": sdpo, "dpop": dpop, "linear": linear}
LOSSES: dict[str, LossFunction] = {
    "sft": sft,
    **PREFERENCES,
    **{f"{name}+sft": with_winners(loss) for name, loss in PREFERENCES.items()},
}

_WINNERS_ONLY = {"sft"}


def needs_reference(loss: str) -> bool:
    """Return whether the loss of that name needs losers and reference; else training runs the policy on the winners alone."""
    return loss not in _WINNERS_ONLY


def loss_at_reference(settings: TrainConfig) -> float | None:
    """Return the loss of a policy that equals its reference; None if that depends on the data.

    It is log 2 for `dpo` without weights. `sft`, the losses with it and the static penalty contain the errors themselves, and a
    weight depends on the timestep or the pair: there, the held-out metrics of step 0 hold the value, since a fresh adapter
    changes nothing.
    """
    if settings.timesteps.weighting != "none" or settings.pair_weighting != "none":
        return None
    # Errors of two different made-up pairs: a value that both give is one that no pair changes.
    values = [float(LOSSES[settings.loss](_as_reference(*pair), settings).loss) for pair in ((0.25, 0.5), (1.0, 0.75))]
    return values[0] if math.isclose(*values) else None


def _as_reference(winner: float, loser: float) -> Errors:
    """The errors of a policy that equals its reference, on one pair."""
    w, l_ = torch.tensor([winner]), torch.tensor([loser])
    return {"policy_winner": w, "reference_winner": w, "policy_loser": l_, "reference_loser": l_, "static": -w, "overlap": w}


def _output(loss: Float[Tensor, ""], errors: Errors, settings: TrainConfig) -> LossOutput:
    """Add the static penalty to a loss, if it has a weight, and collect what is logged."""
    logged = {}
    if settings.static_weight:
        static = errors["static"].mean()
        loss = loss + settings.static_weight * static
        logged["static"] = static
    if "reference_winner" in errors:
        logits = _logits(errors, settings.beta)
        logged["winner_gain"] = improvement(errors["policy_winner"], errors["reference_winner"]).mean()
        logged["loser_gain"] = improvement(errors["policy_loser"], errors["reference_loser"]).mean()
        logged["accuracy"] = implicit_accuracy(logits)
        logged["margin"] = logits.mean()
    return LossOutput(loss, {name: value.detach() for name, value in {"loss": loss, **logged}.items()})


def _logits(errors: Errors, beta: float) -> Float[Tensor, " pairs"]:
    return dpo_logits(
        policy_winner=errors["policy_winner"],
        policy_loser=errors["policy_loser"],
        reference_winner=errors["reference_winner"],
        reference_loser=errors["reference_loser"],
        beta=beta,
    )
