"""From answers to votes: what was on which side is looked up in the key, and each rater's attention is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, computed_field
from torch import Tensor

from videogpa.study.records import QUESTIONS, SCRAMBLED, Answer, Answers, Item, Key, Trial

RIGHT_CHECKS = 0.8
"""A rater counts who answers at least this share of the questions about scrambled clips rightly. Of raters who answer at random
one in 56 does so with three scrambled clips (six questions), one in 81 with two."""

SEEN = 0.5
"""A rater counts who had at least this share of the pairs in view for as long as the clips last."""

FIRST, SECOND, TIE = 0, 1, 2


@dataclass(frozen=True)
class Vote:
    """A rater's preference between two arms' clips, which are in the order of the study's arms."""

    item: str
    prompt: str
    rater: str
    arms: tuple[str, str]
    outcome: int
    """`FIRST`, `SECOND` or `TIE`."""


class Rater(BaseModel):
    """How attentively a rater answered, and whether the answers count."""

    model_config = ConfigDict(frozen=True)

    rater: str
    pairs: int
    checks: int
    """Questions about scrambled clips."""
    right: int
    """Of these, how many were answered rightly."""
    seen: float
    """The share of all pairs that were in view for as long as the clips last."""
    repeated: int
    """Questions about pairs that were shown twice."""
    same: int
    """Of these, how many were answered as before."""
    left: float | None
    """The share of `left` among answers that are no ties; it should be near one half. None if all are ties."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def left_out(self) -> str | None:
        """Why the answers do not count; None if they do."""
        if self.checks and self.right < RIGHT_CHECKS * self.checks:
            return f"{self.right} of {self.checks} questions about scrambled clips answered rightly"
        if self.seen < SEEN:
            return f"{self.seen:.0%} of the pairs watched for as long as the clips last"
        return None


def votes_of(key: Key, answers: Sequence[Answers], question: str) -> list[Vote]:
    """Return the votes on a question, without those on scrambled clips and on pairs that were shown before."""
    found = []
    for each in answers:
        for answer, trial, item in _trials(key, each):
            if not trial.repeat and not item.is_check:
                first, second = sorted(item.arms, key=key.arms.index)
                chosen = _chosen(answer, trial, item, question)
                outcome = TIE if chosen is None else FIRST if chosen == first else SECOND
                found.append(Vote(trial.item, item.prompt, each.rater, (first, second), outcome))
    return found


def rater_of(key: Key, answers: Answers) -> Rater:
    """Measure a rater's attention and agreement with oneself."""
    before: dict[tuple[str, str], str | None] = {}
    checks, same, sides = [], [], []
    trials = list(_trials(key, answers))
    for answer, trial, item in trials:
        for question in QUESTIONS:
            chosen = _chosen(answer, trial, item, question)
            if item.is_check:
                checks.append(chosen not in (None, SCRAMBLED))
            elif trial.repeat and (trial.item, question) in before:
                same.append(before[trial.item, question] == chosen)
            else:
                before[trial.item, question] = chosen
                sides += [answer.choices[question]] if chosen is not None else []
    return Rater(
        rater=answers.rater,
        pairs=len(trials),
        checks=len(checks),
        right=sum(checks),
        seen=sum(answer.seconds >= item.seconds for answer, _, item in trials) / max(len(trials), 1),
        repeated=len(same),
        same=sum(same),
        left=sides.count("left") / len(sides) if sides else None,
    )


def _trials(key: Key, answers: Answers) -> list[tuple[Answer, Trial, Item]]:
    """Return a rater's answers with what was shown, in the order in which it was."""
    plan = key.raters[answers.rater]
    ordered = sorted(answers.answers, key=lambda answer: answer.trial)
    return [(answer, plan[answer.trial], key.items[plan[answer.trial].item]) for answer in ordered]


def _chosen(answer: Answer, trial: Trial, item: Item, question: str) -> str | None:
    """Return the arm whose clip was preferred; None for no difference."""
    choice = answer.choices[question]
    if choice == "same":
        return None
    return item.arms[trial.left if choice == "left" else 1 - trial.left]


def numbered(values: Sequence[str]) -> Int[Tensor, " votes"]:
    """Return the number of each value, from 0 in the order in which values first come."""
    numbers: Mapping[str, int] = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return torch.tensor([numbers[value] for value in values], dtype=torch.int64)
