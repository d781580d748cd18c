"""The files of a study: its key, which says whose clips are whose, and the answers of a rater.

Answers come from elsewhere: nothing in them is believed that is not checked here or against the key.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PAGE, KEY, ANSWERS, MEDIA, INDEX = "page", "key.json", "answers", "clips", "study.html"
"""What a study's folder holds: the folder for raters, the key, the answers that `study serve` collects; and what the folder for
raters holds: videos and the page."""

QUESTIONS = {"space": "Whose space holds together better?", "overall": "Which is better overall?"}
"""What raters are asked of every pair of clips, by the question's name."""

SCRAMBLED = "scrambled"
"""In place of an arm's name: the clip that is cut into tiles, which no attentive rater prefers."""

Choice = Literal["left", "right", "same"]
Id = Annotated[str, Field(pattern=r"^[0-9a-z]{4,32}$")]
Count = Annotated[int, Field(ge=0, le=100_000)]
Seconds = Annotated[float, Field(ge=0, le=1e7)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Item(_Strict):
    """Two clips that are shown together. The two of each field belong to the two panels of the item's video."""

    name: str
    """What the arms call the clip."""
    prompt: str
    """The prompt it belongs to: clips of one prompt are not independent."""
    arms: tuple[str, str]
    clips: tuple[str, str]
    """The absolute paths of the clips."""
    seconds: Annotated[float, Field(gt=0, le=1e6)]
    """How long the clips are."""

    @property
    def is_check(self) -> bool:
        """Whether one of the clips is scrambled."""
        return SCRAMBLED in self.arms


class Trial(_Strict):
    """What a rater is shown at one time."""

    item: Id
    left: Literal[0, 1]
    """Which of the item's two panels is on the left."""
    repeat: bool = False
    """Whether the rater has seen the item before."""


class Key(_Strict):
    """What key.json holds: what a study consists of, and whose clips are whose. Raters do not see it."""

    study: Id
    made_by: str
    """The version of the program."""
    seed: int
    """From which pairs, order and sides were drawn. Who knows it knows the sides."""
    arms: Annotated[tuple[str, ...], Field(min_length=2)]
    """The methods, the base first."""
    items: dict[Id, Item]
    raters: Annotated[dict[Id, tuple[Trial, ...]], Field(min_length=1)]
    """What each rater is shown, in order, by the rater's code."""
    scores: tuple[str, ...] = ()
    """Folders of scores that the clips already had, of a run's evaluation."""

    @model_validator(mode="after")
    def _whole(self) -> "Key":
        known = {*self.arms, SCRAMBLED}
        if any(not set(item.arms) <= known for item in self.items.values()):
            raise ValueError("an item names an arm that the study does not have")
        if any(trial.item not in self.items for trials in self.raters.values() for trial in trials):
            raise ValueError("a rater is shown an item that the study does not have")
        return self


class Answer(_Strict):
    """What a rater answered in one trial, and how long the clips were in view."""

    trial: Count
    """The number of the trial, from 0."""
    choices: dict[str, Choice]
    seconds: Seconds

    @model_validator(mode="after")
    def _to_all_questions(self) -> "Answer":
        if self.choices.keys() != QUESTIONS.keys():
            raise ValueError(f"expected an answer to each of {', '.join(QUESTIONS)}")
        return self


class Answers(_Strict):
    """The answers of a rater, as the page saves and sends them."""

    study: Id
    rater: Id
    browser: Id
    """Drawn by the rater's browser: another one does not continue these answers."""
    answers: Annotated[tuple[Answer, ...], Field(max_length=100_000)]

    @model_validator(mode="after")
    def _once_each(self) -> "Answers":
        if len({answer.trial for answer in self.answers}) < len(self.answers):
            raise ValueError("a trial is answered twice")
        return self
