"""Two models' scores of the same prompts and seeds -> how the measures changed, each with its interval."""

from collections import Counter
from collections.abc import Sequence

import torch

from videogpa.maths.stats import bootstrap_interval, win_rate
from videogpa.measures import MEASURES
from videogpa.records import Change, CriticFindings, Score

NOT_COMPARED = {"seconds"}
SEED = 0  # of the bootstrap's resampling


def compare(base: Sequence[Score], aligned: Sequence[Score], *, taught: bool) -> CriticFindings:
    """Compare one critic's rows of both models, clip by clip; rows are matched by their clip's name, `<prompt>/<seed>`.

    A measure is compared over the clips for which it stands, with status ok, on both sides; one without such clips is absent.
    """
    before, after = ({row.clip: row for row in rows if row.status == "ok"} for rows in (base, aligned))
    shared = [clip for clip in before if clip in after]
    changes = {}
    for name in MEASURES:
        pairs = {clip: (getattr(before[clip], name), getattr(after[clip], name)) for clip in shared}
        known = {clip: pair for clip, pair in pairs.items() if None not in pair}
        if known and name not in NOT_COMPARED:
            changes[name] = _change(name, known)
    return CriticFindings(taught=taught, base=_counts(base), aligned=_counts(aligned), changes=changes)


def _counts(rows: Sequence[Score]) -> dict[str, int]:
    return dict(sorted(Counter(row.status for row in rows).items()))


def _change(name: str, pairs: dict[str, tuple[float, float]]) -> Change:
    before, after = torch.tensor(list(pairs.values()), dtype=torch.float64).T
    by_prompt: dict[str, list[float]] = {}
    for clip, difference in zip(pairs, (after - before).tolist(), strict=True):
        by_prompt.setdefault(clip.rpartition("/")[0], []).append(difference)
    means = torch.tensor([sum(values) / len(values) for values in by_prompt.values()], dtype=torch.float64)
    low, high = bootstrap_interval(means, seed=SEED) if len(means) > 1 else (None, None)
    better = MEASURES[name].better
    gain = None if better is None else (after - before) * (1 if better == "higher" else -1)
    return Change(
        base=float(before.mean()),
        aligned=float(after.mean()),
        difference=float(means.mean()),
        low=low,
        high=high,
        win_rate=None if gain is None else float(win_rate(gain)),
        n=len(by_prompt),
        clips=len(pairs),
    )
