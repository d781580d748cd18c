"""Which two candidates of a group make a pair.

The paper (arXiv 2601.23286) takes the best and the worst, a gap of at least 0.05 apart and with a motion of at least 0.001.
We add that the winner keeps the loser's motion, because geometry rewards otherwise favour frozen clips (docs/papers.md).
"""

from collections.abc import Sequence
from itertools import permutations

from videogpa.config import PairConfig
from videogpa.measures import MEASURES
from videogpa.records import Pair, Score

FEW_SCORED = "fewer than two candidates could be scored"
FEW_MOVING = "fewer than two candidates move enough"
MOTION_LOST = "every better candidate moves too little beside the worse one"
SMALL_GAP = "the gap is too small"


def choose_pair(prompt: str, candidates: Sequence[Score], config: PairConfig) -> Pair:
    """Return the pair with the widest gap among those whose winner keeps enough motion, or the reason why there is none.

    Ties are broken by the candidates' order, so that the same scores always give the same pair.
    """
    scored = [c for c in candidates if c.status == "ok" and _value(c, config) is not None and c.motion is not None]
    if len(scored) < 2:
        return Pair(prompt=prompt, dropped=FEW_SCORED)
    moving = [c for c in scored if _motion(c) >= config.min_motion]
    if len(moving) < 2:
        return Pair(prompt=prompt, dropped=FEW_MOVING)
    matched = [
        (winner, loser) for winner, loser in permutations(moving, 2) if _motion(winner) >= config.keep_motion * _motion(loser)
    ]
    gaps = [_gap(winner, loser, config) for winner, loser in matched]
    best = max(gaps)  # of two candidates, the one that moves more keeps the other's motion: there is a matched pair
    winner, loser = matched[gaps.index(best)]
    if best <= 0:
        return Pair(prompt=prompt, dropped=MOTION_LOST if _spread(moving, config) > 0 else SMALL_GAP)
    if best < config.min_gap:
        return Pair(prompt=prompt, dropped=SMALL_GAP, gap=best)
    ratio = _motion(winner) / _motion(loser) if _motion(loser) > 0 else None
    return Pair(prompt=prompt, winner=winner.clip, loser=loser.clip, gap=best, motion_ratio=ratio)


def _value(score: Score, config: PairConfig) -> float | None:
    value: float | None = getattr(score, config.measure)
    return value


def _motion(score: Score) -> float:
    assert score.motion is not None
    return score.motion


def _gap(winner: Score, loser: Score, config: PairConfig) -> float:
    """How much better the winner is; negative when it is worse."""
    sign = 1 if MEASURES[config.measure].better == "higher" else -1
    return float(sign * (getattr(winner, config.measure) - getattr(loser, config.measure)))


def _spread(scores: Sequence[Score], config: PairConfig) -> float:
    values = [getattr(score, config.measure) for score in scores]
    return float(max(values) - min(values))
