"""Work on many items, by this process or by many workers: the only place that knows which of the two it is.

Every stage that takes time describes its work as a `Task`, gets a pool from `open_pool`, and writes the rows that come back.
"""

from videogpa.workers.pool import Task, WorkerPool, map_items, open_pool, require_possible
from videogpa.workers.progress import progress

__all__ = ["Task", "WorkerPool", "map_items", "open_pool", "progress", "require_possible"]
