"""The page that shows several methods' clips: who is more consistent, at which motion, and the clips playing in step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videogpa.measures import MOTIONS
from videogpa.records import Comparison, Score
from videogpa.report.page import write_page
from videogpa.report.run import motion_first
from videogpa.report.verdict import VERDICTS, interval


@dataclass(frozen=True)
class Shown:
    """A method's clip: its score, and a small video (see `videogpa.report.players`) if the file could be read."""

    method: str
    score: Score
    video: bytes | None


@dataclass(frozen=True)
class ComparedClip:
    """The clips that the methods made of one prompt."""

    name: str
    clips: Sequence[Shown]


def write_comparison_report(path: Path, comparison: Comparison, clips: Sequence[ComparedClip]) -> None:
    """Write the report of a comparison into one HTML file that opens offline. The same content gives the same bytes.

    Args:
        path: The HTML file to write.
        comparison: The changes and verdicts.
        clips: The clips to play, in the order in which they are shown.
    """
    changes = {method: motion_first(found.findings.changes) for method, found in comparison.methods.items()}
    write_page(
        path,
        "comparison.html.j2",
        title=f"{', '.join(comparison.methods)} against {comparison.base}",
        comparison=comparison,
        changes=changes,
        verdicts=VERDICTS,
        interval_of=interval,
        compared=list(dict.fromkeys(measure for rows in changes.values() for measure in rows)),
        motions=MOTIONS,
        clips=clips,
        not_scored=[shown for clip in clips for shown in clip.clips if shown.score.status != "ok"],
    )
