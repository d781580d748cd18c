"""What stands between a command and its terminal, whatever that is: closed, narrow, without UTF-8, without colours.

`prepare` is called once, at the start of a command. After it, printing replaces characters that the terminal lacks.
"""

import codecs
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

NARROWEST, WIDEST = 40, 500
"""Columns for which help and tables are laid out; a terminal that is narrower breaks their lines itself."""

Stream = Any
"""A text stream; those of tests and notebooks share no class with the interpreter's own."""

_LACKING = "videogpa"  # the name under which `codecs` has the replacement of characters
_PLAIN = {"•": "*", "…": "...", "×": "x", "−": "-", "–": "-", "—": "-", "’": "'", "→": "->"} | dict(
    zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True)  # the heights of a histogram
)


def prepare() -> None:
    """Make standard output and standard error fit to print to: open, never at a loss for a character, of a usable width."""
    _open_descriptors()
    codecs.register_error(_LACKING, _replacement)
    sys.stdout, sys.stderr = _fit(sys.stdout, 1), _fit(sys.stderr, 2)
    size = shutil.get_terminal_size()
    _bound("COLUMNS", size.columns, NARROWEST, WIDEST)
    _bound("LINES", size.lines, 10, 1000)


def console(*, stderr: bool = True, quiet: bool = False) -> Console:
    """Return what prints tables and messages."""
    return Console(stderr=stderr, quiet=quiet)


@contextmanager
def colours_as_wished() -> Iterator[None]:
    """Have the parser of arguments print without colours if NO_COLOR is set, of which it knows nothing."""
    before = os.environ.get("TERM")
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("TERM", None)
        else:
            os.environ["TERM"] = before


def flush(stream: Stream) -> OSError | None:
    """Write what a stream still holds.

    Returns:
        The error of the system if it cannot be written. The stream then leads nowhere, so that the interpreter does not end
        with the same error.
    """
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream.fileno())
        return error
    return None


def no_reader(stream: Stream) -> bool:
    """Return whether a stream is a pipe that nobody reads any more: an empty line is written to it."""
    try:
        stream.write("\n")
    except BrokenPipeError:
        return True
    return isinstance(flush(stream), BrokenPipeError)


def _open_descriptors() -> None:
    """Open the descriptors of closed standard streams, so that no file that is opened later gets one and is printed into."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)


def _fit(stream: Stream | None, descriptor: int) -> Stream:
    if stream is None or stream.closed:  # None: it was closed before the interpreter started
        return open(descriptor, "w", encoding="utf-8", errors=_LACKING, closefd=False)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=_LACKING)
    return stream


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    """Return what stands for a character: something alike for those of this program's own texts, else a question mark."""
    if "─" <= character <= "╿":  # lines of boxes
        return "-" if character in "─━═╌╍┄┅" else "|" if character in "│┃║╎╏" else "+"
    return _PLAIN.get(character, "?")


def _bound(variable: str, size: int, least: int, most: int) -> None:
    """Have a measure of the terminal within bounds; what is given in the environment may be no number at all."""
    bounded = str(min(max(size, least), most))
    if bounded != str(size) or os.environ.get(variable, bounded) != bounded:
        os.environ[variable] = bounded
