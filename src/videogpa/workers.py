"""Map a stage over its items: in this process, with a progress bar where somebody watches."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from videogpa.processes import main
from videogpa.records import Row
from videogpa.runs import Manifest

I = TypeVar("I")  # noqa: E741 - an item; R is what becomes of it
R = TypeVar("R")
Made = TypeVar("Made", bound=Row)

_LOG_SECONDS = 10.0  # between two lines in a log file, where a bar cannot be drawn

_log = logging.getLogger(__name__)


def map_items(work: Callable[[I], R], items: Sequence[I], *, label: str) -> Iterator[R]:
    """Yield `work(item)` for every item, in order, as soon as each is done.

    The caller writes the rows; `work` may write the files that a row promises. An error in `work` ends the iteration.
    """
    if not items:
        return
    with progress(label, len(items)) as advance:
        for item in items:
            result = work(item)
            advance("")
            yield result


def fill(rows: Manifest[Made], wanted: Mapping[str, str], make: Callable[[str], Made], *, label: str) -> list[Made]:
    """Bring a manifest up to date: keep its rows that are `wanted` (key -> fingerprint), make the others, and return all.

    `make(key)` writes the files that the row promises, and returns the row; it is given its fingerprint here.
    """
    for row in map_items(make, rows.resume(wanted), label=label):
        rows.append(row.model_copy(update={"fingerprint": wanted[rows.key(row)]}))
    return rows.settle(wanted)


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
    with Progress(*columns, console=console, disable=not (console.is_terminal and main())) as bar:
        task = bar.add_task(label, total=total, completed=done, note="")
        last_line = time.monotonic()

        def advance(note: str) -> None:
            nonlocal done, last_line
            done += 1
            bar.update(task, advance=1, note=note)
            if main() and not console.is_terminal and time.monotonic() - last_line > _LOG_SECONDS:
                _log.info("%s: %d of %d %s", label, done, total, note)
                last_line = time.monotonic()

        yield advance
