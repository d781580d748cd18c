"""How many prompts and raters a study needs to find an effect: the power of the interval of `videogpa study read`.

The variance of a win rate among votes that are no ties is

    p (1 - p) (a / P + b / R + (1 / (1 - t) - a - b) / (P R))

for P prompts, R raters, a share t of ties, and the correlations a of two raters' votes on one prompt and b of one rater's votes
on two prompts. More raters lessen the last two parts alone, more prompts the first and the last: with few raters no number of
prompts finds a small effect for other raters. benchmarks/results/study.md compares the power with that of simulated studies.
"""

import math
from dataclasses import dataclass

from videogpa.errors import InvalidInput
from videogpa.maths.crossed import student_below, student_quantile

RATERS = (2, 3, 5, 8, 12, 20, 30)
"""Numbers of raters that a plan lists."""

MOST_PROMPTS = 2000


@dataclass(frozen=True)
class Votes:
    """What votes are like, as far as it can be guessed before a study."""

    ties: float = 0.2
    """The share of votes that prefer neither clip."""
    of_prompts: float = 0.3
    """The correlation of two raters' votes on the same prompt."""
    of_raters: float = 0.02
    """The correlation of a rater's votes on two prompts."""

    def power(self, win_rate: float, prompts: int, raters: int) -> float:
        """Return the probability that a study's 95 % interval leaves one half out."""
        rest = (1 / (1 - self.ties) - self.of_prompts - self.of_raters) / (prompts * raters)
        by_prompt, by_rater = self.of_prompts / prompts + rest, self.of_raters / raters + rest
        spread = by_prompt + by_rater - rest
        known = by_prompt**2 / (prompts - 1) + by_rater**2 / (raters - 1) + rest**2 / ((prompts - 1) * (raters - 1))
        freedom = spread**2 / known
        needed = 0.5 * math.sqrt(spread) * student_quantile(0.975, freedom)
        return student_below((abs(win_rate - 0.5) - needed) / math.sqrt(win_rate * (1 - win_rate) * spread), freedom)

    def prompts_needed(self, win_rate: float, raters: int, power: float) -> int | None:
        """Return the least number of prompts with that power; None if `MOST_PROMPTS` do not suffice."""
        if self.power(win_rate, MOST_PROMPTS, raters) < power:
            return None
        low, high = 1, MOST_PROMPTS
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(win_rate, middle, raters) >= power else (middle, high)
        return high

    def win_rate_found(self, prompts: int, raters: int, power: float) -> float | None:
        """Return the least win rate above one half that is found with that power; None if none is."""
        low, high = 0.5, 0.999
        if self.power(high, prompts, raters) < power:
            return None
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(middle, prompts, raters) >= power else (middle, high)
        return high


@dataclass(frozen=True)
class Plan:
    """What a study of a size finds, and which sizes find an effect."""

    win_rate: float
    pairs: int
    raters: int
    power: float
    """The wanted probability of finding the effect."""
    votes: Votes
    has_power: float
    """That of a study of `pairs` prompts and `raters` raters to find `win_rate`."""
    finds: float | None
    """The least win rate that such a study finds with the wanted probability."""
    prompts: dict[int, int | None]
    """For each number of raters how many prompts find `win_rate` with the wanted probability."""


def plan(win_rate: float, pairs: int, raters: int, power: float, votes: Votes) -> Plan:
    """Plan a study.

    Raises:
        InvalidInput: If a number is impossible.
    """
    if not 0.5 < win_rate < 1:
        raise InvalidInput(f"--win-rate takes a number above 0.5 and below 1, got {win_rate:g}")
    if not 0.5 <= power < 1:
        raise InvalidInput(f"--power takes a number from 0.5 to below 1, got {power:g}")
    if not 0 <= votes.ties < 1:
        raise InvalidInput(f"--ties takes a number from 0 to below 1, got {votes.ties:g}")
    if min(votes.of_prompts, votes.of_raters) < 0 or votes.of_prompts + votes.of_raters >= 1:
        raise InvalidInput("--of-prompts and --of-raters take numbers from 0, whose sum is below 1")
    if pairs < 2 or raters < 2:
        raise InvalidInput(f"a study takes two or more prompts and raters, got {pairs} and {raters}")
    return Plan(
        win_rate=win_rate,
        pairs=pairs,
        raters=raters,
        power=power,
        votes=votes,
        has_power=votes.power(win_rate, pairs, raters),
        finds=votes.win_rate_found(pairs, raters, power),
        prompts={count: votes.prompts_needed(win_rate, count, power) for count in RATERS},
    )
