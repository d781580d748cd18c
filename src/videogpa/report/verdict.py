"""The verdict on a training in one sentence: geometry, and what it may have been paid for with: motion, quality, diversity."""

from dataclasses import dataclass

from videogpa.findings import Evaluation, Outcome, Relative, Rounds
from videogpa.measures import LEAST_PROMPTS, MEASURES
from videogpa.report.judged import share_of_wins
from videogpa.text_files import printable

VERDICTS = {
    "better": "better geometry at equal motion",
    "explained by less motion": "no success: the gain is explained by less motion",
    "paid for with quality": "no success: the gain is paid for with quality",
    "paid for with diversity": "no success: the gain is paid for with diversity",
    "worse": "worse geometry",
    "unclear": "no clear change of geometry",
    "too few prompts": f"unclear: fewer than {LEAST_PROMPTS} prompts are too few to tell",
}
"""`Outcome.verdict` -> what it is called in the sentence."""


def verdict(outcome: Outcome) -> str:
    """Return the verdict in words, with what a gain was paid for with."""
    paid = {**outcome.quality, **({"diversity": outcome.diversity} if outcome.diversity else {})}
    prices = [f"{MEASURES[name].label} {interval(paid[name])}" for name in outcome.lost if name in paid]
    labels = {name: MEASURES[name].label if name in MEASURES else printable(name, line=True) for name in outcome.judged}
    prices += [f"{labels[name]}: wins {share_of_wins(outcome.judged[name])}" for name in outcome.lost if name in labels]
    return VERDICTS[outcome.verdict] + (f" ({', '.join(prices)})" if outcome.verdict.startswith("paid for") else "")


def headline(critic: str, outcome: Outcome) -> str:
    """Return the verdict in a sentence, with the numbers behind it.

    Args:
        critic: The name of the critic that scored the clips.
        outcome: What the evaluation found with this critic.
    """
    parts = [f"{MEASURES[outcome.measure].label} {interval(outcome.geometry)}"]
    parts += [f"{MEASURES[name].label} {interval(relative)}" for name, relative in outcome.motion.items()]
    if outcome.failing is not None:
        parts.append(f"failing clips {outcome.failing[0]:.0%} → {outcome.failing[1]:.0%}")
    caution = (
        " This critic also chose the training pairs, so the gain may be reward over-optimisation."
        if outcome.chose_pairs
        else ""
    )
    return f"{critic}: {verdict(outcome)}. {', '.join(parts)}; {outcome.n} prompts.{caution}"


@dataclass(frozen=True)
class BestLine:
    """What choosing among a prompt's clips buys, as one critic judges it; in words."""

    chosen: str
    by: str
    critic: str
    error: str
    motion: tuple[str, ...]
    prompts: int


def best_lines(evaluation: Evaluation) -> list[BestLine]:
    """Return what the best of N is worth: a line for each model whose clips were chosen from, and each judging critic."""
    return [
        BestLine(
            chosen=f"{best.model}, best of {best.candidates}",
            by=f"{best.chosen_by}: {MEASURES[best.measure].label}",
            critic=critic,
            error=interval(outcome.geometry),
            motion=tuple(f"{MEASURES[name].label} {interval(change)}" for name, change in outcome.motion.items()),
            prompts=outcome.n,
        )
        for best in evaluation.best_of
        for critic, findings in best.critics.items()
        if (outcome := findings.outcome) is not None
    ]


@dataclass(frozen=True)
class RoundLine:
    """One comparison of rounds by one critic; in words."""

    name: str
    """Such as `round 2`, against the base, or `round 2 against round 1`."""
    critic: str
    verdict: str
    error: str
    motion: tuple[str, ...]
    prompts: int


def round_lines(rounds: Rounds) -> list[RoundLine]:
    """Return every round against the base, and the last against the one before, by each critic that could compare them."""
    return [
        RoundLine(
            name=name,
            critic=critic,
            verdict=verdict(outcome),
            error=interval(outcome.geometry),
            motion=tuple(f"{MEASURES[name].label} {interval(change)}" for name, change in outcome.motion.items()),
            prompts=outcome.n,
        )
        for name, critics in rounds.comparisons().items()
        for critic, findings in critics.items()
        if (outcome := findings.outcome) is not None
    ]


def interval(relative: Relative) -> str:
    """Return a relative change with its interval, in per cent."""
    return f"{_percent(relative.change)} % [{_percent(relative.low)}, {_percent(relative.high)}]"


def _percent(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
