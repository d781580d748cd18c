"""report: the run on one page, from the files that the other stages left."""

from videogpa.stages.report.stage import run

__all__ = ["run"]
