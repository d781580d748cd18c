"""The verdict on a training in a sentence: geometry and motion together, since the one is easily had for the other."""

from videogpa.measures import LEAST_PROMPTS
from videogpa.records import Outcome, Relative

VERDICTS = {
    "better": "better geometry at equal motion",
    "bought with motion": "a miss: the gain is bought with motion",
    "worse": "worse geometry",
    "unclear": "no clear change of geometry",
    "too few prompts": f"unclear: fewer than {LEAST_PROMPTS} prompts cannot tell",
}


def headline(critic: str, outcome: Outcome) -> str:
    """Return the verdict and the numbers behind it."""
    parts = [f"{outcome.measure} {interval(outcome.geometry)}"]
    parts += [f"{name} {interval(relative)}" for name, relative in outcome.motion.items()]
    if outcome.failing is not None:
        parts.append(f"failing clips {outcome.failing[0]:.0%} → {outcome.failing[1]:.0%}")
    chose_pairs = " It also chose the training pairs, so that a gain may be its own taste." if outcome.chose_pairs else ""
    return f"{critic}: {VERDICTS[outcome.verdict]}. {', '.join(parts)}; {outcome.n} prompts.{chose_pairs}"


def interval(relative: Relative) -> str:
    """Return a relative change with its interval, in per cent."""
    return f"{_percent(relative.change)} % [{_percent(relative.low)}, {_percent(relative.high)}]"


def _percent(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
