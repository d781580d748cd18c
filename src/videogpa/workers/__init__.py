"""Many items, one or many workers: the only place that knows whether work is done in this process or over many machines.

Every stage that takes time says what it does as a `Task`, gets a crew from `open_pool`, and writes the rows that come back.
"""

from videogpa.workers.pool import Task, WorkerPool, fill, map_items, open_pool
from videogpa.workers.progress import progress

__all__ = ["Task", "WorkerPool", "fill", "map_items", "open_pool", "progress"]
