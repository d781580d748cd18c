"""Intervals for estimates from votes of several raters on several prompts, both of them drawn from a larger number.

Votes of one rater resemble each other, and so do votes on one prompt: an interval that treats votes as independent, or that
resamples prompts alone, is too narrow for what other raters would say. The variance here is that of the two-way random-effects
analysis of variance, applied to the influence of each vote on the estimate (the infinitesimal jackknife, Jaeckel 1972), so that
it holds for any smooth estimate: V = V(prompts) + V(raters) - V(prompt and rater together). The degrees of freedom follow
Satterthwaite 1946, "An Approximate Distribution of Estimates of Variance Components".

Why no bootstrap: one that draws prompts and raters anew (the pigeonhole bootstrap, Owen 2007, "The Pigeonhole Bootstrap",
https://arxiv.org/abs/0712.1111) counts the variance of a single vote up to three times, and, with few raters, takes too little
of theirs, by (R - 1) / R, and normal tails in place of Student's. benchmarks/results/study.md has the coverage of both.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_EXACT = 1e-14


@dataclass(frozen=True)
class Spread:
    """The variance of an estimate, and the degrees of freedom with which it is known."""

    variance: float
    freedom: float
    prompts: float
    """The part of the variance that more prompts would lessen."""
    raters: float
    """The part that more raters would lessen."""

    def half_width(self, confidence: float = 0.95) -> float:
        """Return half the width of the interval around the estimate."""
        return student_quantile((1 + confidence) / 2, self.freedom) * math.sqrt(self.variance)


def crossed_spread(influence: Float[Tensor, " votes"], prompt: Int[Tensor, " votes"], rater: Int[Tensor, " votes"]) -> Spread:
    """Return the variance of an estimate over prompts and raters.

    Args:
        influence: By how much each vote moves the estimate: for a mean, `(value - mean) / votes`. They sum to 0.
        prompt: The number of each vote's prompt, from 0, none left out.
        rater: The number of its rater, from 0, none left out. With a single rater the spread is that over prompts alone.

    Raises:
        ValueError: If there are fewer than two prompts.
    """
    prompts, raters = int(prompt.max()) + 1, int(rater.max()) + 1
    if prompts < 2:
        raise ValueError(f"an interval needs at least two prompts, got {prompts}")
    table = torch.zeros(prompts, raters, dtype=torch.float64).index_put((prompt, rater), influence.double(), accumulate=True)
    filled = torch.zeros(prompts, raters, dtype=torch.bool).index_put((prompt, rater), torch.tensor(True))
    by_prompt = _between(table.sum(1))
    if raters == 1:
        return Spread(by_prompt, float(prompts - 1), by_prompt, 0.0)
    by_rater = _between(table.sum(0))
    together, left = _together(table, filled)
    of_prompts, of_raters = max(by_prompt - together, 0.0), max(by_rater - together, 0.0)
    variance = together + of_prompts + of_raters
    parts = [(by_prompt, prompts - 1) if of_prompts else (0.0, 1), (by_rater, raters - 1) if of_raters else (0.0, 1)]
    parts.append((together, left) if bool(of_prompts) == bool(of_raters) and left else (0.0, 1))
    known = sum(part**2 / freedom for part, freedom in parts)
    return Spread(variance, variance**2 / known if known else float(prompts - 1), of_prompts, of_raters)


def _between(sums: Float[Tensor, " units"]) -> float:
    count = len(sums)
    return float((sums - sums.mean()).square().sum()) * count / (count - 1)


def _together(table: Float[Tensor, "prompts raters"], filled: Tensor) -> tuple[float, int]:
    """Return the variance that prompts and raters each for themselves do not explain, and its degrees of freedom.

    Where too few raters have seen the same prompts to tell it, it is 0, and the sum of the other two is on the safe side.
    """
    cells = int(filled.sum())
    left = cells - sum(filled.shape) + 1
    if left < 1:
        return 0.0, 0
    rest = table.clone()
    for _ in range(1 if filled.all() else 100):  # with cells missing, the two means are found in turn
        rest = torch.where(filled, rest - (rest.sum(1) / filled.sum(1))[:, None], 0.0)
        rest = torch.where(filled, rest - (rest.sum(0) / filled.sum(0))[None], 0.0)
    return float(rest.square().sum()) * cells / left, left


@dataclass(frozen=True)
class Share:
    """A share with its interval, all in [0, 1]."""

    share: float
    low: float
    high: float


def share_of_votes(
    hits: Float[Tensor, " votes"],
    counted: Float[Tensor, " votes"],
    prompt: Int[Tensor, " votes"],
    rater: Int[Tensor, " votes"],
    *,
    confidence: float = 0.95,
) -> Share | None:
    """Return which share of the votes that count hit, with its interval over prompts and raters.

    Args:
        hits: 1 where a vote hits, else 0; 0 where it does not count.
        counted: 1 where a vote counts, 0 where it does not, as a tie among preferences.
        prompt: The number of each vote's prompt, from 0, none left out.
        rater: The number of its rater, from 0, none left out.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The share; None if the votes that count are on fewer than two prompts.
    """
    total, on = float(counted.sum()), torch.unique(prompt[counted > 0])
    if len(on) < 2:
        return None
    share = float(hits.sum()) / total
    spread = crossed_spread((hits.double() - share * counted.double()) / total, prompt, rater)
    low, high = share_interval(share, spread, least=len(on), confidence=confidence)
    return Share(share, low, high)


@dataclass(frozen=True)
class Correlations:
    """How much votes resemble each other beyond the share of hits that all have in common; 0 where they do not at all."""

    of_prompts: float | None
    """The correlation of two raters' votes on the same prompt; None where no two raters voted on the same."""
    of_raters: float | None
    """The correlation of a rater's votes on two prompts; None where no rater voted on two."""


def vote_correlations(
    hits: Float[Tensor, " votes"], prompt: Int[Tensor, " votes"], rater: Int[Tensor, " votes"]
) -> Correlations | None:
    """Estimate how votes on one prompt, and votes of one rater, are correlated.

    Of every vote the share of hits is taken off. The means of the products of two of them, over pairs of the same prompt, pairs
    of the same rater and pairs with neither in common, estimate a v + q, b v + q and q, where v is the variance of a vote, a
    and b are the correlations, and q, near 0, is what the share's own error adds to all three. Votes may be missing, also where
    raters see no difference: the correlations are those on which the variance of the share depends. Estimates may be below 0 by
    chance.

    Args:
        hits: 1 where a vote hits, else 0.
        prompt: The number of each vote's prompt, from 0, none left out.
        rater: The number of its rater, from 0, none left out.

    Returns:
        The correlations; None if all votes are alike, or no two have neither prompt nor rater in common.
    """
    size = (int(prompt.max()) + 1, int(rater.max()) + 1) if len(hits) else (0, 0)
    off = hits.double() - hits.double().mean()
    tables = (
        torch.zeros(size, dtype=torch.float64).index_put((prompt, rater), values, accumulate=True)
        for values in (off, torch.ones_like(off))
    )
    products = [_pairs_in_common(table) for table in tables]
    of_prompt, of_rater, of_neither = (both / pairs if pairs else None for both, pairs in zip(*products, strict=True))
    if of_neither is None:
        return None
    variance = float(off.square().mean()) - of_neither
    if variance < _EXACT:
        return None
    a, b = (None if mean is None else (mean - of_neither) / variance for mean in (of_prompt, of_rater))
    return Correlations(of_prompts=a, of_raters=b)


def _pairs_in_common(table: Float[Tensor, "prompts raters"]) -> tuple[float, float, float]:
    """Return the sums of products of two cells' values: of a prompt alone, of a rater alone, and with neither in common."""
    cells, rows, columns = (float(sums.square().sum()) for sums in (table, table.sum(1), table.sum(0)))
    return rows - cells, columns - cells, float(table.sum()) ** 2 - rows - columns + cells


def share_interval(share: float, spread: Spread, *, least: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a share: Wilson's, with the number of independent votes that the spread amounts to.

    As Korn and Graubard 1998 do for surveys ("Confidence Intervals for Proportions With Small Expected Number of Positive
    Counts Estimated From Survey Data"), here with Wilson's interval and Student's quantile. It stays in [0, 1].

    Args:
        share: The estimate, in [0, 1].
        spread: Its spread.
        least: The number of independent votes that is taken where all votes are alike, so that the spread is 0.
        confidence: Coverage of the interval, in (0, 1).
    """
    alike = spread.variance < _EXACT or share in (0.0, 1.0)
    count, freedom = (float(least), least - 1.0) if alike else (share * (1 - share) / spread.variance, spread.freedom)
    quantile = student_quantile((1 + confidence) / 2, freedom)
    shrunk = quantile**2 / count
    middle = (share + shrunk / 2) / (1 + shrunk)
    half = math.sqrt(shrunk * (share * (1 - share) + shrunk / 4)) / (1 + shrunk)
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)  # what rounding leaves of 0 and 1


def student_quantile(probability: float, freedom: float) -> float:
    """Return the quantile of Student's t for a probability in [0.5, 1); degrees of freedom may be any number above 0."""
    low, high = 0.0, 1.0
    while student_below(high, freedom) < probability:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if student_below(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def student_below(value: float, freedom: float) -> float:
    """Return the probability that Student's t is below a value."""
    tail = 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value * value))
    return 1 - tail if value > 0 else tail


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun 26.5.8)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x > (a + 1) / (a + b + 2):
        return 1 - front * _beta_fraction(b, a, 1 - x) / b
    return front * _beta_fraction(a, b, x) / a


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Evaluate the continued fraction from its end; terms beyond those taken change nothing."""
    value, most = 1.0, 50 + 6 * math.isqrt(int(a + b))
    for m in range(most, 0, -1):
        half = m // 2
        if m % 2:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        value = 1 + term / value
    return 1 / value
