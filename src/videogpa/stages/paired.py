"""The scores of two models, clip by clip: the change of every measure with its interval, and the verdict.

`evaluate` compares base and aligned model with it, `compare` any two methods, `best_of` what a critic chooses.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from videogpa.findings import Change, CriticFindings, Outcome, Relative, TrainingOutcome, Wins
from videogpa.maths.stats import paired_bootstrap, win_rate
from videogpa.measures import LEAST_PROMPTS, MEASURES, MOTIONS, Measure
from videogpa.records import Diversity, Score

NOT_COMPARED = {"seconds", "focal_assumed"}
"""Measures that describe the scoring, not the clip."""

OF_GEOMETRY_ALONE = {"motion", "jerk", "mvcs", "registered", "points", "focal_widths", "loo_coverage"}
"""Measures that follow from cameras and depth, whatever colours the pixels have."""

BOOTSTRAP_SEED = 0


def compare_scores(
    base: Sequence[Score],
    aligned: Sequence[Score],
    *,
    chose_pairs: bool = False,
    diversity: tuple[Sequence[Diversity], Sequence[Diversity]] = ((), ()),
    one_right_clip: bool = False,
    judged: Mapping[str, Change] | None = None,
) -> CriticFindings:
    """Compare one critic's scores of two models, clip by clip.

    Clips are matched by name, `<prompt>/<seed>`. A measure is compared over the clips that have it, with status `ok`, in both
    models; a measure known for clips of fewer than two prompts is left out, since it would have no interval.

    Args:
        base: The critic's scores of the base model's clips.
        aligned: The same critic's scores of the aligned model's clips.
        chose_pairs: Whether this critic also chose the training pairs.
        diversity: How much the clips of each prompt differ, of the base and of the aligned model, where that was measured.
        one_right_clip: Whether the prompts leave nothing open, so that clips of a prompt differ by their errors alone. A loss
            of diversity is then shown, and costs nothing.
        judged: Changes of the numbers that judges gave for the same clips, where there are any, for the verdict.

    Returns:
        The change of every measure, how many clips had which status, and the verdict.

    Example:
        >>> clips = ("p/0", "q/0")
        >>> base = [Score(clip=clip, critic="sfm", status="ok", loo_error=0.4) for clip in clips]
        >>> aligned = [Score(clip=clip, critic="sfm", status="ok", loo_error=0.3) for clip in clips]
        >>> round(compare_scores(base, aligned).changes["loo_error"].difference, 3)
        -0.1
    """
    before, after = ({row.clip: row for row in rows if row.status == "ok"} for rows in (base, aligned))
    changes = {}
    for name in (name for name in MEASURES if name not in NOT_COMPARED and MEASURES[name].of == "clip"):
        pairs = {clip: (getattr(before[clip], name), getattr(after[clip], name)) for clip in before if clip in after}
        known = {clip: (float(pair[0]), float(pair[1])) for clip, pair in pairs.items() if None not in pair}
        if len({_prompt(clip) for clip in known}) > 1:
            changes[name] = change_of(MEASURES[name], known)
    changes = _without_commanded_geometry(changes) | _changes_of_prompts(*diversity)
    outcome = judge_outcome(changes, chose_pairs=chose_pairs, one_right_clip=one_right_clip, judged=judged)
    return CriticFindings(
        chose_pairs=chose_pairs, base=_counts(base), aligned=_counts(aligned), changes=changes, outcome=outcome
    )


def _without_commanded_geometry(changes: dict[str, Change]) -> dict[str, Change]:
    """Leave out measures of cameras and depth that are equal in both models for every clip.

    The critic then took the geometry from the prompt's scene, as the oracle does, and did not measure it in the clips.
    """
    return {name: change for name, change in changes.items() if name not in OF_GEOMETRY_ALONE or change.low or change.high}


def _changes_of_prompts(base: Sequence[Diversity], aligned: Sequence[Diversity]) -> dict[str, Change]:
    """Return the changes of what a prompt's clips have together, over the prompts of which both models have several."""
    after = {row.prompt: row for row in aligned}
    changes = {}
    for name in (name for name in MEASURES if MEASURES[name].of == "prompt"):
        known: dict[str, tuple[float, float]] = {}
        for row in base:
            ours, theirs = getattr(row, name), getattr(after.get(row.prompt), name, None)
            if ours is not None and theirs is not None:
                known[f"{row.prompt}/"] = (ours, theirs)
        if len(known) > 1:
            changes[name] = change_of(MEASURES[name], known)
    return changes


def _prompt(clip: str) -> str:
    return clip.rpartition("/")[0]


def _counts(rows: Sequence[Score]) -> dict[str, int]:
    return dict(sorted(Counter(row.status for row in rows).items()))


def change_of(measure: Measure, pairs: Mapping[str, tuple[float, float]]) -> Change:
    """Return the change of a measure, with its interval over prompts.

    Args:
        measure: The measure.
        pairs: Clip -> its value in the base and in the aligned model, for clips of two prompts or more.
    """
    base, aligned = torch.tensor(list(pairs.values()), dtype=torch.float64).T
    groups: dict[str, list[tuple[float, float]]] = {}
    for clip, pair in pairs.items():
        groups.setdefault(_prompt(clip), []).append(pair)
    means = torch.stack([torch.tensor(group, dtype=torch.float64).mean(dim=0) for group in groups.values()])
    difference, low, high = paired_bootstrap(*means.T, seed=BOOTSTRAP_SEED)
    better = measure.better
    return Change(
        verdict=measure.verdict(difference, low, high, n=len(groups)),
        base=float(base.mean()),
        aligned=float(aligned.mean()),
        difference=difference,
        low=low,
        high=high,
        win_rate=None if better is None else win_rate(base, aligned, lower_is_better=better == "lower"),
        n=len(groups),
        clips=len(pairs),
    )


# The verdict: better geometry counts only at equal motion, and if it was not paid for with quality or diversity.

GEOMETRY = "loo_error"
"""The measure that decides, whichever the pairs were chosen by: every critic has it, and no frame is its own evidence."""

MOTION_LOST = -0.05
"""A gain does not count if the mean of any measure of motion falls by more than this share of the base model's.

The training has to show that it keeps the motion: an interval too wide to exclude an equal motion is no excuse.
"""

QUALITY = {"sharpness": 0.05, "flicker": 0.05, "saturation": 0.1, "exposure": 0.1}
"""Measure of what clips look like -> by what share of the base model's mean it may get worse, and beyond its interval, before a
gain does not count. Ours, as wide as that of motion, and twice that for what has no better direction: of colours and brightness
every change counts, since rewards have been satisfied by cartoon colours."""

DIVERSITY, DIVERSITY_LOST = "diversity", 0.05
"""How much the clips of one prompt differ, and by what share it may fall: alignment may narrow what a model makes."""

NONE_TO_LOSE = {"subject_flow": 0.001}
"""Motion up to which the base model has none to lose; of the other measures it is 0. In still scenes a few pixels pass for
subjects that move, and a share of their flow says nothing."""


LEAST_WINS = 0.45
"""A gain does not count if by a judge's number the aligned model wins fewer clips than this, beyond the interval. A share of
wins needs no unit, which rewards do not have."""

OF_STILL_CLIPS = {"subject_consistency", "background_consistency"}
"""Numbers of judges that are best where nothing moves: less of them is no loss of quality."""


def judge_outcome(
    changes: Mapping[str, Change],
    *,
    chose_pairs: bool,
    one_right_clip: bool = False,
    judged: Mapping[str, Change] | None = None,
) -> Outcome | None:
    """Return whether geometry got better at equal motion, quality and diversity.

    Args:
        changes: The changes of one critic's measures.
        chose_pairs: Whether this critic also chose the training pairs.
        one_right_clip: Whether the prompts leave nothing open; see `compare_scores`.
        judged: The changes of judges' numbers; see `compare_scores`.

    Returns:
        The verdict with the numbers behind it; None if the geometry could not be compared.
    """
    if GEOMETRY not in changes or changes[GEOMETRY].base <= 0:
        return None
    geometry = changes[GEOMETRY]
    moved = (name for name in MOTIONS if name in changes and changes[name].base > NONE_TO_LOSE.get(name, 0.0))
    motion = {name: _relative(changes[name]) for name in moved}
    quality = {name: _relative(changes[name]) for name in QUALITY if name in changes and changes[name].base > 0}
    diversity = _relative(changes[DIVERSITY]) if DIVERSITY in changes and changes[DIVERSITY].base > 0 else None
    judged = judged or {}
    wins = {name: change.wins for name, change in judged.items() if change.wins and name not in OF_STILL_CLIPS}
    lost: dict[TrainingOutcome, list[str]] = {
        "explained by less motion": [name for name, relative in motion.items() if relative.change < MOTION_LOST],
        "paid for with quality": [
            *(name for name in quality if _worse(changes[name], QUALITY[name])),
            *(name for name, found in wins.items() if _preferred_less(judged[name], found)),
        ],
        "paid for with diversity": (
            [DIVERSITY] if diversity and not one_right_clip and _worse(changes[DIVERSITY], DIVERSITY_LOST) else []
        ),
    }
    failing = changes.get("failing")
    return Outcome(
        verdict=_verdict(geometry, lost),
        measure=GEOMETRY,
        geometry=_relative(geometry),
        motion=motion,
        quality=quality,
        judged=wins,
        diversity=diversity,
        lost=tuple(name for names in lost.values() for name in names),
        failing=None if failing is None else (failing.base, failing.aligned),
        n=geometry.n,
        chose_pairs=chose_pairs,
    )


def _verdict(geometry: Change, lost: Mapping[TrainingOutcome, Sequence[str]]) -> TrainingOutcome:
    if geometry.n < LEAST_PROMPTS:
        return "too few prompts"
    if geometry.verdict == "better":
        return next((price for price, names in lost.items() if names), "better")
    return "worse" if geometry.verdict == "worse" else "unclear"


def _worse(change: Change, most: float) -> bool:
    """Whether a measure got worse by more than a share of its base, beyond its interval; without a direction, either way."""
    relative = _relative(change)
    beyond = change.verdict == "worse" or change.verdict in ("more", "less")
    return beyond and abs(relative.change) > most


def _preferred_less(change: Change, wins: Wins) -> bool:
    return change.n >= LEAST_PROMPTS and wins.share < LEAST_WINS and wins.high < 0.5


def _relative(change: Change) -> Relative:
    return Relative(change=change.difference / change.base, low=change.low / change.base, high=change.high / change.base)
