"""What is written beside scores.jsonl: the same rows for a spreadsheet, and what the columns mean."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from videogpa.measures import MEASURES
from videogpa.records import Score
from videogpa.runs import write_text

SHOWN = ("loo_score", "loo_coverage", "flow", "motion", "consistency", "epipolar", "jerk", "seconds")
ARROWS = {"lower": "↓", "higher": "↑", None: ""}


def ranked(scores: Sequence[Score]) -> list[Score]:
    """Sort rows best first by their leave-one-out score. Rows that must not be ranked follow, the partial ones first."""
    statuses = {"ok": 0, "partial": 1}
    return sorted(scores, key=lambda row: (statuses.get(row.status, 2), row.loo_score or 0.0, row.clip))


def write_columns(path: Path) -> None:
    """Write what each number means, its unit, and which direction is better."""
    columns = {
        name: {"better": measure.better, "unit": measure.unit, "meaning": measure.meaning} for name, measure in MEASURES.items()
    }
    write_text(path, json.dumps(columns, indent=1) + "\n")


def write_csv(path: Path, scores: Sequence[Score]) -> None:
    """Write the rows as comma-separated values; what is missing is an empty cell."""
    text = io.StringIO()
    fields = [name for name in Score.model_fields if name != "fingerprint"]
    writer = csv.DictWriter(text, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump(mode="json") for row in scores)
    write_text(path, text.getvalue())


def score_table(scores: Sequence[Score]) -> Table:
    """Return the table for the terminal: geometry with motion beside it, failures with their reasons."""
    table = Table(title="best first; arrows point to the better direction", title_justify="left")
    table.add_column("clip", overflow="fold")
    table.add_column("status")
    for name in SHOWN:
        table.add_column(f"{name}{ARROWS[MEASURES[name].better]}", justify="right")
    for row in scores:
        numbers = [getattr(row, name) for name in SHOWN]
        style = None if row.status == "ok" else "dim"
        table.add_row(row.clip, row.status, *("" if n is None else f"{n:.3g}" for n in numbers), style=style)
        if row.reason:
            table.add_row(f"  {row.reason}", "", style="yellow")
    return table
