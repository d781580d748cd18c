"""Text files that a user gives, such as recipes and files of prompts: whether the path is one, and its text.

Nothing here opens a pipe or a device, or takes more memory than a budget. What is no text is named by its first bytes.
"""

import codecs
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videogpa.errors import InvalidInput, MissingInput

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    *((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),  # before UTF-16, whose mark begins alike
    *((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
)
"""Byte order marks, and the encodings that they announce."""

_KINDS = (
    (0, b"PK\x03\x04", "a zip archive, as spreadsheets (.xlsx, .ods) are too"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document, such as an .xls spreadsheet"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"SQLite format 3", "an SQLite database"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"BZh", "compressed with bzip2"),
    (0, b"\xfd7zXZ", "compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x89PNG", "a picture (PNG)"),
    (0, b"\xff\xd8\xff", "a picture (JPEG)"),
    (0, b"GIF8", "a picture (GIF)"),
    (0, b"RIFF", "a picture or a video (WebP, AVI)"),
    (4, b"ftyp", "a video (MP4)"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska, WebM)"),
    (0, b"\x80\x02", "a pickle, which is not read"),
    (0, b"\x80\x04", "a pickle, which is not read"),
    (0, b"\x80\x05", "a pickle, which is not read"),
    (0, b"version https://git-lfs", "a git-lfs pointer and not the file itself: run `git lfs pull` in its folder"),
    (0, b"<!DOCTYPE html", "an HTML page, which a download saved in the file's place"),
    (0, b"<html", "an HTML page, which a download saved in the file's place"),
)
"""Place in the file, bytes that stand there, and what the file then is."""


# Controls (C0, C1), the separators U+2028 and U+2029, embeddings, overrides and isolates of direction, and half characters.
# The marks U+200E and U+200F and the joiners stay: texts of many languages need them, and they reorder nothing but neighbours.
_BESIDE_CONTROLS = "\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_HARMFUL = re.compile(f"[\x00-\x08\x0b-\x1f{_BESIDE_CONTROLS}]")
_HARMFUL_IN_A_LINE = re.compile(f"[\x00-\x1f{_BESIDE_CONTROLS}]")


def read_text(path: Path, *, expected: str, budget: int) -> str:
    """Return the text of a file in UTF-8, or in the encoding that its byte order mark announces.

    Args:
        path: The file.
        expected: What the file should be, for messages: "a recipe".
        budget: The most bytes that are read.

    Raises:
        MissingInput: If there is no such file.
        InvalidInput: If it is no file, too large, not to be read, or no text; the message names it.
    """
    with path_errors(path, missing=f"there is no file {shown(path)}, where {expected} is expected"):
        status = path.stat()
        wrong = _not_a_text(status, expected, budget)
        content = b""
        if wrong is None and status.st_size:  # files of the system such as /proc/kmsg claim no bytes, and keep readers waiting
            with path.open("rb") as stream:
                content = stream.read(budget)
    if wrong is not None:
        raise InvalidInput(f"{path} {wrong}")
    return _decoded(content, path, expected)


def kind_of_bytes(content: bytes) -> str | None:
    """Return what a file is by its first bytes, such as "a PDF"; None if they may be those of a text."""
    kinds = (kind for place, beginning, kind in _KINDS if content[place : place + len(beginning)] == beginning)
    return next(kinds, None)


@contextmanager
def path_errors(path: Path, *, missing: str) -> Iterator[None]:
    """Put what the system says of a path that a user gave into a sentence.

    Args:
        path: The path.
        missing: What is said if there is nothing at it.

    Raises:
        MissingInput: In place of the system's error, if there is nothing.
        InvalidInput: In place of any other error of the system.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise MissingInput(missing) from None
    except OSError as error:
        raise InvalidInput(f"{shown(path)} cannot be read ({error.strerror})") from None
    except ValueError:  # of the system's calls
        raise InvalidInput(f"{shown(path)} is no path: it holds a NUL character") from None


def _not_a_text(status: os.stat_result, expected: str, budget: int) -> str | None:
    if stat.S_ISDIR(status.st_mode):
        return f"is a folder, where {expected} is expected"
    if not stat.S_ISREG(status.st_mode):
        return f"is a pipe, a device or a socket, where {expected} is expected"
    if status.st_size > budget:
        return f"has {status.st_size:,} bytes; {expected} may have {budget:,}"
    return None


def file_exists(path: Path) -> bool:
    """Return whether something lies at a path. A path that no system call takes (NUL characters, too long) names nothing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether a folder lies at a path; see `file_exists`."""
    return file_exists(path) and path.is_dir()


def printable(text: str, *, line: bool = False) -> str:
    r"""Return a text with its control characters written as escapes, so that no name moves the cursor or changes colours.

    So are halves of characters, and the controls of reading direction that make a name look like another one.

    Args:
        text: Any text, such as a file name.
        line: Whether line breaks and tabs are written as escapes too, as in a name; they stay in a text.
    """
    return (_HARMFUL_IN_A_LINE if line else _HARMFUL).sub(lambda found: repr(found[0])[1:-1], text)


def plural(count: int, noun: str) -> str:
    """Return a number with its noun: `1 frame`, `2 frames`. The plural takes an s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shown(path: str | Path) -> str:
    """Return a path for a message: printable, and cut in the middle if it is longer than any path that a system takes."""
    name = printable(str(path), line=True)
    return name if len(name) <= 500 else f"{name[:200]}...{name[-100:]}"


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object that `json` has read: to be given to it as `object_pairs_hook`.

    Raises:
        ValueError: If a key is given twice, of which `json` itself keeps the last.
    """
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise DoubledKey(f"the key {cut(key, 60)!r} is given twice")
        content[key] = value
    return content


def cut(text: object, longest: int = 200) -> str:
    """Return a text from elsewhere on one line, and no longer than this many characters."""
    whole = " ".join(str(text).split())
    return whole if len(whole) <= longest else whole[:longest] + "..."


class DoubledKey(ValueError):  # noqa: N818 - the state of a text
    """A key of a JSON object is given twice; the message names it."""


def _decoded(content: bytes, path: Path, expected: str) -> str:
    if kind := kind_of_bytes(content):
        raise InvalidInput(f"{path} is {kind}, where {expected} is expected")
    encoding, skip = next(((name, len(mark)) for mark, name in _MARKS if content.startswith(mark)), ("utf-8", 0))
    try:
        text = content[skip:].decode(encoding).removeprefix("\ufeff")  # a mark that was marked again
    except UnicodeDecodeError as error:
        line = content[skip : skip + error.start].decode(encoding, "replace").count("\n") + 1
        raise InvalidInput(f"{path}, line {line}, is not {encoding.upper()} text: save {expected} as UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InvalidInput(f"{path}, line {line}, holds a NUL character: save {expected} as text in UTF-8")
    return text
