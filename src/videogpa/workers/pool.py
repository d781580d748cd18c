"""Who does the work of a stage: this process, or workers that Ray runs on the GPUs of one or many machines."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar, runtime_checkable

from videogpa.config import WorkersConfig
from videogpa.records import Row
from videogpa.storage.manifests import Manifest
from videogpa.workers.progress import progress

I = TypeVar("I")  # noqa: E741 - an item; R is what becomes of it
R = TypeVar("R")
I_contra = TypeVar("I_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
Made = TypeVar("Made", bound=Row)


@runtime_checkable
class Task(Protocol[I_contra, R_co]):
    """What is done to many items, described in a few words that can be sent to another machine: a frozen dataclass.

    Works that are equal share what they load. Paths are absolute, since a worker may have another working directory. What a
    worker writes, it writes atomically and to a place that follows from the item: a killed worker's item is done again.
    """

    def load(self) -> Callable[[I_contra], R_co]:
        """Load what it takes (a model, a critic), and return what does the work on one item. Once per worker."""
        ...


@runtime_checkable
class WorkerPool(Protocol):
    """Workers, hired for a while."""

    def map(self, work: Task[I, R], items: Sequence[I], *, label: str) -> Iterator[R]:
        """Yield what becomes of every item as soon as it is done, in any order. An error ends the iteration."""
        ...


class LocalPool:
    """This process as the whole crew: nothing is sent, items are done in order, each when its result is asked for."""

    def __init__(self) -> None:
        self._loaded: tuple[Task[Any, Any], Callable[[Any], Any]] | None = None

    def map(self, work: Task[I, R], items: Sequence[I], *, label: str) -> Iterator[R]:
        """See `WorkerPool.map`. What the last work has loaded is kept for the next, if that is equal."""
        yield from map_items(lambda item: self._loaded_for(work)(item), items, label=label)

    def _loaded_for(self, work: Task[I, R]) -> Callable[[I], R]:
        if self._loaded is None or self._loaded[0] != work:
            self._loaded = None  # lets go of the last work's model before the next one is loaded
            self._loaded = (work, work.load())
        return self._loaded[1]


def open_pool(config: WorkersConfig) -> AbstractContextManager[WorkerPool]:
    """Return the crew that the settings ask for, as a context at whose end it is dismissed.

    Ray is imported for several workers, and for a cluster, only. It is started at the first item.

    Raises:
        UserError: If Ray is needed and not installed.
    """
    if config.count == 1 and config.ray is None:
        return nullcontext(LocalPool())
    from videogpa.workers.ray_pool import RayPool

    return RayPool(config)


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
    left = rows.drop_stale(wanted)
    for row in make(left) if left else ():
        rows.append(row.model_copy(update={"fingerprint": wanted[rows.key(row)]}))
    return rows.finalize(wanted)
