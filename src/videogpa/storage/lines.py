"""The lines of a manifest: what is a row, what is damaged, what is of another version, and what leads out of the run folder."""

import errno
import json
import logging
import os
import re
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from videogpa.errors import InvalidInput, problems
from videogpa.records import Row
from videogpa.renames import upgrade_columns
from videogpa.storage.files import atomic_path, require_regular
from videogpa.text_files import DoubledKey, without_doubles

R = TypeVar("R", bound=Row)

_BOM = b"\xef\xbb\xbf"
_RELATIVE = re.compile(r"[^/\\:\x00-\x1f][^\\:\x00-\x1f]*")
"""A path that is relative on every system."""
_NAMED = 3  # damaged lines in a warning

_log = logging.getLogger(__name__)


class Damaged(ValueError):  # noqa: N818 - the state of a line
    """A line is no row; the message says why."""


class Inside:
    """Whether paths of rows are below a folder, with all links followed. Every folder on the way is looked at once."""

    def __init__(self, folder: Path) -> None:
        self._root = os.path.realpath(folder)
        self._known = {self._root: True}

    def __contains__(self, name: str) -> bool:
        """Return whether a row's path is one below the folder, on every system."""
        if not _RELATIVE.fullmatch(name) or ".." in name.split("/"):
            return False
        path = os.path.join(self._root, name)  # noqa: PTH118 - a manifest has thousands of paths, and Path takes 100 us for one
        folder = os.path.dirname(path)  # noqa: PTH120
        try:
            if folder not in self._known:
                self._known[folder] = self._leads_inside(folder)
            return self._known[folder] and (not stat.S_ISLNK(os.lstat(path).st_mode) or self._leads_inside(path))
        except (FileNotFoundError, NotADirectoryError):  # its row is made again
            return True
        except RuntimeError:  # a loop of links
            return False
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL):
                return False
            raise  # it cannot be read now, which says nothing of where it leads

    def _leads_inside(self, path: str) -> bool:
        return Path(path).resolve().is_relative_to(self._root)


def read_lines(path: Path) -> list[bytes]:
    """Return the complete lines of a file, without the mark that some editors put first; none if there is no file.

    What a killed writer leaves at the end is the beginning of a row, and is left out. Anything else there is a line, though a
    damaged one.

    Raises:
        InvalidInput: If there is something else than a regular file.
    """
    require_regular(path)
    if not path.exists():
        return []
    *lines, end = path.read_bytes().removeprefix(_BOM).split(b"\n")
    if not end.startswith(b"{") or b"\0" in end:
        lines.append(end)
    return [line for line in lines if line.strip()]


def parse_row(line: bytes, row_type: type[R], key: Collection[str], path: Path, inside: Inside, number: int) -> R:
    """Return the row that a line holds.

    Args:
        line: The line, without its end.
        row_type: The class of the row.
        key: The names of the columns that tell rows apart.
        path: The manifest, for messages.
        inside: Of its folder, to which paths in rows are relative.
        number: The number of the line, from 1.

    Raises:
        Damaged: If the line is no row.
        InvalidInput: If it is one of another version, or names a path that leads out of the folder.
    """
    content = _read_object(line)
    try:
        row = row_type.model_validate(content)
    except ValidationError as error:
        old = _parse_old(content, row_type, path)
        if old is None:
            _refuse_other_version(content, row_type, key, error, f"{path}, line {number},")
            raise Damaged("; ".join(problems(error))) from None
        row = old
    for column in row.PATHS:
        name = getattr(row, column)
        for each in name if isinstance(name, tuple) else (name,):
            if each is not None and each not in inside:
                raise InvalidInput(
                    f"{path}, line {number}: {column} {each[:200]!r} leads outside the run folder, or is no path: nothing "
                    "is read or written there. Remove the line to have it made again."
                )
    return row


def _read_object(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line.decode("utf-8"), object_pairs_hook=without_doubles)
    except UnicodeDecodeError:
        raise Damaged("it is no UTF-8 text") from None
    except RecursionError:
        raise Damaged("it is nested too deeply") from None
    except DoubledKey:
        raise Damaged("a column stands in it twice") from None
    except ValueError:
        raise Damaged("it is no JSON") from None
    if not isinstance(content, dict):
        raise Damaged("it is no JSON object")
    if b"\\u" in line:  # rows are written without escapes of letters
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Damaged("it holds half of a character, which is no UTF-8 text") from None
    return content


def _parse_old(content: Mapping[str, Any], row_type: type[R], path: Path) -> R | None:
    """Read a row with the column names of the version before; None if it is not one."""
    try:
        return row_type.model_validate(upgrade_columns(path.name, content, str(path)))
    except ValidationError:
        return None


def _refuse_other_version(
    content: Mapping[str, Any], row_type: type[Row], key: Collection[str], error: ValidationError, place: str
) -> None:
    """Refuse a row with columns that this version does not know, but with its key: a newer version would lose them."""
    unknown = sorted(set(content) - set(row_type.model_fields))
    if unknown and set(key) <= set(content):
        raise InvalidInput(
            f"{place} is not a {row_type.__name__} row of this version ({'; '.join(problems(error)[:5])}). "
            "Use the version that wrote it, correct the line, or remove the file to have it made again."
        )


def set_lines_aside(path: Path, lines: list[bytes], damaged: Mapping[int, Damaged], then: str) -> None:
    """Move damaged lines of a manifest to `<name>.damaged`, with a warning that names them.

    Args:
        path: The manifest.
        lines: Its lines.
        damaged: The number of each damaged line, from 1, and what is wrong with it.
        then: What becomes of their rows.
    """
    aside = path.with_name(f"{path.name}.damaged")
    require_regular(aside)
    with aside.open("ab") as stream:
        stream.writelines(lines[number - 1] + b"\n" for number in damaged)
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(line + b"\n" for n, line in enumerate(lines, start=1) if n not in damaged))
    named = "; ".join(f"line {number}: {str(why)[:200]}" for number, why in list(damaged.items())[:_NAMED])
    more = f"; and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
    _log.warning(
        "%s: %d of %d lines are damaged (%s%s). They are set aside in %s, and %s.",
        *(path, len(damaged), len(lines), named, more, aside.name, then),
    )
