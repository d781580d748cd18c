"""The page that shows scored files: their ranking, the frames and renders behind the scores, and what was not scored."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from videogpa.records import Score
from videogpa.report.charts import Point, scatter
from videogpa.report.page import write_page
from videogpa.report.strips import ERROR_SCALE, FRAMES_SHOWN, legend_gradient
from videogpa.report.tables import distinct_names
from videogpa.video import sample_indices

MOTION = "flow"
"""The measure of motion shown beside every score: unlike camera motion, it has the same unit in all clips."""

COLUMNS = (
    *("loo_error", MOTION, "motion", "loo_coverage", "loo_mse", "loo_lpips"),
    *("error_3dcs", "mse", "lpips", "psnr", "ssim", "mvcs", "epipolar", "jerk"),
)
"""The columns of the table, in order; those that no clip has are left out."""

_STATUSES = ("ok", "partial", "no_parallax", "failed", "unreadable", "error")


@dataclass(frozen=True)
class ClipCard:
    """A clip's score, and its picture (see `videogpa.report.strips.make_strip`) if it could be reconstructed."""

    score: Score
    strip: bytes | None = None
    name: str = ""
    """What the clip is called on the page, which `write_score_report` chooses to tell it from the others."""

    @property
    def shown(self) -> str:
        """The numbers of the judged frames in the strip, counted from one."""
        frames = self.score.frames or FRAMES_SHOWN
        return ", ".join(str(i + 1) for i in sample_indices(frames, min(FRAMES_SHOWN, frames)))


def write_score_report(path: Path, cards: Sequence[ClipCard], *, title: str) -> None:
    """Write the report of scored clips into one HTML file that opens offline.

    The clips of one critic after the other are ranked by `loo_error`; partially scored clips follow, unranked, and
    those without a score are listed with their reasons. Nothing in the file depends on the time or the machine.

    Args:
        path: The HTML file to write.
        cards: The clips, in any order.
        title: The heading of the page.
    """
    names = distinct_names([card.score.clip for card in cards])
    ordered = [replace(card, name=names[card.score.clip]) for card in sorted(cards, key=_rank)]
    scored = [card for card in ordered if card.score.loo_error is not None]
    anchors = {id(card): f"clip-{number}" for number, card in enumerate(scored, start=1)}
    counts = Counter(str(card.score.status) for card in cards)
    write_page(
        path,
        "scores.html.j2",
        title=title,
        counts={status: counts[status] for status in _STATUSES if counts[status]},
        facts=_facts(cards),
        columns=[name for name in COLUMNS if any(getattr(card.score, name) is not None for card in scored)],
        motion=MOTION,
        clips=[(anchors[id(card)], card) for card in scored],
        worst=max((card.score.loo_error or 0.0 for card in scored), default=0.0) or 1.0,
        failures=[card for card in ordered if card.score.loo_error is None],
        chart=_scatter(scored, anchors),
        gradient=legend_gradient(),
        error_scale=ERROR_SCALE,
        several_critics=len({card.score.critic for card in cards}) > 1,
    )


def _rank(card: ClipCard) -> tuple[str, int, float, str]:
    row = card.score
    return row.critic, _STATUSES.index(row.status), row.loo_error or 0.0, row.clip


def _facts(cards: Sequence[ClipCard]) -> dict[str, str]:
    """Return how the clips were scored; several values where the clips differ."""
    scores = [card.score for card in cards]
    found = {
        "critic": {score.critic for score in scores},
        "LPIPS network": {str(score.lpips_net) for score in scores if score.lpips_net},
        "critic settings": {f"{name} {value}" for score in scores for name, value in (score.details or {}).items()},
        "judged frames per clip": {str(score.frames) for score in scores if score.frames},
    }
    return {name: ", ".join(sorted(values)) for name, values in found.items() if values}


def _scatter(scored: Sequence[ClipCard], anchors: dict[int, str]) -> str | None:
    """Plot score against motion; None if no clip has both."""
    series: dict[str, list[Point]] = {}
    for card in scored:
        motion, score = getattr(card.score, MOTION), card.score.loo_error
        if motion is not None and score is not None:
            series.setdefault(card.score.status, []).append(Point(card.name, motion, score, anchors[id(card)]))
    return scatter(series, x=MOTION, y="loo_error") if series else None
