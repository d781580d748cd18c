"""From items to the rows of a manifest."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from videogpa.records import Row
from videogpa.runs import Manifest
from videogpa.workers.progress import progress

I = TypeVar("I")  # noqa: E741 - an item; R is what becomes of it
R = TypeVar("R")
Made = TypeVar("Made", bound=Row)


def map_items(work: Callable[[I], R], items: Sequence[I], *, label: str) -> Iterator[R]:
    """Yield `work(item)` for every item, in order, as soon as each is done, in this process.

    The caller writes the rows; `work` may write the files that a row promises. An error in `work` ends the iteration.
    """
    if not items:
        return
    with progress(label, len(items)) as advance:
        for item in items:
            result = work(item)
            advance("")
            yield result


def fill(rows: Manifest[Made], wanted: Mapping[str, str], make: Callable[[list[str]], Iterable[Made]]) -> list[Made]:
    """Bring a manifest up to date: keep its rows that are `wanted` (key -> fingerprint), make the others, and return all.

    `make(keys)` yields the rows of the keys that are left, in any order, each once the files that it promises are there. It
    is not called if none is left. Rows are given their fingerprints here, and written at once.
    """
    left = rows.resume(wanted)
    for row in make(left) if left else ():
        rows.append(row.model_copy(update={"fingerprint": wanted[rows.key(row)]}))
    return rows.settle(wanted)
