"""What comparisons find: the change of every measure, verdicts, and the contents of evaluation.json and compare.json."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from videogpa.measures import Verdict


class Wins(BaseModel):
    """How often the aligned model's clip is better than the base's of the same prompt and seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wins: int
    ties: int
    losses: int
    share: float
    """The share of wins, ties counting half: the mean over prompts."""
    low: float
    high: float
    """Its interval over prompts, with 95 % confidence."""


class Change(BaseModel):
    """The base and the aligned model compared by one measure, paired on prompt and seed.

    `low` and `high` bound the mean difference aligned - base with 95 % confidence. Clips of one prompt are not independent:
    the interval resamples prompts, and `n` is the number of prompts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: float
    aligned: float
    difference: float
    low: float
    high: float
    win_rate: float | None
    """The share of clips on which the aligned model is better, ties counting half; None if neither direction is better."""
    n: int
    clips: int
    verdict: Verdict
    wins: Wins | None = None
    """For numbers of judges."""


TrainingOutcome = Literal[
    "better",
    "explained by less motion",
    "paid for with quality",
    "paid for with diversity",
    "worse",
    "unclear",
    "too few prompts",
]
"""Whether a training reached its aim, which is better geometry at equal motion, quality and diversity."""


class Relative(BaseModel):
    """A change as a share of the base model's mean, with its interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    change: float
    low: float
    high: float


class Outcome(BaseModel):
    """Whether a training reached its aim, with the numbers behind the verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: TrainingOutcome
    measure: str
    """The measure of geometry that determines the verdict."""
    geometry: Relative
    motion: dict[str, Relative]
    quality: dict[str, Relative] = Field(default_factory=dict)
    """Changes of sharpness, flicker and colours, of clips that have them."""
    judged: dict[str, Wins] = Field(default_factory=dict)
    """The judges' numbers that a gain may have been paid for with, and how often the aligned model wins by each."""
    diversity: Relative | None = None
    """The change of how much the clips of a prompt differ from each other; None where prompts have one clip."""
    lost: tuple[str, ...] = ()
    """The measures that got too much worse for a gain of geometry to count."""
    failing: tuple[float, float] | None
    """The shares of failing clips of the base and the aligned model, if the critic can detect failing clips."""
    n: int
    chose_pairs: bool


class CriticFindings(BaseModel):
    """One critic's comparison of the base and the aligned model.

    `base` and `aligned` count the clips by status; `changes` cover the clips that could be scored in both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chose_pairs: bool
    """Whether this critic also chose the training pairs. The gain may then be reward over-optimisation."""
    base: dict[str, int]
    aligned: dict[str, int]
    changes: dict[str, Change]
    outcome: Outcome | None
    """None if too few clips could be scored to compare them."""


class JudgeFindings(BaseModel):
    """One judge's comparison of the base and the aligned model.

    `base` and `aligned` count the clips by status; `changes` cover the clips that have a number in both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: dict[str, int]
    aligned: dict[str, int]
    changes: dict[str, Change]


def changes_by_name(judges: Mapping[str, JudgeFindings]) -> dict[str, Change]:
    """Return the changes of all judges' numbers, by the number's name."""
    return {name: change for found in judges.values() for name, change in found.changes.items()}


class AtStrength(BaseModel):
    """The comparison at one strength of the adapter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter_scale: float
    critics: dict[str, CriticFindings]
    judges: dict[str, JudgeFindings] = Field(default_factory=dict)


class MethodFindings(BaseModel):
    """One method's clips compared with those of the base of a `Comparison`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: CriticFindings
    clips: int
    """How many clips have a partner among those of the base."""
    geometric: Relative | None
    """The change of the geometric mean of the leave-one-out error; None if fewer than two prompts can be compared."""
    judges: dict[str, JudgeFindings] = Field(default_factory=dict)


class Comparison(BaseModel):
    """What compare.json holds: clips of several methods, each method compared with the base by one critic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    critic: str
    methods: dict[str, MethodFindings]
    unmatched: dict[str, list[str]]
    """Method -> names of its clips without a partner."""


class BestOf(BaseModel):
    """What choosing among a prompt's clips buys: the best of them against the mean of all the base model's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """The model whose clips were chosen from: base or aligned."""
    candidates: int
    """The most clips of a prompt that there were to choose from."""
    chosen_by: str
    """The critic that chose."""
    measure: str
    """The measure that it chose by."""
    critics: dict[str, CriticFindings]
    """The comparison by each critic; `aligned` is what was chosen."""


class Rounds(BaseModel):
    """The content of rounds.json: the rounds of a run compared with the base model and with each other, by each critic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_from: str
    """A fingerprint of the adapters and scores of all rounds."""
    against_base: Annotated[tuple[dict[str, CriticFindings], ...], Field(min_length=2, max_length=100)]
    """For every round, base against it."""
    last_two: dict[str, CriticFindings]
    """The round before the last against the last."""

    judges: tuple[dict[str, JudgeFindings], ...] = ()
    """What judges say of these comparisons, in their order, the last two rounds at the end."""

    def names(self) -> list[str]:
        """Return what is compared: `round 1`, `round 2`, ..., `round 2 against round 1`."""
        count = len(self.against_base)
        return [*(f"round {number}" for number in range(1, count + 1)), f"round {count} against round {count - 1}"]

    def comparisons(self) -> dict[str, dict[str, CriticFindings]]:
        """Return the comparison by each critic, by what is compared."""
        return dict(zip(self.names(), (*self.against_base, self.last_two), strict=True))

    def judged(self) -> dict[str, dict[str, JudgeFindings]]:
        """Return what judges say, by what is compared."""
        return dict(zip(self.names(), self.judges, strict=False))


class Evaluation(BaseModel):
    """The content of evaluation.json: the comparison of the base and the aligned model by each critic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    critics: dict[str, CriticFindings]
    """The comparison at the strength `adapter_scale`, the first of `evaluate.adapter_scale`."""
    judges: dict[str, JudgeFindings] = Field(default_factory=dict)
    """What the judges of `evaluate.judges` say at that strength."""
    adapter_scale: float = 1.0
    further: tuple[AtStrength, ...] = ()
    """The comparisons at the other strengths, with the same clips of the base model."""
    best_of: tuple[BestOf, ...] = ()
    """The best of a prompt's clips by the critic that chose the pairs, of the base and of the aligned model."""
    adapter: str | None = None
    """Path of the aligned model's adapter, if it is not that of the run."""
    adapter_fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = None
    """Of that adapter; its clips lie in a folder of its own."""

    def strengths(self) -> dict[float, dict[str, CriticFindings]]:
        """Return the comparison by each critic, for every strength of the adapter."""
        return {self.adapter_scale: self.critics, **{each.adapter_scale: each.critics for each in self.further}}

    def judged(self) -> dict[float, dict[str, JudgeFindings]]:
        """Return what judges say, for every strength of the adapter."""
        return {self.adapter_scale: self.judges, **{each.adapter_scale: each.judges for each in self.further}}

    def label(self, scale: float) -> str:
        """Return what the strength adds to the name of a critic or a model; nothing if it is the only one, and as trained."""
        return "" if self.strengths().keys() == {1.0} else f" at strength {scale:g}"
