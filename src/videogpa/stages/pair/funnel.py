"""How many groups became pairs, where the others were lost, and how the numbers that decide it are spread."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from videogpa.records import Pair
from videogpa.stages.pair.pairing import FEW_MOVING, FEW_SCORED, MOTION_LOST, NO_WINNER, SMALL_GAP

STEPS = {
    "two or more candidates scored": FEW_SCORED,
    "two or more of them move": FEW_MOVING,
    "one good enough to win": NO_WINNER,
    "a gap wide enough": SMALL_GAP,
    "a winner that keeps the motion": MOTION_LOST,
}
"""What a group must have, in the order in which it is asked, and the reason it is dropped for if it lacks it."""

DISTRIBUTIONS = {
    "spread": "best against worst candidate of a group",
    "gap": "winner against loser of a pair",
    "winner_score": "winners",
    "loser_score": "losers",
    "motion_ratio": "the winner's motion as a share of the loser's",
}
"""Columns of pairs.jsonl that say how the settings of `pair` bite."""


@dataclass(frozen=True)
class Funnel:
    """What became of the groups: `left` counts those that had what each of `STEPS` asks and all before it."""

    groups: int
    left: dict[str, int]
    pairs: int


def funnel(rows: Sequence[Pair]) -> Funnel:
    """Count the rows of pairs.jsonl."""
    lost = Counter(row.dropped for row in rows)
    groups = remaining = len({row.prompt for row in rows})
    left = {}
    for step, reason in STEPS.items():
        remaining -= lost[reason]
        left[step] = remaining
    return Funnel(groups, left, sum(row.dropped is None for row in rows))


def distribution(rows: Sequence[Pair], column: str) -> list[float]:
    """Return the known values of one of `DISTRIBUTIONS`, sorted. Of gaps those of pairs only; of spreads one per group."""
    chosen = [row for row in rows if (row.rank == 0 if column == "spread" else row.dropped is None)]
    return sorted(value for row in chosen if (value := getattr(row, column)) is not None)
