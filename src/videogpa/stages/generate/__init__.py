"""generate: the candidates of every training prompt, one clip per seed."""

from videogpa.stages.generate.clips import make_clips
from videogpa.stages.generate.stage import run

__all__ = ["make_clips", "run"]
