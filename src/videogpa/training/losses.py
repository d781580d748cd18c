"""What training minimises. A loss is a function of the pairs' errors, and one line in `LOSSES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from videogpa.maths.dpo import dpo_logits, dpo_loss, implicit_accuracy, improvement

Term = Literal["policy_winner", "policy_loser", "reference_winner", "reference_loser", "static"]
"""Four denoising errors, and the static penalty of what the policy takes the winner for."""

COMPARED = ("winner_gain", "loser_gain", "accuracy", "margin")
"""What can be said of a policy beside its reference: see `Objective.numbers`."""

Terms = Mapping[Term, Float[Tensor, " pairs"]]


@dataclass(frozen=True)
class Loss:
    """A loss, and whether it compares: if not, only the winners are shown to the policy, and the reference is not asked."""

    of: "Callable[[Terms, Objective], Tensor]"
    compares: bool


@dataclass(frozen=True)
class Objective:
    """A loss with its settings: see `videogpa.config.TrainConfig`."""

    loss: str
    beta: float
    sft_weight: float = 0.0
    static_weight: float = 0.0

    @property
    def compares(self) -> bool:
        """Whether losers and reference take part in the loss."""
        return LOSSES[self.loss].compares

    def __call__(self, terms: Terms) -> Float[Tensor, ""]:
        """Return the mean loss of the pairs."""
        loss = LOSSES[self.loss].of(terms, self)
        return loss + self.static_weight * terms["static"].mean() if self.static_weight else loss

    def names(self, *, compared: bool) -> tuple[str, ...]:
        """Return the names of what `numbers` returns, for terms with or without a comparison."""
        return ("loss", *(("static",) if self.static_weight else ()), *(COMPARED if compared else ()))

    def numbers(self, terms: Terms) -> dict[str, float]:
        """Return what there is to log: means over the pairs.

        `winner_gain` and `loser_gain` say by how much the policy denoises each better than the reference; `margin` is the mean
        of the logits, 0 for a policy equal to its reference. They are there only if the terms are.
        """
        logged = {"loss": self(terms), **({"static": terms["static"].mean()} if self.static_weight else {})}
        if "reference_winner" in terms:
            logits = _logits(terms, self.beta)
            logged |= {
                "winner_gain": improvement(terms["policy_winner"], terms["reference_winner"]).mean(),
                "loser_gain": improvement(terms["policy_loser"], terms["reference_loser"]).mean(),
                "accuracy": implicit_accuracy(logits),
                "margin": logits.mean(),
            }
        return {name: float(value.detach()) for name, value in logged.items()}


def _logits(terms: Terms, beta: float) -> Float[Tensor, " pairs"]:
    return dpo_logits(
        policy_winner=terms["policy_winner"],
        policy_loser=terms["policy_loser"],
        reference_winner=terms["reference_winner"],
        reference_loser=terms["reference_loser"],
        beta=beta,
    )


def _dpo(terms: Terms, objective: Objective) -> Tensor:
    return dpo_loss(_logits(terms, objective.beta))


def _sft(terms: Terms, objective: Objective) -> Tensor:
    return terms["policy_winner"].mean()


def _dpo_and_sft(terms: Terms, objective: Objective) -> Tensor:
    return _dpo(terms, objective) + objective.sft_weight * _sft(terms, objective)


LOSSES = {
    "dpo": Loss(_dpo, compares=True),  # Wallace et al. 2023, arXiv 2311.12908
    "sft": Loss(_sft, compares=False),  # the paper's baseline: plain fine-tuning on the winners
    "dpo+sft": Loss(_dpo_and_sft, compares=True),  # as Reg-DPO, arXiv 2511.01450: the winner's likelihood may not fall
}
