"""Two models' scores of the same prompts and seeds -> how the measures changed, each with its interval."""

from collections import Counter
from collections.abc import Sequence

import torch

from videogpa.maths.stats import paired_bootstrap, win_rate
from videogpa.measures import MEASURES
from videogpa.records import Change, CriticFindings, Score
from videogpa.stages.evaluate.outcome import judge_outcome

NOT_COMPARED = {"seconds", "focal_assumed"}
OF_GEOMETRY_ALONE = {"motion", "jerk", "mvcs", "registered", "points", "focal_widths", "loo_coverage"}
"""Measures that follow from cameras and depth, whatever colours the pixels have."""
SEED = 0  # of the bootstrap's resampling


def compare(base: Sequence[Score], aligned: Sequence[Score], *, taught: bool) -> CriticFindings:
    """Compare one critic's rows of both models, clip by clip; rows are matched by their clip's name, `<prompt>/<seed>`.

    A measure is compared over the clips for which it stands, with status ok, on both sides. One that stands for clips of fewer
    than two prompts is absent: it would have no interval.
    """
    before, after = ({row.clip: row for row in rows if row.status == "ok"} for rows in (base, aligned))
    changes = {}
    for name in (name for name in MEASURES if name not in NOT_COMPARED):
        pairs = {clip: (getattr(before[clip], name), getattr(after[clip], name)) for clip in before if clip in after}
        known = {clip: (float(pair[0]), float(pair[1])) for clip, pair in pairs.items() if None not in pair}
        if len({_prompt(clip) for clip in known}) > 1:
            changes[name] = _change(name, known)
    changes = _shown_by_the_clips(changes)
    outcome = judge_outcome(changes, taught=taught)
    return CriticFindings(taught=taught, base=_counts(base), aligned=_counts(aligned), changes=changes, outcome=outcome)


def _shown_by_the_clips(changes: dict[str, Change]) -> dict[str, Change]:
    """Leave out what a critic told of cameras and depth if it is the same for every clip: it was commanded, not seen."""
    return {name: change for name, change in changes.items() if name not in OF_GEOMETRY_ALONE or change.low or change.high}


def _prompt(clip: str) -> str:
    return clip.rpartition("/")[0]


def _counts(rows: Sequence[Score]) -> dict[str, int]:
    return dict(sorted(Counter(row.status for row in rows).items()))


def _change(name: str, pairs: dict[str, tuple[float, float]]) -> Change:
    base, aligned = torch.tensor(list(pairs.values()), dtype=torch.float64).T
    groups: dict[str, list[tuple[float, float]]] = {}
    for clip, pair in pairs.items():
        groups.setdefault(_prompt(clip), []).append(pair)
    means = torch.stack([torch.tensor(group, dtype=torch.float64).mean(dim=0) for group in groups.values()])
    difference, low, high = paired_bootstrap(*means.T, seed=SEED)
    better = MEASURES[name].better
    return Change(
        verdict=MEASURES[name].verdict(difference, low, high, n=len(groups)),
        base=float(base.mean()),
        aligned=float(aligned.mean()),
        difference=difference,
        low=low,
        high=high,
        win_rate=None if better is None else win_rate(base, aligned, lower_is_better=better == "lower"),
        n=len(groups),
        clips=len(pairs),
    )
