"""How many groups became pairs, and where the others were lost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from videogpa.records import Pair
from videogpa.stages.pair.pairing import FEW_MOVING, FEW_SCORED, MOTION_LOST


@dataclass(frozen=True)
class Funnel:
    """Counts of groups, each the rest of the one before. `pairs` is what remains after the gap."""

    groups: int
    scored: int
    moving: int
    matched: int
    pairs: int


def funnel(rows: Sequence[Pair]) -> Funnel:
    """Count the rows of pairs.jsonl by how far they came."""
    lost = Counter(row.dropped for row in rows)
    scored = len(rows) - lost[FEW_SCORED]
    moving = scored - lost[FEW_MOVING]
    return Funnel(len(rows), scored, moving, moving - lost[MOTION_LOST], sum(row.dropped is None for row in rows))
