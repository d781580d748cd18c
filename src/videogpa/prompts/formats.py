"""The records of a file of prompts, in JSONL, JSON, CSV or plain text, as the file gives them."""

import csv
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from videogpa.config.settings import MOST_PROMPTS
from videogpa.errors import InvalidInput, MissingInput
from videogpa.prompts.columns import is_column
from videogpa.text_files import DoubledKey, read_text, shown, without_doubles

LARGEST_FILE = 64 << 20
"""Most bytes of a file of prompts: 100,000 prompts of 600 characters."""

_DELIMITERS = ",;\t"
_TOLD = 8  # columns in a message

_OTHERS = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "is a spreadsheet: save it as CSV"),
    **dict.fromkeys((".parquet", ".arrow", ".feather"), "is a table in a binary format: save it as CSV or JSONL"),
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".webm", ".avi"), "is a video: name it in a column `video`"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp"), "is an image: name its folder as prompts.images"),
}
"""What people give in place of a file of prompts, by ending, and what to do."""


def records(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield each record of the file, preceded by its place in the file for error messages.

    Raises:
        MissingInput: If there is no such file.
        InvalidInput: If it is no file of prompts, or not in the format that its ending says.
    """
    ending = file.suffix.lower()
    if ending not in _READERS:
        what = f" {_OTHERS[ending]};" if ending in _OTHERS else ":"
        raise InvalidInput(f"{shown(file)}{what} expected a file of prompts, {', '.join(_READERS)}")
    try:
        text = read_text(file, expected="a file of prompts", budget=LARGEST_FILE)
    except MissingInput:
        raise MissingInput(f"no prompts at {shown(file)} (prompts.file of the recipe)") from None
    yield from _READERS[ending](text, str(file))


def _jsonl(text: str, file: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(_lines(text), start=1):
        if line.strip():
            where = f"{file}, line {number}"
            entry = _parse_json(line, where)
            if number == 1 and isinstance(entry, list) and entry and isinstance(entry[0], dict):
                raise InvalidInput(f"{where}: expected text of one prompt, and got a list of prompts: call the file .json")
            yield where, entry


def _json(text: str, file: str) -> Iterator[tuple[str, Any]]:
    content = _parse_json(text, file, lines=True)
    if isinstance(content, list):
        yield from ((f"{file}, entry {number}", entry) for number, entry in enumerate(content, start=1))
    elif isinstance(content, dict):
        for key, entry in content.items():
            record = {"text": entry} if isinstance(entry, str) else entry
            yield f"{file}, entry {key[:60]!r}", {"id": key, **record} if isinstance(record, dict) else record
    else:
        raise InvalidInput(f"{file}: expected a list of prompts, or a mapping of ids to texts or prompts")


def _csv(text: str, file: str) -> Iterator[tuple[str, Any]]:
    text, delimiter = _delimiter(text)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns: list[str] | None = None
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if columns is None:
                columns = _header(cells, where)
                continue
            if any(cells[len(columns) :]):
                raise InvalidInput(f"{where}: more cells than the header has columns; put a text with commas in quotes")
            if any(cell for name, cell in zip(columns, cells, strict=False) if not name):
                raise InvalidInput(f"{where}: a cell stands in a column without a name")
            yield where, {name: cell for name, cell in zip(columns, cells, strict=False) if name}
    except csv.Error as error:
        raise InvalidInput(f"{file}, line {reader.line_num}: not CSV: {error}") from None


def _header(cells: list[str], where: str) -> list[str]:
    if len({cell.lower() for cell in cells if cell}) < sum(map(bool, cells)):
        raise InvalidInput(f"{where}: two columns have the same name ({_told(cells)}); rename one")
    if not any(map(is_column, cells)):
        raise InvalidInput(
            f"{where}: expected the names of the columns, such as id,text,image; and got {_told(cells)}. "
            "A file with a text on each line and no columns is called .txt"
        )
    return cells


def _delimiter(text: str) -> tuple[str, str]:
    """Return the table without spreadsheets' `sep=;`, and the delimiter under which its header has most known columns."""
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.strip()) == 5:
        return rest, first.strip()[4]
    header = next((line for line in _lines(text) if line.strip(_DELIMITERS + " ")), "")
    names = {delimiter: next(csv.reader([header], delimiter=delimiter), []) for delimiter in _DELIMITERS}
    return text, max(_DELIMITERS, key=lambda delimiter: sum(map(is_column, names[delimiter])))


def _txt(text: str, file: str) -> Iterator[tuple[str, Any]]:
    lines = _lines(text)
    _refuse_other_formats(lines, file)
    count = sum(bool(line.strip()) for line in lines)
    if count > MOST_PROMPTS:
        raise InvalidInput(f"{file}: a run takes {MOST_PROMPTS:,} prompts at most, and the file has {count:,}")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"{file}, line {number}", {"text": line}


def _refuse_other_formats(lines: Sequence[str], file: str) -> None:
    """Refuse a plain text whose first line is the beginning of a table or of JSON: each line would be taken for a text."""
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith(("{", "[")) and first.endswith(("}", "]", "{", "[", ",")):
        raise InvalidInput(f"{file} holds JSON: call it .jsonl (a prompt on each line) or .json")
    for delimiter in _DELIMITERS:
        cells = first.split(delimiter)
        if len(cells) > 1 and all(map(is_column, cells)):
            raise InvalidInput(f"{file} begins with names of columns ({_told(cells)}): call it .csv")


_READERS = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".txt": _txt, ".tsv": _csv}


def _parse_json(text: str, where: str, *, lines: bool = False) -> Any:
    """Return what a JSON text holds; a key that is given twice, NaN and numbers of thousands of digits are refused."""
    try:
        return json.loads(text, object_pairs_hook=without_doubles, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"{where}, line {error.lineno}" if lines else where
        hint = "; a file with a prompt on each line is called .jsonl" if lines and error.msg == "Extra data" else ""
        raise InvalidInput(f"{place}: not JSON: {error.msg}{hint}") from None
    except (DoubledKey, _RefusedError) as error:
        raise InvalidInput(f"{where}: {error}") from None
    except RecursionError:
        raise InvalidInput(f"{where}: nested too deeply for a prompt") from None
    except ValueError:  # Python's own limit
        raise InvalidInput(f"{where}: a number with thousands of digits") from None


class _RefusedError(ValueError):
    """JSON that is not read here."""


def _refuse_constant(name: str) -> Any:
    raise _RefusedError(f"{name} is not JSON")


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _told(columns: Sequence[str]) -> str:
    names = [f"{name[:40]}..." if len(name) > 40 else name for name in columns]
    return repr(", ".join(names[:_TOLD]) + (", ..." if len(names) > _TOLD else ""))
