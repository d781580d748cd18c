"""The page that shows a run: whether alignment helped, at which motion, and what the run was made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from videogpa.findings import Change, CriticFindings, Evaluation, JudgeFindings, Rounds
from videogpa.measures import MEASURES, MOTIONS
from videogpa.report.charts import Point, curves, scatter
from videogpa.report.judged import judged_groups
from videogpa.report.page import write_page
from videogpa.report.player_files import embedded_or_linked
from videogpa.report.verdict import best_lines, headline, round_lines
from videogpa.video.sampling import sample_indices

MOST_POINTS = 1000
"""How many clips of each model the scatter plot shows: all, or as many that are evenly spread over the ranking."""

MOST_FAILURES = 500
"""How many clips without a score are listed."""


@dataclass(frozen=True)
class FunnelStep:
    """How many groups of candidates are left after a condition."""

    label: str
    count: int


@dataclass(frozen=True)
class Panel:
    """A plot of training."""

    title: str
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]
    """Name of each curve -> its steps and its values."""
    reference: float | None = None
    """The value while the policy equals its reference, drawn as a dotted line."""


@dataclass(frozen=True)
class ClipPair:
    """What the base model, and the aligned model at each strength, made of the same prompt with the same seed."""

    label: str
    numbers: Mapping[str, tuple[float | None, float | None]]
    """Score and motion by model: `base` or `aligned`, with the strength of the adapter if there are several."""
    player: Path
    """Where the player of the clips lies in the report's folder, without suffix; its panels are titled by model."""


@dataclass(frozen=True)
class ClipNumbers:
    """A clip's score and motion, for the scatter plot."""

    clip: str
    model: str
    score: float
    motion: float


@dataclass(frozen=True)
class NotScored:
    """A clip without a score, and the reason."""

    clip: str
    model: str
    critic: str
    status: str
    reason: str


@dataclass(frozen=True)
class RunSummary:
    """Everything that the page shows."""

    name: str
    evaluation: Evaluation
    recipe: str
    """The text of recipe.yaml, with its provenance."""
    rounds: Rounds | None = None
    """Of several rounds; `evaluation` is then that of the first."""
    measure: str = "loo_error"
    """The measure that the clips and the scatter plot show as the score."""
    motion: Literal["flow", "motion"] = "flow"
    """The measure of motion that they show beside it."""
    funnel: Sequence[FunnelStep] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reason -> how many groups gave no pair for it."""
    panels: Sequence[Panel] = ()
    trained: str = ""
    """What the held-out pairs say of the training, in a sentence."""
    clip_pairs: Sequence[ClipPair] = ()
    clips: Sequence[ClipNumbers] = ()
    not_scored: Sequence[NotScored] = ()


def write_run_report(path: Path, summary: RunSummary) -> None:
    """Write the report of a run into one HTML file that opens offline. The same summary gives the same bytes."""
    evaluation = summary.evaluation
    findings = _findings(evaluation, summary.rounds)
    changes = {critic: motion_first(found.changes) for critic, found in findings.items()}
    less_motion = [
        (critic, measure, change)
        for critic, rows in changes.items()
        for measure, change in rows.items()
        if measure in MOTIONS and change.verdict == "less"
    ]
    plotted = _plotted(summary)
    write_page(
        path,
        "run.html.j2",
        title=summary.name,
        summary=summary,
        verdicts=[
            (found.outcome.verdict, headline(critic, found.outcome))
            for critic, found in findings.items()
            if found.outcome is not None
        ],
        changes=changes,
        chose_pairs=[critic for critic in changes if findings[critic].chose_pairs],
        best=best_lines(evaluation),
        judged=judged_groups(_judged(evaluation, summary.rounds)),
        round_lines=[] if summary.rounds is None else round_lines(summary.rounds),
        rounds=0 if summary.rounds is None else len(summary.rounds.against_base),
        compared=list(dict.fromkeys(measure for rows in changes.values() for measure in rows)),
        motions=MOTIONS,
        less_motion=less_motion,
        most=max((step.count for step in summary.funnel), default=0) or 1,
        players=embedded_or_linked(path.parent, [pair.player for pair in summary.clip_pairs]),
        chart=_scatter(summary, plotted),
        plotted=sum(map(len, plotted.values())),
        not_scored=summary.not_scored[:MOST_FAILURES],
        panels=[(panel, curves(panel.curves, reference=panel.reference)) for panel in summary.panels],
    )


def _findings(evaluation: Evaluation, rounds: Rounds | None) -> dict[str, CriticFindings]:
    """Return the comparisons that the page shows, by what it calls them: at every strength, or of every round."""
    if rounds is not None:
        found = rounds.comparisons()
        return {f"{critic}, {name}": critics[critic] for name, critics in found.items() for critic in sorted(critics)}
    return {
        critic + evaluation.label(scale): critics[critic]
        for scale, critics in evaluation.strengths().items()
        for critic in sorted(critics)
    }


def _judged(evaluation: Evaluation, rounds: Rounds | None) -> dict[str, dict[str, JudgeFindings]]:
    """Return what judges say, by what is compared with the base."""
    if rounds is not None:
        return rounds.judged()
    return {f"aligned{evaluation.label(scale)}": judges for scale, judges in evaluation.judged().items()}


def motion_first(changes: Mapping[str, Change]) -> dict[str, Change]:
    """Sort changes by measure: those of motion first, then in the order of `MEASURES`."""
    order = [*MOTIONS, *(name for name in MEASURES if name not in MOTIONS)]
    return {name: changes[name] for name in sorted(changes, key=order.index)}


def _plotted(summary: RunSummary) -> dict[str, list[ClipNumbers]]:
    """Return the clips of each model that the scatter plot shows, base first."""
    models = list(dict.fromkeys(["base", *(clip.model for clip in summary.clips)]))
    of_model: dict[str, list[ClipNumbers]] = {}
    for clip in sorted(summary.clips, key=lambda clip: (models.index(clip.model), clip.score, clip.clip)):
        of_model.setdefault(clip.model, []).append(clip)
    return {
        model: [clips[i] for i in sample_indices(len(clips), min(len(clips), MOST_POINTS))] for model, clips in of_model.items()
    }


def _scatter(summary: RunSummary, plotted: Mapping[str, Sequence[ClipNumbers]]) -> str | None:
    anchors = {pair.label: f"pair-{number}" for number, pair in enumerate(summary.clip_pairs, start=1)}
    series = {
        model: [Point(f"{clip.clip} ({model})", clip.motion, clip.score, anchors.get(clip.clip, "")) for clip in clips]
        for model, clips in plotted.items()
    }
    return scatter(series, x=summary.motion, y=summary.measure) if series else None
