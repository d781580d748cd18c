"""The report of a run: did alignment help, at which motion, and what it was made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from videogpa.measures import MEASURES, MOTIONS, Verdict
from videogpa.report.charts import Point, curves, scatter
from videogpa.report.page import write_page


@dataclass(frozen=True)
class Comparison:
    """One measure of one critic, base against aligned, paired by prompt and seed.

    `low` and `high` bound `change` (aligned - base) with 95 % confidence; `n` counts the prompts that were resampled for it.
    """

    critic: str
    measure: str
    base: float
    aligned: float
    change: float
    low: float
    high: float
    n: int

    @property
    def verdict(self) -> Verdict:
        """What the interval says."""
        return MEASURES[self.measure].verdict(self.change, self.low, self.high, n=self.n)


@dataclass(frozen=True)
class FunnelStep:
    """How many groups are left, and after what."""

    label: str
    count: int


@dataclass(frozen=True)
class Panel:
    """A plot of training: curve name -> (steps, values). `reference` is the value of a policy equal to its reference."""

    title: str
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]
    reference: float | None = None


@dataclass(frozen=True)
class Film:
    """The same prompt and seed, before and after. The pictures are JPEGs of `videogpa.report.strips.make_film`."""

    label: str
    base: bytes
    aligned: bytes
    base_score: float | None = None
    base_motion: float | None = None
    aligned_score: float | None = None
    aligned_motion: float | None = None


@dataclass(frozen=True)
class Judged:
    """A clip's numbers for the scatter."""

    clip: str
    model: Literal["base", "aligned"]
    score: float
    motion: float


@dataclass(frozen=True)
class Failure:
    """A clip that has no number, and why."""

    clip: str
    model: str
    critic: str
    status: str
    reason: str


@dataclass(frozen=True)
class RunSummary:
    """All that the report of a run shows. `recipe` is the text of recipe.yaml, with its provenance.

    `measure` is the one that films and scatter show, `motion` the one beside it.
    """

    name: str
    comparisons: Sequence[Comparison]
    recipe: str
    measure: str = "loo_error"
    motion: Literal["flow", "motion"] = "flow"
    verdicts: Sequence[tuple[str, str]] = ()
    """One per critic: a word of `Outcome.verdict`, and the sentence (`videogpa.report.verdict`)."""
    funnel: Sequence[FunnelStep] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    panels: Sequence[Panel] = ()
    films: Sequence[Film] = ()
    judged: Sequence[Judged] = ()
    failures: Sequence[Failure] = ()


def write_run_report(path: Path, summary: RunSummary) -> None:
    """Write the report of a run into one HTML file that opens offline. The same summary gives the same bytes."""
    write_page(
        path,
        "run.html.j2",
        title=summary.name,
        summary=summary,
        critics=by_critic(summary.comparisons),
        motions=MOTIONS,
        frozen=[row for row in summary.comparisons if row.measure in MOTIONS and row.verdict == "less"],
        most=max((step.count for step in summary.funnel), default=0) or 1,
        panels=[(panel, curves(panel.curves, reference=panel.reference)) for panel in summary.panels],
        chart=_scatter(summary),
    )


def by_critic(comparisons: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    """Group by critic, motion first, then in the order of `MEASURES`."""
    order = [*MOTIONS, *(name for name in MEASURES if name not in MOTIONS)]
    groups: dict[str, list[Comparison]] = {}
    for row in sorted(comparisons, key=lambda row: order.index(row.measure)):
        groups.setdefault(row.critic, []).append(row)
    return dict(sorted(groups.items()))


def _scatter(summary: RunSummary) -> str | None:
    anchors = {film.label: f"film-{number}" for number, film in enumerate(summary.films, start=1)}
    series: dict[str, list[Point]] = {}
    for clip in sorted(summary.judged, key=lambda clip: clip.model, reverse=True):  # base first
        point = Point(f"{clip.clip} ({clip.model})", clip.motion, clip.score, anchors.get(clip.clip, ""))
        series.setdefault(clip.model, []).append(point)
    return scatter(series, x=summary.motion, y=summary.measure) if series else None
