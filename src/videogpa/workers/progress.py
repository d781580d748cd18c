"""Progress of a loop: a bar on a terminal, lines in a log elsewhere."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from videogpa.processes import is_main_process

_LOG_SECONDS = 10.0  # between two lines, where the output is not a terminal

_log = logging.getLogger(__name__)


@contextmanager
def progress(label: str, total: int, *, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Show the progress of a loop while the block runs.

    A bar is drawn on standard error if that is a terminal; otherwise a line is logged (level INFO), every ten seconds at most.
    If several processes run together, only the main process shows it.

    Args:
        label: The name of the loop.
        total: The number of its rounds.
        done: How many rounds were finished before.

    Yields:
        A function to call after every round, with a short note that is shown behind the bar ("" for none).
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
