"""What is written beside scores.jsonl: the same rows for a spreadsheet, and what the columns mean."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path, PurePath

from rich.console import Group
from rich.table import Table
from rich.text import Text

from videogpa.measures import MEASURES
from videogpa.records import Score
from videogpa.storage.files import write_text
from videogpa.text_files import printable

# What spreadsheets take for a formula: OWASP, "CSV Injection", and the wide forms that they read alike. A text that begins with
# apostrophes before it gets one more, so that every cell has one text.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")

SHOWN = ("loo_error", "flow", "error_3dcs")  # what leaves a name 26 of 80 columns; the rest is in the files
SHOWN_BY_REGION = ("loo_error", "background_error", "flow")  # where pixels are named


def ranked(scores: Sequence[Score]) -> list[Score]:
    """Sort rows best first by their leave-one-out error, one critic after the other: errors of two critics do not compare.

    Rows that must not be ranked follow those with status `ok`, the partial ones first.
    """
    statuses = {"ok": 0, "partial": 1}
    return sorted(scores, key=lambda row: (row.critic, statuses.get(row.status, 2), row.loo_error or 0.0, row.clip))


def write_columns(path: Path) -> None:
    """Write what each number means, its unit, and which direction is better."""
    columns = {
        name: {"better": measure.better, "unit": measure.unit, "meaning": measure.meaning} for name, measure in MEASURES.items()
    }
    write_text(path, json.dumps(columns, indent=1) + "\n")


def write_csv(path: Path, scores: Sequence[Score]) -> None:
    """Write the rows as comma-separated values; what is missing is an empty cell.

    Texts that a spreadsheet would run as a formula, such as a clip named `=HYPERLINK(...)`, stand after an apostrophe, as
    spreadsheets write them; `cell_text` takes it away again. Numbers stay as they are.
    """
    fields = [name for name in Score.model_fields if name != "fingerprint"]
    lines = [_line(fields)]
    for row in scores:
        doubts = None if row.doubts is None else "; ".join(row.doubts)
        cells = {**row.model_dump(mode="json"), "doubts": doubts}
        lines.append(_line([text_cell(cell) if isinstance(cell := cells[name], str) else cell for name in fields]))
    write_text(path, "".join(lines))


def _line(cells: Sequence[object]) -> str:
    """Return cells as a line. Python quotes only the characters of its own line's end, and a lone CR would end the row too."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def text_cell(text: str) -> str:
    """Return a text as a cell of a table that no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def cell_text(cell: str) -> str:
    """Return the text of which `text_cell` made a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def score_table(scores: Sequence[Score]) -> Group:
    """Return what the terminal shows: geometry with motion beside it, reasons for missing numbers, and doubts about others."""
    table = Table(title="best first; arrows point to the better direction", title_justify="left")
    table.add_column("clip", overflow="fold")
    table.add_column("status", no_wrap=True)
    shown = SHOWN_BY_REGION if any(row.background_error is not None for row in scores) else SHOWN
    for measure in shown:
        table.add_column(MEASURES[measure].heading, justify="right", no_wrap=True)
    names = [printable(name, line=True) for name in short_names([row.clip for row in scores])]
    for name, row in zip(names, scores, strict=True):
        numbers = [getattr(row, measure) for measure in shown]
        table.add_row(Text(name), row.status, *("" if n is None else f"{n:.3f}" for n in numbers))
    reasons = [Text(f"{name}: {printable(row.reason)}") for name, row in zip(names, scores, strict=True) if row.reason]
    doubted = [(name, row) for name, row in zip(names, scores, strict=True) if row.doubts]
    doubts = [Text(f"{name}: reliability {row.reliability}: {'; '.join(row.doubts or ())}") for name, row in doubted]
    return Group(table, *reasons, *doubts)


def short_names(clips: Sequence[str]) -> list[str]:
    """Leave out the folders that all clips share."""
    parts = [PurePath(clip).parts for clip in clips]
    levels = zip(*(part[:-1] for part in parts), strict=False)
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    return [str(PurePath(*part[shared:])) for part in parts]


def distinct_names(clips: Iterable[str]) -> dict[str, str]:
    """Return for every clip the end of its path: two parts, or as many as tell it from every other clip."""
    parts = {clip: PurePath(clip).parts for clip in clips}
    lengths = dict.fromkeys(parts, 2)
    while True:
        names = {clip: str(PurePath(*parts[clip][-length:])) for clip, length in lengths.items()}
        shared = Counter(names.values())
        alike = [clip for clip, name in names.items() if shared[name] > 1 and lengths[clip] < len(parts[clip])]
        if not alike:
            return names
        for clip in alike:
            lengths[clip] += 1
