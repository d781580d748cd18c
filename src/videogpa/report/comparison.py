"""The page that shows several methods' clips: who is more consistent, at which motion, and the clips playing in step."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from videogpa.findings import Comparison
from videogpa.measures import MOTIONS
from videogpa.records import Score
from videogpa.report.judged import judged_groups
from videogpa.report.page import write_page
from videogpa.report.player_files import embedded_or_linked
from videogpa.report.run import motion_first
from videogpa.report.verdict import interval, verdict


@dataclass(frozen=True)
class ComparedClip:
    """The clips that the methods made of one prompt."""

    name: str
    scores: Mapping[str, Score]
    """By method; those that have such a clip."""
    player: Path | None = None
    """Where the player of the clips lies in the report's folder, without suffix; its panels are titled by method."""

    @property
    def status(self) -> str:
        """Whether all of them were scored."""
        return "ok" if all(score.status == "ok" for score in self.scores.values()) else "not all ok"


def write_comparison_report(
    path: Path, comparison: Comparison, clips: Sequence[ComparedClip], *, matched: int | None = None
) -> None:
    """Write the report of a comparison into one HTML file that opens offline. The same content gives the same bytes.

    Args:
        path: The HTML file to write.
        comparison: The changes and verdicts.
        clips: The clips to play, in the order in which they are shown.
        matched: How many there are, if not all are shown.
    """
    changes = {method: motion_first(found.findings.changes) for method, found in comparison.methods.items()}
    players = embedded_or_linked(path.parent, [clip.player for clip in clips])
    write_page(
        path,
        "comparison.html.j2",
        title=f"{', '.join(comparison.methods)} against {comparison.base}",
        linked=any(shown is not None and not shown.embedded for shown in players),
        comparison=comparison,
        changes=changes,
        judged=judged_groups({method: found.judges for method, found in comparison.methods.items()}),
        verdict_of=verdict,
        interval_of=interval,
        compared=list(dict.fromkeys(measure for rows in changes.values() for measure in rows)),
        motions=MOTIONS,
        clips=list(zip(clips, players, strict=True)),
        matched=len(clips) if matched is None else matched,
        statuses=dict(Counter(clip.status for clip in clips)),
    )
