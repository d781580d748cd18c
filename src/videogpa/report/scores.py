"""The page that shows scored files: their ranking, the frames and renders behind the scores, and what was not scored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from videogpa.records import Score
from videogpa.report.charts import Point, scatter
from videogpa.report.page import write_page
from videogpa.report.player_files import ERROR_SCALE, LEGEND, ShownPlayer, embedded_or_linked, spaces_of
from videogpa.report.tables import distinct_names

MOTION = "flow"
"""The measure of motion shown beside every score: unlike camera motion, it has the same unit in all clips."""

COLUMNS = (
    *("loo_error", "loo_error_se", "background_error", "subject_error", MOTION, "motion"),
    *("still_share", "moving_share", "broken_share", "unseen_share", "loo_coverage", "loo_mse", "loo_lpips"),
    *("error_3dcs", "mse", "lpips", "psnr", "ssim", "mvcs", "epipolar", "jerk"),
    *("camera_flow", "subject_flow", "dynamic_degree", "flicker", "sharpness", "saturation", "exposure"),
)
"""The columns of the table, in order; those that no clip has are left out."""

MOST_ROWS = 2000
"""How many clips with a score the page holds: all, or the best and the worst half. All are in scores.jsonl and scores.csv."""

MOST_FAILURES = 500
"""How many clips without a score are listed."""

_STATUSES = ("ok", "partial", "no_parallax", "failed", "unreadable", "error")


@dataclass(frozen=True)
class ClipCard:
    """A clip's score, and its player (see `videogpa.report.players`) if it could be reconstructed."""

    score: Score
    player: Path | None = None
    """Where the player lies in the report's folder, without a suffix."""


@dataclass(frozen=True)
class Line:
    """A clip on the page: a row of the table and, if it has a score, a card."""

    anchor: str
    name: str
    """The end of its path, as long as it takes to tell it from the others."""
    score: Score
    rank: int
    """By which the table sorts the statuses."""
    shown: ShownPlayer | None
    space: str | None
    """What its 3D view shows, in base64, if the page holds it."""


def write_score_report(path: Path, cards: Sequence[ClipCard], *, title: str) -> None:
    """Write the report of scored clips: an HTML file that opens offline.

    The clips of one critic after the other are ranked by `loo_error`; partially scored clips follow, unranked, and
    those without a score are listed with their reasons. Nothing in the file depends on the time or the machine. Of more than
    `MOST_EMBEDDED` clips with pictures the players are loaded from the folder in which they lie, beside the page. The page
    holds `MOST_ROWS` clips with a score and `MOST_FAILURES` without.

    Args:
        path: The HTML file to write.
        cards: The clips, in any order.
        title: The heading of the page.
    """
    ordered = sorted(cards, key=_rank)
    scored = [card for card in ordered if card.score.loo_error is not None]
    failures = [card for card in ordered if card.score.loo_error is None]
    lines = _lines([*_best_and_worst(scored), *failures[:MOST_FAILURES]], path.parent, distinct_names(_clips(cards)))
    counts = Counter(str(card.score.status) for card in cards)
    write_page(
        path,
        "scores.html.j2",
        title=title,
        linked=any(line.shown is not None and not line.shown.embedded for line in lines),
        counts={status: counts[status] for status in _STATUSES if counts[status]},
        facts=_facts(cards),
        columns=[name for name in COLUMNS if any(getattr(card.score, name) is not None for card in scored)],
        motion=MOTION,
        lines=lines,
        scored=len(scored),
        failed=len(failures),
        most_rows=MOST_ROWS,
        most_failures=MOST_FAILURES,
        worst=max((card.score.loo_error or 0.0 for card in scored), default=0.0) or 1.0,
        chart=_scatter(lines),
        gradient=LEGEND,
        error_scale=ERROR_SCALE,
        several_critics=len({card.score.critic for card in cards}) > 1,
    )


def _clips(cards: Sequence[ClipCard]) -> list[str]:
    return [card.score.clip for card in cards]


def _rank(card: ClipCard) -> tuple[str, int, float, str]:
    row = card.score
    return row.critic, _STATUSES.index(row.status), row.loo_error or 0.0, row.clip


def _best_and_worst(ranked: Sequence[ClipCard]) -> Sequence[ClipCard]:
    half = MOST_ROWS // 2
    return ranked if len(ranked) <= MOST_ROWS else [*ranked[:half], *ranked[-half:]]


def _lines(cards: Sequence[ClipCard], folder: Path, names: Mapping[str, str]) -> list[Line]:
    anchors = [f"clip-{number}" for number in range(1, len(cards) + 1)]
    players = embedded_or_linked(folder, [card.player for card in cards])
    spaces = spaces_of({anchor: card.player for anchor, card in zip(anchors, cards, strict=True)}, folder)
    return [
        Line(anchor, names[card.score.clip], card.score, _STATUSES.index(card.score.status), shown, spaces.get(anchor))
        for anchor, card, shown in zip(anchors, cards, players, strict=True)
    ]


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


def _scatter(lines: Sequence[Line]) -> str | None:
    """Plot score against motion; None if no clip has both."""
    series: dict[str, list[Point]] = {}
    for line in lines:
        motion, error = getattr(line.score, MOTION), line.score.loo_error
        if motion is not None and error is not None:
            series.setdefault(line.score.status, []).append(Point(line.name, motion, error, line.anchor))
    return scatter(series, x=MOTION, y="loo_error") if series else None
