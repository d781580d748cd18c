"""The page that shows scored files: their ranking, the frames and renders behind the scores, and what was not scored."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from urllib.parse import quote

from videogpa.records import Score
from videogpa.report.charts import Point, scatter
from videogpa.report.page import write_page
from videogpa.report.strip_files import ERROR_SCALE, FRAMES_SHOWN, LEGEND, spaces_of
from videogpa.report.tables import distinct_names
from videogpa.video.sampling import sample_indices

MOTION = "flow"
"""The measure of motion shown beside every score: unlike camera motion, it has the same unit in all clips."""

COLUMNS = (
    *("loo_error", "loo_error_se", MOTION, "motion", "loo_coverage", "loo_mse", "loo_lpips"),
    *("error_3dcs", "mse", "lpips", "psnr", "ssim", "mvcs", "epipolar", "jerk"),
)
"""The columns of the table, in order; those that no clip has are left out."""

MOST_CARDS = 30
"""How many clips are shown with their pictures: all, or the best `BEST`, changed ones, and the worst."""
BEST, CHANGED = 8, 8

MOST_ROWS = 2000
"""How many clips the table and the plot hold: all, or the best and the worst half. All are in scores.jsonl and scores.csv."""

MOST_FAILURES = 500
"""How many clips without a score are listed."""

_STATUSES = ("ok", "partial", "no_parallax", "failed", "unreadable", "error")


@dataclass(frozen=True)
class ClipCard:
    """A clip's score, and its picture (see `videogpa.report.strips.make_strip`) if it could be reconstructed."""

    score: Score
    strip: bytes | None = None
    picture: Path | None = None
    """Where the strip lies in the report's folder, if the card does not hold it: read if the clip is shown, else linked."""
    changed: bool = False
    """Whether the clip was scored just now, beside others that were known."""
    name: str = ""
    """What the clip is called on the page, which `write_score_report` chooses to tell it from the others."""

    @property
    def shown(self) -> str:
        """The numbers of the judged frames in the strip, counted from one."""
        frames = self.score.frames or FRAMES_SHOWN
        return ", ".join(str(i + 1) for i in sample_indices(frames, min(FRAMES_SHOWN, frames)))


@dataclass(frozen=True)
class Line:
    """A clip in the table, and where it leads: to its card on the page, or to its picture beside it."""

    anchor: str
    card: ClipCard
    shown: bool
    link: str | None


def write_score_report(path: Path, cards: Sequence[ClipCard], *, title: str) -> None:
    """Write the report of scored clips into one HTML file that opens offline, of about 12 MB at most.

    The clips of one critic after the other are ranked by `loo_error`; partially scored clips follow, unranked, and
    those without a score are listed with their reasons. Nothing in the file depends on the time or the machine. Of many clips
    `MOST_CARDS` are shown with their pictures, `MOST_ROWS` in the table, and `MOST_FAILURES` of those without a score.

    Args:
        path: The HTML file to write.
        cards: The clips, in any order.
        title: The heading of the page.
    """
    names = distinct_names([card.score.clip for card in cards])
    ordered = [replace(card, name=names[card.score.clip]) for card in sorted(cards, key=_rank)]
    scored = [card for card in ordered if card.score.loo_error is not None]
    failures = [card for card in ordered if card.score.loo_error is None]
    lines = _lines(scored, path.parent)
    counts = Counter(str(card.score.status) for card in cards)
    write_page(
        path,
        "scores.html.j2",
        title=title,
        counts={status: counts[status] for status in _STATUSES if counts[status]},
        facts=_facts(cards),
        columns=[name for name in COLUMNS if any(getattr(card.score, name) is not None for card in scored)],
        motion=MOTION,
        lines=lines,
        clips=[(line.anchor, line.card, _strip(line.card, path.parent)) for line in lines if line.shown],
        scored=len(scored),
        spaces=spaces_of({line.anchor: line.card.picture for line in lines if line.shown}, path.parent),
        worst=max((card.score.loo_error or 0.0 for card in scored), default=0.0) or 1.0,
        failures=failures[:MOST_FAILURES],
        failed=len(failures),
        chart=_scatter(lines),
        gradient=LEGEND,
        error_scale=ERROR_SCALE,
        several_critics=len({card.score.critic for card in cards}) > 1,
    )


def _rank(card: ClipCard) -> tuple[str, int, float, str]:
    row = card.score
    return row.critic, _STATUSES.index(row.status), row.loo_error or 0.0, row.clip


def _lines(scored: Sequence[ClipCard], folder: Path) -> list[Line]:
    """Return the lines of the table, of ranked clips: the best and the worst ones, if there are too many."""
    half = MOST_ROWS // 2
    numbers = range(len(scored)) if len(scored) <= MOST_ROWS else [*range(half), *range(len(scored) - half, len(scored))]
    shown = _chosen([scored[number] for number in numbers])
    lines = []
    for number in numbers:
        card = scored[number]
        link = quote(card.picture.as_posix()) if card.picture is not None and _is_own(folder / card.picture) else None
        lines.append(Line(f"clip-{number + 1}", card, id(card) in shown, link))
    return lines


def _chosen(ranked: Sequence[ClipCard]) -> set[int]:
    """Return the `id` of the cards that are shown with pictures: best, changed and worst ones, in turn of every critic."""
    if len(ranked) <= MOST_CARDS:
        return {id(card) for card in ranked}
    of_critic: dict[str, list[ClipCard]] = {}
    for card in ranked:
        of_critic.setdefault(card.score.critic, []).append(card)
    best = _in_turn(of_critic.values())
    worst = _in_turn([sorted(cards, key=lambda card: -(card.score.loo_error or 0.0)) for cards in of_critic.values()])
    changed = [card for card in worst if card.changed]
    wanted = [*best[:BEST], *changed[:CHANGED], *worst]
    return set(list(dict.fromkeys(map(id, wanted)))[:MOST_CARDS])


def _in_turn(lists: Iterable[Sequence[ClipCard]]) -> list[ClipCard]:
    return [card for cards in zip_longest(*lists) for card in cards if card is not None]


def _strip(card: ClipCard, folder: Path) -> bytes | None:
    if card.strip is not None or card.picture is None:
        return card.strip
    file = folder / card.picture
    return file.read_bytes() if _is_own(file) else None


def _is_own(file: Path) -> bool:
    """Whether it is a file, and no link, which could lead to any file of the user's."""
    return file.is_file() and not file.is_symlink()


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
        row = line.card.score
        motion, score = getattr(row, MOTION), row.loo_error
        if motion is not None and score is not None:
            series.setdefault(row.status, []).append(Point(line.card.name, motion, score, line.anchor))
    return scatter(series, x=MOTION, y="loo_error") if series else None
