"""How far a loop is: a bar where somebody watches, lines in a log elsewhere."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from videogpa.processes import is_main_process

_LOG_SECONDS = 10.0  # between two lines in a log file, where a bar cannot be drawn

_log = logging.getLogger(__name__)


@contextmanager
def progress(label: str, total: int, *, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Show how far a loop is. Yields a function to be called once a round, with a few words to stand behind the bar.

    A bar on standard error if that is a terminal; otherwise a log line (level INFO) every ten seconds at most. Of several
    processes the main one alone shows it.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=not (console.is_terminal and is_main_process())) as bar:
        task = bar.add_task(label, total=total, completed=done, note="")
        last_line = time.monotonic()

        def advance(note: str) -> None:
            nonlocal done, last_line
            done += 1
            bar.update(task, advance=1, note=note)
            if is_main_process() and not console.is_terminal and time.monotonic() - last_line > _LOG_SECONDS:
                _log.info("%s: %d of %d %s", label, done, total, note)
                last_line = time.monotonic()

        yield advance
