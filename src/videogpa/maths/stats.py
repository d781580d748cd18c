"""Statistics for comparing two treatments on the same items, and for evaluating a score.

The computations are in float64 on the CPU. The paired bootstrap follows Efron and Tibshirani 1993, "An Introduction to the
Bootstrap", chapter 13 (percentile interval).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

RUNS = 10  # as many as a short clip has judged frames by default
RESAMPLES_AT_ONCE = 1000  # bounds the memory, which is this times the number of items


def paired_bootstrap(
    first: Float[Tensor, " items"],
    second: Float[Tensor, " items"],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return (mean, low, high) of second - first: the mean difference and its percentile bootstrap interval.

    Items are resampled, so that the two values of an item stay together. The same seed gives the same interval.

    Args:
        first: Values of the first treatment, one per item.
        second: Values of the second treatment, in the same order.
        confidence: Coverage of the interval, in (0, 1).
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling.

    Raises:
        ValueError: If there are fewer than two items, or the confidence is outside (0, 1).
    """
    if len(first) < 2:
        raise ValueError(f"an interval needs at least two items, got {len(first)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    difference = second.double().cpu() - first.double().cpu()
    generator = torch.Generator().manual_seed(seed)
    means = []
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        count = min(RESAMPLES_AT_ONCE, resamples - start)
        drawn = torch.randint(len(difference), (count, len(difference)), generator=generator)
        means.append(difference[drawn].mean(1))
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    low, high = torch.cat(means).quantile(tails).tolist()
    return difference.mean().item(), low, high


def win_rate(
    first: Float[Tensor, " items"], second: Float[Tensor, " items"], *, lower_is_better: bool, tie: float = 0.0
) -> float:
    """Return the share of items on which the second treatment is better, ties counting half.

    Args:
        first: Values of the first treatment, one per item.
        second: Values of the second treatment, in the same order.
        lower_is_better: Whether the lower value of an item wins.
        tie: Values that differ by at most this are tied.

    Returns:
        The share, in [0, 1]; nan if there are no items.
    """
    wins, losses, ties = _outcomes(first, second, lower_is_better=lower_is_better, tie=tie)
    total = wins + losses + ties
    return (wins + 0.5 * ties) / total if total else math.nan


def sign_test(first: Float[Tensor, " items"], second: Float[Tensor, " items"], *, tie: float = 0.0) -> float:
    """Return the two-sided p-value of the exact sign test, whose null hypothesis is that both are greater equally often.

    Ties carry no information and are left out. If all items are tied, the p-value is 1.

    Args:
        first: Values of the first treatment, one per item.
        second: Values of the second treatment, in the same order.
        tie: Values that differ by at most this are tied.
    """
    wins, losses, _ = _outcomes(first, second, lower_is_better=False, tie=tie)
    total, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(total, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << total))


def spearman(first: Float[Tensor, " items"], second: Float[Tensor, " items"]) -> float:
    """Return Spearman's rank correlation, in [-1, 1]; tied items share their mean rank, and nan means one side is all ties."""
    a, b = (ranks(x) - ranks(x).mean() for x in (first, second))
    spread = (a.square().sum() * b.square().sum()).sqrt()
    return ((a * b).sum() / spread).item() if spread > 0 else math.nan


def auc(low: Float[Tensor, " lows"], high: Float[Tensor, " highs"]) -> float:
    """Return the area under the ROC curve: the probability that a random value of `high` exceeds one of `low`.

    Ties count half.

    Args:
        low: Values of the class that should have the lower ones.
        high: Values of the class that should have the higher ones.

    Returns:
        The area, in [0, 1]; nan if `low` or `high` is empty.
    """
    if not len(low) or not len(high):
        return math.nan
    among_all = ranks(torch.cat([low, high]))[len(low) :].sum()
    return ((among_all - len(high) * (len(high) + 1) / 2) / (len(low) * len(high))).item()


def ranks(values: Float[Tensor, " items"]) -> Float[Tensor, " items"]:
    """Return the rank of every value, from 1, in float64; equal values share the mean of their ranks."""
    _, group, counts = torch.unique(values.double().cpu(), return_inverse=True, return_counts=True)
    mean_rank: Tensor = counts.cumsum(0) - (counts - 1).double() / 2
    return mean_rank[group]


def standard_error(values: Float[Tensor, " items"], shares: Float[Tensor, " items"]) -> Float[Tensor, ""]:
    """Return the standard error of the weighted mean of values at even steps in time.

    The variance is that of successive differences (Wolter 1984, "An Investigation of Some Estimators of Variance for Systematic
    Sampling", estimator 2): a trend over the items is no uncertainty, and a bootstrap that draws items would count it as one.
    More than ten items are first averaged in ten runs of neighbours, whose values are less alike than those of neighbours.

    Args:
        values: Two or more, one per item, in order of time.
        shares: The weight of each item, above 0, in any unit.
    """
    runs = min(len(values), RUNS)
    run = torch.arange(len(values), device=values.device) * runs // len(values)
    weights = torch.zeros_like(values[:runs]).index_add(0, run, shares)
    means = torch.zeros_like(values[:runs]).index_add(0, run, shares * values) / weights
    variance = means.diff().square().sum() / (2 * (runs - 1))
    return (variance * (weights / weights.sum()).square().sum()).sqrt()


def _outcomes(first: Tensor, second: Tensor, *, lower_is_better: bool, tie: float) -> tuple[int, int, int]:
    gain = (first - second if lower_is_better else second - first).double()
    return int((gain > tie).sum()), int((gain < -tie).sum()), int((gain.abs() <= tie).sum())
