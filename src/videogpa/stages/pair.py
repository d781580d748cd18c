"""pair: make the best and the worst candidate of a prompt a preference pair.

In: clips.jsonl and scores.jsonl. Out: pairs.jsonl, with a row for every pair, and for every group of candidates that gave
none a row with the reason.

VideoGPA (https://arxiv.org/abs/2601.23286) pairs the best and the worst candidate if their scores are at least 0.05 apart and
their motion is at least 0.001. We add conditions: the winner keeps the loser's motion, since a reward for geometry would
otherwise favour frozen clips (docs/science/papers.md); and, if `pair.winner_threshold` is set, the winner is good, not only
better. Both scores are reliable enough (`pair.min_reliability`), and the gap is wider than their standard errors leave open
(`pair.min_sigma`). Where pixels are named (`score.scene`), neither the camera nor the subjects may lose motion.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import get_args

from videogpa.config import PairConfig, Recipe
from videogpa.measures import MEASURES
from videogpa.records import Pair, Reliability, Score
from videogpa.storage import manifests
from videogpa.storage.fingerprints import fingerprint
from videogpa.storage.run_folder import RunFolder


def run(recipe: Recipe, folder: RunFolder) -> list[Pair]:
    """Pair the scored candidates of every prompt.

    Args:
        recipe: The section `pair` and the name of the scoring critic are read.
        folder: The run folder.

    Returns:
        The rows of pairs.jsonl, prompt by prompt: pairs, or one row with the reason why there is none.
    """
    pairs = manifests.pairs(folder)
    chosen: dict[str, Pair] = {}
    wanted: dict[str, str] = {}
    for prompt, group in _candidates(recipe.score.critic, folder).items():
        made_from = fingerprint(recipe.pair, recipe.score.critic, [(row.clip, row.fingerprint) for row in group])
        for pair in choose_pairs(prompt, group, recipe.pair):
            chosen[pairs.key(pair)] = pair
            wanted[pairs.key(pair)] = made_from
    return pairs.update(wanted, lambda keys: [chosen[key] for key in keys])


def _candidates(critic: str, folder: RunFolder) -> dict[str, list[Score]]:
    """Return the critic's scores of every prompt's clips, in the order of clips.jsonl."""
    scores = {row.clip: row for row in manifests.scores(folder).rows() if row.critic == critic}
    groups: dict[str, list[Score]] = {}
    for clip in manifests.clips(folder).rows():
        groups.setdefault(clip.prompt, []).extend([scores[clip.clip]] if clip.clip in scores else [])
    return groups


# Choosing the pairs of one group.

FEW_SCORED = "fewer than two candidates could be scored"
UNRELIABLE = "fewer than two candidates are reliable enough"
FEW_MOVING = "fewer than two candidates move enough"
NO_WINNER = "no candidate is good enough to win"
SMALL_GAP = "the gap is too small"
UNSURE = "the gap is within the standard errors of the scores"
MOTION_LOST = "every better candidate moves too little beside the worse one"

PARTS = ("camera_flow", "subject_flow")
"""Columns of motion that rows have where pixels are named (`score.scene`)."""

GRADES = get_args(Reliability)[::-1]
"""From the lowest up."""

Match = tuple[Score, Score]
"""A possible winner, and its loser."""


def choose_pairs(prompt: str, candidates: Sequence[Score], config: PairConfig) -> list[Pair]:
    """Choose the preference pairs of one prompt's candidates.

    With `config.clips_once` a clip is in one pair at most. Ties are broken by the order of the candidates, so that equal scores
    give equal pairs.

    Args:
        prompt: The id of the prompt.
        candidates: The scores of its clips by one critic. Only those with status `ok` take part.
        config: The measure to compare by and the conditions on a pair.

    Returns:
        At most `config.per_group` pairs, the widest gap first; or a single row whose `dropped` says why there is no pair.

    Example:
        >>> scores = [
        ...     Score(clip="p/0", critic="sfm", status="ok", loo_error=0.2, flow=0.01),
        ...     Score(clip="p/1", critic="sfm", status="ok", loo_error=0.4, flow=0.01),
        ... ]
        >>> [(pair.winner, pair.loser) for pair in choose_pairs("p", scores, PairConfig(measure="loo_error"))]
        [('p/0', 'p/1')]
    """
    scored = [c for c in candidates if c.status == "ok" and _known(c, config)]
    if len(scored) < 2:
        return [Pair(prompt=prompt, dropped=FEW_SCORED)]
    spread = max(_gap(match, config) for match in permutations(scored, 2))
    reliable = [c for c in scored if _reliable(c, config)]
    if len(reliable) < 2:
        return [Pair(prompt=prompt, spread=spread, dropped=UNRELIABLE)]
    moving = [c for c in reliable if _motion(c, config) >= config.min_motion]
    if len(moving) < 2:
        return [Pair(prompt=prompt, spread=spread, dropped=FEW_MOVING)]
    matches = [(winner, loser) for winner, loser in permutations(moving, 2) if _good(winner, config)]
    matched = [match for match in matches if _keeps_motion(match, config)]
    sure = sorted((m for m in matched if _sure(m, config)), key=lambda m: -_gap(m, config))
    if config.clips_once:
        sure = _disjoint(sure)
    if sure:
        return [_pair(prompt, rank, match, spread, config) for rank, match in enumerate(sure[: config.per_group])]
    gap = max((_gap(match, config) for match in matched), default=None)
    return [Pair(prompt=prompt, spread=spread, gap=gap, dropped=_reason(matches, config))]


def _reason(matches: Sequence[Match], config: PairConfig) -> str:
    """Return why none of these matches became a pair."""
    if not matches:
        return NO_WINNER
    if not any(_wide(match, config) for match in matches):
        return SMALL_GAP
    return MOTION_LOST if any(_sure(match, config) for match in matches) else UNSURE


def _pair(prompt: str, rank: int, match: Match, spread: float, config: PairConfig) -> Pair:
    winner, loser = match
    winner_motion, loser_motion = _motion(winner, config), _motion(loser, config)
    return Pair(
        prompt=prompt,
        rank=rank,
        winner=winner.clip,
        loser=loser.clip,
        winner_score=_value(winner, config.measure),
        loser_score=_value(loser, config.measure),
        gap=_gap(match, config),
        spread=spread,
        sigmas=_sigmas(match, config),
        motion_ratio=winner_motion / loser_motion if loser_motion > 0 else None,
    )


def _disjoint(matches: Sequence[Match]) -> list[Match]:
    """Keep each match whose clips are in none of the matches kept before it."""
    kept: list[Match] = []
    used: set[str] = set()
    for winner, loser in matches:
        if used.isdisjoint({winner.clip, loser.clip}):
            kept.append((winner, loser))
            used |= {winner.clip, loser.clip}
    return kept


def _known(score: Score, config: PairConfig) -> bool:
    return getattr(score, config.measure) is not None and getattr(score, config.motion) is not None


def _reliable(score: Score, config: PairConfig) -> bool:
    """Whether a clip may be paired; rows of earlier versions, which have no reliability, may."""
    return score.reliability is None or GRADES.index(score.reliability) >= GRADES.index(config.min_reliability)


def _good(score: Score, config: PairConfig) -> bool:
    threshold = config.winner_threshold
    return threshold is None or not MEASURES[config.measure].is_better(threshold, _value(score, config.measure))


def _keeps_motion(match: Match, config: PairConfig) -> bool:
    """Whether the winner moves enough beside the loser; where camera and subjects are known apart, each of the two does.

    A part of the loser's motion below `config.min_motion` is none that could be lost.
    """
    winner, loser = match
    motions = [(_motion(winner, config), _motion(loser, config))]
    parts = [(getattr(winner, name), getattr(loser, name)) for name in PARTS]
    motions += [part for part in parts if None not in part and part[1] >= config.min_motion]
    return all(won >= config.keep_motion * lost for won, lost in motions)


def _wide(match: Match, config: PairConfig) -> bool:
    gap = _gap(match, config)
    return gap > 0 and gap >= config.min_gap


def _sure(match: Match, config: PairConfig) -> bool:
    """Whether the gap is wide, and wider than the standard errors leave open. Without them the gap alone counts."""
    sigmas = _sigmas(match, config)
    return _wide(match, config) and (sigmas is None or sigmas > config.min_sigma or config.min_sigma == 0)


def _sigmas(match: Match, config: PairConfig) -> float | None:
    """Return the gap in units of its standard error; None where a score has none, as in rows of earlier versions."""
    errors = [getattr(score, f"{config.measure}_se", None) for score in match]
    sigma = math.hypot(*(error for error in errors if error is not None))
    return _gap(match, config) / sigma if None not in errors and sigma > 0 else None


def _gap(match: Match, config: PairConfig) -> float:
    """Return by how much the winner's score is better; negative if it is worse."""
    winner, loser = match
    sign = 1 if MEASURES[config.measure].better == "higher" else -1
    return sign * (_value(winner, config.measure) - _value(loser, config.measure))


def _motion(score: Score, config: PairConfig) -> float:
    return _value(score, config.motion)


def _value(score: Score, name: str) -> float:
    return float(getattr(score, name))


# What the terminal and the report show of the pairs.

STEPS = {
    "two or more candidates scored": FEW_SCORED,
    "two or more of them reliable enough": UNRELIABLE,
    "two or more of these move": FEW_MOVING,
    "one good enough to win": NO_WINNER,
    "a gap wide enough": SMALL_GAP,
    "a gap beyond the standard errors": UNSURE,
    "a winner that keeps the motion": MOTION_LOST,
}
"""Condition on a group of candidates -> the reason in `Pair.dropped` if it fails, in the order in which they are checked."""

DISTRIBUTIONS = {
    "spread": "best against worst candidate of a group",
    "gap": "winner against loser of a pair",
    "sigmas": "the gap of a pair in its standard error",
    "winner_score": "winners",
    "loser_score": "losers",
    "motion_ratio": "the winner's motion as a share of the loser's",
}
"""Columns of pairs.jsonl whose distributions show what each threshold of `pair` removes, with their meanings."""


@dataclass(frozen=True)
class Funnel:
    """How many groups of candidates passed each condition.

    `left` counts, for every condition in `STEPS`, the groups that meet it and all before it.
    """

    groups: int
    left: dict[str, int]
    pairs: int


def funnel(rows: Sequence[Pair]) -> Funnel:
    """Count the groups and pairs in the rows of pairs.jsonl."""
    lost = Counter(row.dropped for row in rows)
    groups = remaining = len({row.prompt for row in rows})
    left = {}
    for step, reason in STEPS.items():
        remaining -= lost[reason]
        left[step] = remaining
    return Funnel(groups, left, sum(row.dropped is None for row in rows))


def distribution(rows: Sequence[Pair], column: str) -> list[float]:
    """Return the known values of a column, sorted in ascending order.

    Args:
        rows: The rows of pairs.jsonl.
        column: A key of `DISTRIBUTIONS`. A spread counts once per group; everything else is taken of pairs alone.
    """
    chosen = [row for row in rows if (row.rank == 0 if column == "spread" else row.dropped is None)]
    return sorted(value for row in chosen if (value := getattr(row, column)) is not None)
