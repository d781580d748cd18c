"""The changes of all measures -> one verdict: did geometry get better, and was it paid for with motion?"""

from collections.abc import Mapping

from videogpa.measures import LEAST_PROMPTS, MOTIONS
from videogpa.records import Aim, Change, Outcome, Relative

GEOMETRY = "loo_score"
"""The measure that decides, whichever the pairs were chosen by: every critic has it, and no frame explains itself in it."""

MOTION_LOST = -0.05
"""A gain counts only if the mean of no measure of motion falls by more than this share. It is for the gain to show that motion
is kept: an interval that is too wide to tell does not excuse it."""


def judge_outcome(changes: Mapping[str, Change], *, taught: bool) -> Outcome | None:
    """Return whether geometry got better at equal motion; None where the geometry could not be compared."""
    if GEOMETRY not in changes or changes[GEOMETRY].base <= 0:
        return None
    geometry = changes[GEOMETRY]
    # A base model without any motion has none to lose.
    motion = {name: _relative(changes[name]) for name in MOTIONS if name in changes and changes[name].base > 0}
    failing = changes.get("failing")
    return Outcome(
        verdict=_verdict(geometry, motion),
        measure=GEOMETRY,
        geometry=_relative(geometry),
        motion=motion,
        failing=None if failing is None else (failing.base, failing.aligned),
        n=geometry.n,
        taught=taught,
    )


def _verdict(geometry: Change, motion: Mapping[str, Relative]) -> Aim:
    if geometry.n < LEAST_PROMPTS:
        return "too few prompts"
    if geometry.verdict == "better":
        lost = any(relative.change < MOTION_LOST for relative in motion.values())
        return "bought with motion" if lost else "better"
    return "worse" if geometry.verdict == "worse" else "unclear"


def _relative(change: Change) -> Relative:
    return Relative(change=change.difference / change.base, low=change.low / change.base, high=change.high / change.base)
