"""Many items, one or many workers: the only place that knows whether work is done in this process or over many machines.

Every stage that takes time says what it does as a `Work`, gets a crew from `hire`, and writes the rows that come back.
"""

from videogpa.workers.crew import Crew, Work, hire
from videogpa.workers.progress import progress
from videogpa.workers.rows import fill, map_items

__all__ = ["Crew", "Work", "fill", "hire", "map_items", "progress"]
