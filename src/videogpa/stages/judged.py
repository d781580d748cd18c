"""What judges say of two models, clip by clip: the change of every number, and how often each model's clip wins.

`evaluate` compares base and aligned model with it, `compare` any two methods.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from videogpa.findings import Change, JudgeFindings, Wins
from videogpa.judges.cards import measures_of
from videogpa.maths.stats import paired_bootstrap
from videogpa.measures import Measure
from videogpa.records import Judgement
from videogpa.stages.paired import BOOTSTRAP_SEED, change_of

TIE = 1e-6
"""Numbers that differ by less are tied: networks compute in float32, and of equal clips the last digits may differ."""


def compare_judgements(base: Sequence[Judgement], other: Sequence[Judgement]) -> dict[str, JudgeFindings]:
    """Compare two models by every judge that has judged clips of both.

    Clips are matched by name, `<prompt>/<seed>`; only those count that a judge has a number for in both models. Intervals are
    over prompts, as in `compare_scores`.

    Args:
        base: Rows of the base model's clips.
        other: Rows of the other model's clips, by the same judges.

    Returns:
        Judge -> its findings. A number known for clips of fewer than two prompts has no interval, and is left out.
    """
    return {
        judge: _findings(
            measures_of(judge), [row for row in base if row.judge == judge], [row for row in other if row.judge == judge]
        )
        for judge in dict.fromkeys(row.judge for row in base)
    }


def _findings(measures: Mapping[str, Measure], base: Sequence[Judgement], other: Sequence[Judgement]) -> JudgeFindings:
    before, after = ({row.clip: row.numbers for row in rows if row.status == "ok"} for rows in (base, other))
    changes: dict[str, Change] = {}
    for name, measure in measures.items():
        shared = [clip for clip in before if name in before[clip] and name in after.get(clip, {})]
        known = {clip: (before[clip][name], after[clip][name]) for clip in shared}
        if len({clip.rpartition("/")[0] for clip in known}) > 1:
            change = change_of(measure, known)
            changes[name] = change if measure.better is None else change.model_copy(update={"wins": wins_of(measure, known)})
    return JudgeFindings(base=_counts(base), aligned=_counts(other), changes=changes)


def wins_of(measure: Measure, pairs: Mapping[str, tuple[float, float]]) -> Wins:
    """Count whose clip is better, and return the other model's share of wins, ties counting half, with its interval.

    The share is the mean over prompts of that among a prompt's clips.

    Args:
        measure: The number, which has a better direction.
        pairs: Clip -> the number of the base model's and of the other model's.
    """
    outcomes: dict[str, list[float]] = {}
    for clip, (base, other) in pairs.items():
        tied = abs(other - base) <= TIE
        outcomes.setdefault(clip.rpartition("/")[0], []).append(0.5 if tied else float(measure.is_better(other, base)))
    counted = Counter(outcome for of_prompt in outcomes.values() for outcome in of_prompt)
    shares = torch.tensor([sum(of_prompt) / len(of_prompt) for of_prompt in outcomes.values()], dtype=torch.float64)
    share, low, high = paired_bootstrap(torch.zeros_like(shares), shares, seed=BOOTSTRAP_SEED)
    return Wins(wins=counted[1.0], ties=counted[0.5], losses=counted[0.0], share=share, low=low, high=high)


def _counts(rows: Sequence[Judgement]) -> dict[str, int]:
    return dict(sorted(Counter(row.status for row in rows).items()))
