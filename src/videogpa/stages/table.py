"""table: the numbers of an evaluation or a comparison as a table for a paper. In: evaluation.json or compare.json."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from videogpa.config.base import one_of
from videogpa.errors import InvalidInput, MissingInput, problems
from videogpa.findings import Comparison, Evaluation
from videogpa.measures import MEASURES
from videogpa.report.publication import OF_THE_PAPER, Format, lines_of, write_table
from videogpa.stages.report import read_evaluation
from videogpa.text_files import file_exists, read_text, shown

_LARGEST = 1 << 26  # bytes


def table(folder: Path, format: Format, measures: Sequence[str] = ()) -> str:
    """Return a table of the methods of a run or a comparison by measures.

    Args:
        folder: A run folder with evaluation.json, or a folder of `videogpa compare` with compare.json.
        format: markdown, latex or csv.
        measures: Names of columns; by default those of the paper's tables and the optical flow.

    Raises:
        MissingInput: If the folder has neither file.
        InvalidInput: If the file is damaged, or a measure is unknown or known of no method.
    """
    for name in measures:
        one_of(name, MEASURES)
    path, found = _found(folder)
    lines = lines_of(found)
    wanted = tuple(measures) or OF_THE_PAPER
    if not any(name in line.changes for line in lines for name in wanted):
        there = ", ".join(dict.fromkeys(name for line in lines for name in line.changes)) or "none"
        raise InvalidInput(f"{shown(path)} compares none of {', '.join(wanted)}; it has: {there}")
    return write_table(lines, wanted, format)


def _found(folder: Path) -> tuple[Path, Evaluation | Comparison]:
    """Return what the folder holds, and the file that holds it."""
    path = folder / "evaluation.json"
    if file_exists(path):
        return path, read_evaluation(path)
    path = folder / "compare.json"
    if not file_exists(path):
        raise MissingInput(
            f"{shown(folder)} has neither evaluation.json nor compare.json: name a run that was evaluated, or a folder of "
            "`videogpa compare`"
        )
    try:
        return path, Comparison.model_validate_json(read_text(path, expected="a comparison", budget=_LARGEST))
    except ValidationError as error:
        reason = "; ".join(problems(error, whole="the file")[:2])
        raise InvalidInput(f"{path} is damaged ({reason[:300]}): run `videogpa compare` again") from None
