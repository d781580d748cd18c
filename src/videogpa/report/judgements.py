"""What is shown and written of judgements: a table for the terminal, and one for a spreadsheet."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from videogpa.judges.cards import measures_of
from videogpa.records import Judgement
from videogpa.report.tables import short_names, text_cell
from videogpa.storage.files import write_text
from videogpa.text_files import printable


def write_judgements_csv(path: Path, rows: Sequence[Judgement]) -> None:
    """Write a line for each clip, judge and number; a judgement without a number has one line, with the reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "judge", "status", "measure", "value", "reason"])
    for row in rows:
        start = [text_cell(row.clip), text_cell(row.judge), row.status]
        for name, value in row.numbers.items() or [("", "")]:
            writer.writerow([*start, text_cell(name), value, text_cell(row.reason or "")])
    write_text(path, text.getvalue())


def judgement_table(rows: Sequence[Judgement]) -> Group:
    """Return what the terminal shows: a table for each judge, and the reasons for missing numbers."""
    parts: list[Table | Text] = []
    for judge in dict.fromkeys(row.judge for row in rows):
        of_judge = [row for row in rows if row.judge == judge]
        measures = measures_of(judge)
        table = Table(title=f"judge {judge}; arrows point to the better direction", title_justify="left")
        table.add_column("clip", overflow="fold")
        table.add_column("status", no_wrap=True)
        for measure in measures.values():
            table.add_column(measure.heading, justify="right", no_wrap=True)
        names = [printable(name, line=True) for name in short_names([row.clip for row in of_judge])]
        for name, row in zip(names, of_judge, strict=True):
            numbers = ("" if (value := row.numbers.get(measure)) is None else f"{value:.3f}" for measure in measures)
            table.add_row(Text(name), row.status, *numbers)
        reasons = (Text(f"{name}: {printable(row.reason)}") for name, row in zip(names, of_judge, strict=True) if row.reason)
        parts += [table, *reasons]
    return Group(*parts)
