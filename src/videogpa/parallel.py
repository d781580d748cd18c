"""A small thread pool for work that releases Python's global interpreter lock (OpenCV, COLMAP, numpy); results keep order.

No result depends on the number of threads: each item is computed by one thread alone.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_THREADS = 4
"""More do not help: a clip has 10 depth maps, and numpy's small steps compete for the interpreter lock."""


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return `[function(item) for item in items]`, computed by as many threads as this process may use cores (at most 4)."""
    # Linux reports the cores that a container may use; elsewhere the machine's count is used.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with _one_opencv_thread(), ThreadPoolExecutor(min(_MOST_THREADS, cores)) as pool:
        return list(pool.map(function, items))


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV from starting threads inside the pool's. The setting is global to the process, so it is restored."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
