"""Who does the work of a stage: this process, or workers that Ray runs on the GPUs of one or many machines.

A stage describes its work as a `Task`, opens a pool with `open_pool`, and iterates over the results of `pool.map`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any, Protocol, TypeVar, runtime_checkable

from videogpa.config import WorkersConfig
from videogpa.errors import InvalidInput
from videogpa.text_files import plural
from videogpa.workers.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


@runtime_checkable
class Task(Protocol[Item_contra, Result_co]):
    """A picklable description of work on many items; `load()` runs once per worker.

    A task is a frozen dataclass of settings: it is sent to other machines, and tasks that are equal share what they have
    loaded. Its paths are absolute, since a worker may have another working directory. A worker writes files atomically and to
    a place that depends on the item alone, because the item of a killed worker is done again.
    """

    def load(self) -> Callable[[Item_contra], Result_co]:
        """Load what the work needs, such as a model or a critic, and return the function that does the work on one item.

        If what is returned has a method `close`, it is called when the worker ends, or takes up another task.
        """
        ...


@runtime_checkable
class WorkerPool(Protocol):
    """One or more workers, open for a while."""

    def map(self, task: Task[Item, Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
        """Do the task's work on every item.

        Args:
            task: What is done; each worker loads it at its first item.
            items: What it is done to.
            label: The name of the progress bar.

        Yields:
            The result of every item as soon as it is finished, in any order. An error ends the iteration.
        """
        ...


LEAST_BOUND = 8  # workers are never refused below this number: they may wait for a GPU or a disk, and not compute


def require_possible(config: WorkersConfig) -> None:
    """Refuse more workers than this machine has cores, before anything is loaded. A cluster is asked when it is reached.

    Raises:
        InvalidInput: If they are too many.
    """
    cores = os.cpu_count() or 1
    if config.ray is None and config.count > max(cores, LEAST_BOUND):
        raise InvalidInput(
            f"{config.count} workers, and this machine has {plural(cores, 'core')}: {max(cores, LEAST_BOUND)} are the most "
            "here. Lower --workers (workers.count), or name a Ray cluster with --ray"
        )


def open_pool(config: WorkersConfig) -> AbstractContextManager[WorkerPool]:
    """Return the pool that the settings describe, as a context manager that closes it.

    Ray is imported only for several workers or for a cluster, and started at the first item.

    Args:
        config: The recipe's `workers` section.

    Raises:
        UserError: If Ray is needed and not installed, or this machine is too small for so many workers.
    """
    require_possible(config)
    if config.count == 1 and config.ray is None:
        return closing(LocalPool())
    from videogpa.workers.ray_pool import RayPool  # imported here because Ray is an optional dependency

    return RayPool(config)


class LocalPool:
    """A pool of this process alone: items are done in order, each when its result is asked for."""

    def __init__(self) -> None:
        self._loaded: tuple[Task[Any, Any], Callable[[Any], Any]] | None = None

    def map(self, task: Task[Item, Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
        """Do the task's work on every item, in order. What the last task has loaded is used again if this one is equal."""
        yield from map_items(lambda item: self._loaded_for(task)(item), items, label=label)

    def close(self) -> None:
        """Free what the last task has loaded."""
        if self._loaded is not None:
            getattr(self._loaded[1], "close", _nothing)()
        self._loaded = None

    def _loaded_for(self, task: Task[Item, Result]) -> Callable[[Item], Result]:
        if self._loaded is None or self._loaded[0] != task:
            self.close()  # before the next one is loaded
            self._loaded = (task, task.load())
        return self._loaded[1]


def _nothing() -> None:
    pass


def map_items(function: Callable[[Item], Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
    """Yield `function(item)` for every item, in order and with a progress bar, in this process.

    An error in `function` ends the iteration; results that were yielded before it are complete.
    """
    if not items:
        return
    with progress(label, len(items)) as advance:
        for item in items:
            result = function(item)
            advance("")
            yield result
