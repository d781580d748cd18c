"""What people's votes between two clips say: how far raters agree, and how strong several methods are.

Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability". Davidson 1970, "On Extending the Bradley-Terry Model to
Accommodate Ties in Paired Comparison Experiments".
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

MISSING = -1
"""In a table of answers: the rater gave none."""

_PRIOR = 0.5  # votes of each outcome that every compared pair is given, so that an arm that always wins has a finite strength
_STEPS = 100  # of Newton's method, which takes five to ten


def krippendorff_alpha(answers: Int[Tensor, "items raters"]) -> float:
    """Return Krippendorff's alpha for unordered answers: 1 if raters always agree, 0 if as often as by chance.

    Items with fewer than two answers say nothing and are left out.

    Args:
        answers: A number for each answer, `MISSING` where there is none.

    Returns:
        At most 1; nan if no item has two answers, or all answers are the same.
    """
    counts = _counts(answers)
    counts = counts[counts.sum(1) >= 2]
    per_item, per_kind = counts.sum(1), counts.sum(0)
    total = per_kind.sum()
    expected = (total**2 - per_kind.square().sum()) / (total - 1)
    observed = ((per_item**2 - counts.square().sum(1)) / (per_item - 1)).sum()
    return float(1 - observed / expected) if len(counts) and expected > 0 else math.nan


def pairwise_agreement(answers: Int[Tensor, "items raters"]) -> float:
    """Return how often two raters give the same answer to an item, over all pairs of answers to the same item.

    Args:
        answers: A number for each answer, `MISSING` where there is none.

    Returns:
        The share, in [0, 1]; nan if no item has two answers.
    """
    counts = _counts(answers)
    same, pairs = (counts * (counts - 1)).sum(), (counts.sum(1) * (counts.sum(1) - 1)).sum()
    return float(same / pairs) if pairs > 0 else math.nan


def _counts(answers: Int[Tensor, "items raters"]) -> Float[Tensor, "items kinds"]:
    """Return how many raters gave each answer to each item."""
    kinds = torch.arange(int(answers.max()) + 1 if answers.numel() else 1)
    return (answers[:, :, None] == kinds).sum(1).double()


@dataclass(frozen=True)
class Davidson:
    """Davidson's model, fitted: `P(i beats j)` is proportional to `exp(s_i)`, that of a tie to `exp(t + (s_i + s_j) / 2)`."""

    strengths: Float[Tensor, " arms"]
    """`s`, that of the first arm being 0: the logarithm of how many times more often an arm wins than loses against it."""
    tie: float
    """`t`: above 0 where ties between equals are more frequent than wins of one of them."""
    influence: Float[Tensor, "votes arms"]
    """By how much each vote moves each strength: see `maths.crossed`."""


def davidson(
    first: Int[Tensor, " votes"], second: Int[Tensor, " votes"], outcome: Int[Tensor, " votes"], arms: int
) -> Davidson:
    """Fit Davidson's model to votes, by the greatest likelihood; half a vote of each outcome is added to each compared pair.

    Args:
        first: The arm that each vote compares, from 0.
        second: The arm that it is compared with.
        outcome: 0 where `first` was preferred, 1 where `second` was, 2 where neither.
        arms: How many there are.

    Raises:
        ValueError: If an arm is not compared with the others, not even through further arms.
    """
    _require_connected(first, second, arms)
    pairs = torch.unique(torch.stack([first, second], 1), dim=0)
    every = torch.cat([torch.stack([first, second], 1), pairs.repeat_interleave(3, 0)])
    seen = torch.cat([outcome, torch.arange(3).repeat(len(pairs))])
    weight = torch.cat([torch.ones(len(first)), torch.full((3 * len(pairs),), _PRIOR)]).double()
    design = _design(every, arms)
    parameters = torch.zeros(arms, dtype=torch.float64)
    for _ in range(_STEPS):
        scores, hessian = _derivatives(design, seen, parameters, weight)
        step = torch.linalg.solve(hessian, (weight[:, None] * scores).sum(0))
        parameters = parameters + step
        if step.abs().max() < 1e-10:
            break
    scores, hessian = _derivatives(design, seen, parameters, weight)
    moved = torch.linalg.solve(hessian, scores[: len(first)].T).T
    zero = torch.zeros(1, dtype=torch.float64)
    return Davidson(
        strengths=torch.cat([zero, parameters[:-1]]),
        tie=float(parameters[-1]),
        influence=torch.cat([torch.zeros(len(first), 1, dtype=torch.float64), moved[:, :-1]], 1),
    )


def _design(pairs: Int[Tensor, "votes 2"], arms: int) -> Float[Tensor, "votes 3 parameters"]:
    """Return how much each parameter adds to the log odds of each outcome. Parameters: all strengths but the first, the tie."""
    strengths = torch.eye(arms, dtype=torch.float64)[:, 1:]
    won, lost = strengths[pairs[:, 0]], strengths[pairs[:, 1]]
    tie = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(len(pairs), 3)
    return torch.cat([torch.stack([won, lost, (won + lost) / 2], 1), tie[..., None]], 2)


def _derivatives(
    design: Float[Tensor, "votes 3 parameters"],
    seen: Int[Tensor, " votes"],
    parameters: Float[Tensor, " parameters"],
    weight: Float[Tensor, " votes"],
) -> tuple[Float[Tensor, "votes parameters"], Float[Tensor, "parameters parameters"]]:
    """Return each vote's gradient of the log-likelihood, and the negative Hessian of all, which is positive definite."""
    chances = (design @ parameters).softmax(1)
    mean = torch.einsum("vo,vop->vp", chances, design)
    centred = design - mean[:, None]
    hessian = torch.einsum("v,vo,vop,voq->pq", weight, chances, centred, centred)
    return design[torch.arange(len(seen)), seen] - mean, hessian


def _require_connected(first: Tensor, second: Tensor, arms: int) -> None:
    reached = {0}
    edges = set(zip(first.tolist(), second.tolist(), strict=True))
    for _ in range(arms):
        reached |= {b for edge in edges if reached & set(edge) for b in edge}
    if len(reached) < arms:
        raise ValueError(f"arms {sorted(set(range(arms)) - reached)} are compared with none of the others")
