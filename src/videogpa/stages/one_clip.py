"""One clip never ends a batch: the border at which an unexpected error becomes the clip's row."""

import errno
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from videogpa.errors import UserError
from videogpa.text_files import cut, printable

R = TypeVar("R")

_OF_THE_SYSTEM = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENFILE", "ENOMEM") if hasattr(errno, name)
}
"""Errors of the system that the next clip would meet too: a full disk, too many open files."""


def row_of(work: Callable[[], R], failed: Callable[[str], R]) -> tuple[R, str | None]:
    """Return the row that the work on a clip makes, or the one that says why there is none.

    Args:
        work: Makes the row.
        failed: Makes a row of the reason, one sentence.

    Returns:
        The row, and where in the program an unexpected error arose, if one did.

    Raises:
        Exception: If the error concerns the other clips too: missing weights, no memory, a full disk, a GPU that is lost.
    """
    try:
        return work(), None
    except Exception as error:  # whatever it is, the row names it, and the other clips get theirs
        if _concerns_all(error):
            raise
        return failed(_reason(error)), "".join(traceback.format_exception(error))


def _concerns_all(error: Exception) -> bool:
    """Return whether the other clips would meet an error too: missing weights, no memory, a full disk, a GPU that is lost."""
    if isinstance(error, OSError) and not isinstance(error, UserError):
        return error.errno in _OF_THE_SYSTEM
    return isinstance(error, UserError | MemoryError) or type(error).__name__ in ("OutOfMemoryError", "AcceleratorError")


def _reason(error: Exception) -> str:
    """Return what happened, and where in the program, in a sentence without the paths of this machine."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f", at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    what = printable(cut("".join(traceback.format_exception_only(error)), 300))
    return f"an unexpected error of the program: {what}{place}. It is tried again when the clip is scored again"
