"""The end of a command, whatever happened in it: a sentence, an exit status, and a file about errors of the program itself."""

import errno
import logging
import os
import platform
import re
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from types import TracebackType

from videogpa import __version__, processes
from videogpa.cli.terminal import console, flush, no_reader
from videogpa.errors import UserError
from videogpa.temporary import temporary_root
from videogpa.text_files import cut, printable, shown

FAILED, UNEXPECTED = 1, 70
"""Exit statuses: of an error that the message says how to mend, and of one of the program itself (EX_SOFTWARE of BSD)."""

_KEPT = "Finished work is kept: mend it and run this again."
_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_OF_MEMORY = (
    "can't allocate memory",
    "Insufficient memory",
    "out of memory",
)  # of PyTorch and OpenCV, which have no class for it
_MOST_LINES = 20_000  # of the log that are kept


class LastNet:
    """Ends a command: `with LastNet(arguments, debug=False): ...`. An error leaves the block as `SystemExit` alone.

    Args:
        arguments: The words of the command, for the file about an error of the program.
        debug: Whether to show where in the program an error arose.
    """

    def __init__(self, arguments: Sequence[str], *, debug: bool) -> None:
        self._arguments = arguments
        self._debug = debug
        self._log = _KeptLog()

    def __enter__(self) -> "LastNet":
        processes.works_in(None)
        logging.getLogger().addHandler(self._log)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Print what is to be said of an error, and exit."""
        logging.getLogger().removeHandler(self._log)
        unwritten = flush(sys.stdout)
        if unwritten is not None and (error is None or isinstance(error, SystemExit)):
            error = unwritten
        if not isinstance(error, Exception | KeyboardInterrupt):
            return
        if isinstance(error, BrokenPipeError) and (unwritten is not None or no_reader(sys.stdout)):  # as after `| head -1`
            raise SystemExit(FAILED)
        if self._debug:
            _print("".join(traceback.format_exception(error)))
        sentence = of_the_user(error)
        if sentence is None and isinstance(error, Exception):
            sentence = self._unexpected(error)
            raise _ended(sentence, UNEXPECTED)
        raise _ended(sentence or "", FAILED)

    def _unexpected(self, error: Exception) -> str:
        where = self._write(error)
        if where is None:
            if not self._debug:
                _print("".join(traceback.format_exception(error)))
            kept = "No file could be written about it: what stands above belongs into the report"
        else:
            kept = f"What belongs into the report is in {shown(where)}; --debug shows where it arose"
        return (
            f"this should not have happened: {one_line(error)}. It is an error of videogpa, and finished work is kept. Please "
            f"report it at {issues()}. {kept}."
        )

    def _write(self, error: Exception) -> Path | None:
        """Write the log and the traceback to a file, and return it; None if none can be written."""
        text = "\n".join([*self._head(), *self._log.lines, "", "".join(traceback.format_exception(error))])
        stem = f"error-{datetime.now().astimezone():%Y-%m-%d_%H.%M.%S}-"
        for folder, prefix in _places(stem):
            with suppress(OSError):
                return _written(text, folder, prefix)
        return None

    def _head(self) -> Iterator[str]:
        yield f"videogpa {__version__}, Python {platform.python_version()}, {platform.platform()}"
        yield ", ".join(_versions())
        yield f"command: {list(self._arguments)}"
        yield ""


def of_the_user(error: BaseException) -> str | None:
    """Return the sentence about an error that lies with the input or the machine; None if it is one of the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; finished work is kept, run this again to continue"
    if isinstance(error, MemoryError) or any(text in one_line(error) for text in _OF_MEMORY):
        return (
            f"the memory does not suffice ({one_line(error)}). Lower what takes it: --workers, the batch, the size or "
            f"number of frames; or close other programs. {_KEPT}"
        )
    return _of_the_system(error) if isinstance(error, OSError) and error.errno is not None else None


def _of_the_system(error: OSError) -> str:
    place = "" if error.filename is None else f": {shown(os.fsdecode(error.filename))}"
    if error.errno in _NO_ROOM:
        return f"no space is left on the disk{place}. Finished work is kept: make room and run this again."
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"too many files are open at a time{place}. Finished work is kept: raise the limit (`ulimit -n 4096`), or lower "
            "--workers, and run this again."
        )
    if not place:
        return f"the system reports: {printable(str(error))}; --debug shows where. {_KEPT}"
    return f"{error.strerror}{place}. {_KEPT}"


def one_line(error: BaseException) -> str:
    """Return the type and the message of an error, even if the message cannot be made."""
    return printable(cut("".join(traceback.format_exception_only(error)), 400))


def issues() -> str:
    """Return where errors are reported: the address in the package's metadata, if it has one."""
    of_issues = [address.partition(", ")[2] for address in _declared("Project-URL") if address.startswith("Issues, ")]
    return of_issues[0] if of_issues else "the project's issue tracker"


def _versions() -> Iterator[str]:
    """Yield the packages that the program needs with their versions."""
    for requirement in _declared("Requires-Dist"):
        name = re.match(r"[\w.-]+", requirement)
        if name is not None and "extra ==" not in requirement:
            with suppress(PackageNotFoundError):
                yield f"{name[0]} {version(name[0])}"


def _declared(field: str) -> list[str]:
    """Return the values of a field of the installed package's metadata; none if it is not installed."""
    try:
        return [str(value) for value in metadata("videogpa").get_all(field) or ()]
    except PackageNotFoundError:
        return []


def _places(stem: str) -> Iterator[tuple[Path, str]]:
    """Yield folders that a file about an error can be written to, and the beginning of its name there."""
    if (folder := processes.last_worked_in()) is not None:
        yield folder, stem
    with suppress(UserError):
        yield temporary_root(), f"videogpa-{stem}"


def _written(text: str, folder: Path, prefix: str) -> Path:
    """Write a text to a new file that this user alone can read."""
    descriptor, name = tempfile.mkstemp(".log", prefix, folder)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor
            stream.write(text.encode(errors="backslashreplace"))
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


class _KeptLog(logging.Handler):
    """Keeps the lines of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self.lines: deque[str] = deque(maxlen=_MOST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def _ended(message: str, status: int) -> SystemExit:
    with suppress(OSError, ValueError):
        console().print(f"error: {printable(message)}", style="red", markup=False, highlight=False, soft_wrap=True)
    flush(sys.stderr)
    return SystemExit(status)


def _print(text: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(printable(text))
