"""What the held-out pairs say of a training when it ends: has it learned anything beyond the pairs that it was trained on?"""

from collections.abc import Sequence

from videogpa.training.metrics import MetricsRow

_SURE = 2.0  # standard errors
_UNKNOWN = 0.1  # standard error of the accuracy from which on nothing follows from one that is not above .5

_TOO_FEW = "too few held-out pairs to tell whether it learned beyond its pairs (train.held_out)"


def verdict(rows: Sequence[MetricsRow]) -> str:
    """Return one or two sentences on a training, for the terminal.

    Args:
        rows: The rows of metrics.jsonl.
    """
    held_out = [row for row in rows if row.split == "held_out" and row.accuracy is not None and row.winner_gain is not None]
    if not held_out:
        return "no pair is held out (train.held_out): whether it learned beyond its pairs is not known"
    last = max(held_out, key=lambda row: row.step)
    return f"{_learned(last)}: {_numbers(last)} on held-out pairs{_best(held_out, last)}"


def _learned(row: MetricsRow) -> str:
    """Say whether the preference holds for pairs that the training never saw, and whether their winners suffer."""
    assert row.accuracy is not None
    assert row.winner_gain is not None
    if row.accuracy_se is None or row.winner_gain_se is None:
        return _TOO_FEW
    if row.accuracy <= 0.5 + _SURE * row.accuracy_se:
        return _TOO_FEW if row.accuracy_se > _UNKNOWN else "no preference beyond its pairs is to be seen"
    if row.winner_gain < -_SURE * row.winner_gain_se:
        return "it learned beyond its pairs, and denoises winners worse than before (train.loss, docs/symptoms.md)"
    return "it learned beyond its pairs"


def _numbers(row: MetricsRow) -> str:
    accuracy = f"accuracy {row.accuracy:.2f}" + ("" if row.accuracy_se is None else f" ± {row.accuracy_se:.2f}")
    return f"{accuracy}, winner gain {row.winner_gain:+.2g}" + (
        "" if row.winner_gain_se is None else f" ± {row.winner_gain_se:.1g}"
    )


def _best(held_out: Sequence[MetricsRow], last: MetricsRow) -> str:
    """Name the step at which the winners of held-out pairs were denoised best, if that is not the last."""
    best = max(held_out, key=lambda row: (row.winner_gain or 0.0, -row.step))
    if best.step == last.step:
        return ""
    if (best.winner_gain or 0.0) <= 0:
        return "; at no step were their winners denoised better than before the training"
    return f"; their winners were denoised best after step {best.step} ({best.winner_gain:+.2g})"
