"""This process: its rank among those that `accelerate launch` or `torchrun` has started, its folder, and how it ends."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_folders: list[Path] = []  # one at most


def world_size() -> int:
    """Return the number of processes that were started together; it is 1 if this process is alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Return whether this is the process that writes files and shows progress: the one of rank 0, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def works_in(folder: Path | None) -> None:
    """Note the folder that this process writes its results to; None if there is none yet."""
    _folders[:] = [] if folder is None else [folder]


def last_worked_in() -> Path | None:
    """Return the folder that this process last wrote results to."""
    return _folders[0] if _folders else None


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep what this program does at SIGTERM, around what puts a handler of its own in its place.

    COLMAP's prints a native stack and aborts; Ray's exits with status 15 and says nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
