"""generate: the candidates of every training prompt, one clip per seed, or clips that the prompt brings."""

from videogpa.stages.generate.clips import make_clips
from videogpa.stages.generate.making import Adapter
from videogpa.stages.generate.stage import run

__all__ = ["Adapter", "make_clips", "run"]
