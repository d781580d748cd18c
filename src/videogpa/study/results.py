"""What a study says: who is preferred, how far raters agree, and which score agrees with them."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from videogpa.errors import InvalidInput
from videogpa.maths.agreement import MISSING, davidson, krippendorff_alpha, pairwise_agreement
from videogpa.maths.crossed import Correlations, crossed_spread, share_of_votes, vote_correlations
from videogpa.maths.stats import sign_test
from videogpa.measures import MEASURES
from videogpa.study.records import QUESTIONS, Answers, Key
from videogpa.study.votes import FIRST, SECOND, TIE, Rater, Vote, numbered, rater_of, votes_of

Scores = Mapping[tuple[str, str], Mapping[str, float]]
"""(critic, measure) -> path of a clip -> value."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Frozen):
    """An estimate with its 95 % interval over prompts and raters."""

    value: float
    low: float
    high: float


class Duel(_Frozen):
    """Two arms against each other."""

    arm: str
    against: str
    won: float
    """The share of all votes that prefer `arm`."""
    tied: float
    lost: float
    win_rate: Interval | None
    """The share of wins among votes that are no ties; None if these are on fewer than two prompts."""
    p_value: float
    """Of the sign test over prompts, each with the side that the majority of its votes is on."""
    prompts: int
    votes: int
    of_prompts: float | None = None
    """The correlation of two raters' votes on one prompt, among votes that are no ties, for `videogpa study plan`."""
    of_raters: float | None = None
    """That of a rater's votes on two prompts."""


class Strength(_Frozen):
    """The strength of an arm by Davidson's model, as the win rate against the base that it amounts to."""

    arm: str
    win_rate: Interval


class Agreement(_Frozen):
    """How often a score prefers the clip that a rater prefers, over votes that are no ties."""

    critic: str
    measure: str
    accuracy: Interval
    votes: int
    prompts: int


class Findings(_Frozen):
    """What raters answered to a question."""

    question: str
    duels: tuple[Duel, ...]
    strengths: tuple[Strength, ...]
    """Of all arms but the base, where there are more than two."""
    alpha: float | None
    """Krippendorff's alpha, of first arm, second arm and no difference."""
    people: float | None
    """How often one rater prefers the clip that another prefers, where neither says no difference."""
    scores: tuple[Agreement, ...]
    """Best first."""


class Results(_Frozen):
    """What results.json holds."""

    study: str
    arms: tuple[str, ...]
    raters: tuple[Rater, ...]
    findings: dict[str, Findings]
    """By the question's name."""


def evaluate(key: Key, answers: Sequence[Answers], scores: Scores) -> Results:
    """Evaluate the answers of a study.

    Args:
        key: The study's key.
        answers: Those of its raters, checked against the key.
        scores: The clips' scores, to be compared with the raters.

    Raises:
        InvalidInput: If no rater counts, or fewer than two prompts are answered.
    """
    raters = {each.rater: rater_of(key, each) for each in answers}
    counting = [each for each in answers if raters[each.rater].left_out is None]
    if not counting:
        reasons = "; ".join(f"{code}: {rater.left_out}" for code, rater in raters.items())
        raise InvalidInput(f"no rater's answers count: {reasons}")
    return Results(
        study=key.study,
        arms=key.arms,
        raters=tuple(raters.values()),
        findings={name: _findings(key, votes_of(key, counting, name), name, scores) for name in QUESTIONS},
    )


def _findings(key: Key, votes: Sequence[Vote], question: str, scores: Scores) -> Findings:
    if len({vote.prompt for vote in votes}) < 2:
        raise InvalidInput("the answers are to pairs of fewer than two prompts: nothing can be said of other prompts")
    answers = _table(votes, [vote.outcome for vote in votes])
    decided = _table(votes, [MISSING if vote.outcome == TIE else vote.outcome for vote in votes])
    pairs = [pair for pair in combinations(key.arms, 2) if any(vote.arms == pair for vote in votes)]
    agreements = (_agreement(key, votes, critic, measure, values) for (critic, measure), values in scores.items())
    return Findings(
        question=QUESTIONS[question],
        duels=tuple(_duel(*pair, [vote for vote in votes if vote.arms == pair]) for pair in pairs),
        strengths=_strengths(key.arms, votes) if len(key.arms) > 2 else (),
        alpha=_known(krippendorff_alpha(answers)),
        people=_known(pairwise_agreement(decided)),
        scores=tuple(sorted((each for each in agreements if each), key=lambda each: -each.accuracy.value)),
    )


def _known(value: float) -> float | None:
    return None if value != value else value  # nan


def _table(votes: Sequence[Vote], outcomes: Sequence[int]) -> Int[Tensor, "items raters"]:
    item, rater = numbered([vote.item for vote in votes]), numbered([vote.rater for vote in votes])
    table = torch.full((int(item.max()) + 1, int(rater.max()) + 1), MISSING)
    table[item, rater] = torch.tensor(outcomes)
    return table


def _duel(first: str, second: str, votes: Sequence[Vote]) -> Duel:
    """Compare the second arm, which comes later than the base, with the first."""
    outcome = torch.tensor([vote.outcome for vote in votes])
    shares = {kind: float((outcome == kind).double().mean()) for kind in (FIRST, SECOND, TIE)}
    prompt = numbered([vote.prompt for vote in votes])
    alike = _correlations([vote for vote in votes if vote.outcome != TIE])
    net = torch.zeros(int(prompt.max()) + 1).index_add(0, prompt, (outcome == SECOND).float() - (outcome == FIRST).float())
    return Duel(
        arm=second,
        against=first,
        won=shares[SECOND],
        tied=shares[TIE],
        lost=shares[FIRST],
        win_rate=_share(votes, outcome == SECOND, outcome != TIE),
        p_value=sign_test(torch.zeros_like(net), net),
        prompts=len(net),
        votes=len(votes),
        of_prompts=None if alike is None else alike.of_prompts,
        of_raters=None if alike is None else alike.of_raters,
    )


def _correlations(decided: Sequence[Vote]) -> Correlations | None:
    hits = torch.tensor([float(vote.outcome == SECOND) for vote in decided])
    prompt, rater = numbered([vote.prompt for vote in decided]), numbered([vote.rater for vote in decided])
    return vote_correlations(hits, prompt, rater)


def _share(votes: Sequence[Vote], hits: Tensor, counted: Tensor) -> Interval | None:
    prompt, rater = numbered([vote.prompt for vote in votes]), numbered([vote.rater for vote in votes])
    found = share_of_votes(hits.double(), counted.double(), prompt, rater)
    return None if found is None else Interval(value=found.share, low=found.low, high=found.high)


def _strengths(arms: Sequence[str], votes: Sequence[Vote]) -> tuple[Strength, ...]:
    first, second = (torch.tensor([arms.index(vote.arms[place]) for vote in votes]) for place in (0, 1))
    try:
        fit = davidson(first, second, torch.tensor([vote.outcome for vote in votes]), len(arms))
    except ValueError:
        return ()  # arms that the answers do not connect: what was compared stands in the duels
    prompt, rater = numbered([vote.prompt for vote in votes]), numbered([vote.rater for vote in votes])
    return tuple(
        Strength(arm=arm, win_rate=_odds(fit.strengths[place], fit.influence[:, place], prompt, rater))
        for place, arm in enumerate(arms)
        if place
    )


def _odds(
    strength: Float[Tensor, ""], influence: Float[Tensor, " votes"], prompt: Int[Tensor, " votes"], rater: Int[Tensor, " votes"]
) -> Interval:
    half = crossed_spread(influence, prompt, rater).half_width()
    value, low, high = torch.stack([strength, strength - half, strength + half]).sigmoid().tolist()
    return Interval(value=value, low=low, high=high)


def _agreement(key: Key, votes: Sequence[Vote], critic: str, measure: str, values: Mapping[str, float]) -> Agreement | None:
    """Return how often a score agrees with votes that are no ties; None if it knows fewer than two prompts' clips."""
    preferred = {name: _preferred(key, name, measure, values) for name in dict.fromkeys(vote.item for vote in votes)}
    known = [vote for vote in votes if vote.outcome != TIE and preferred[vote.item] is not None]
    if len({vote.prompt for vote in known}) < 2:
        return None
    # A score that is equal for both clips prefers neither: half of such votes are counted as hits.
    hits = torch.tensor([0.5 if preferred[v.item] == TIE else float(preferred[v.item] == v.outcome) for v in known])
    accuracy = _share(known, hits, torch.ones(len(known)))
    if accuracy is None:
        return None
    prompts = len({vote.prompt for vote in known})
    return Agreement(critic=critic, measure=measure, accuracy=accuracy, votes=len(known), prompts=prompts)


def _preferred(key: Key, name: str, measure: str, values: Mapping[str, float]) -> int | None:
    """Return which arm's clip of an item a measure prefers; None if it is not known of both."""
    item = key.items[name]
    by_arm = dict(zip(item.arms, (values.get(clip) for clip in item.clips), strict=True))
    first, second = (by_arm[arm] for arm in sorted(item.arms, key=key.arms.index))
    if first is None or second is None:
        return None
    if first == second:
        return TIE
    return FIRST if MEASURES[measure].is_better(first, second) else SECOND
