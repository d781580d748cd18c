"""evaluate: base against aligned model on prompts neither was trained on, on the same seeds."""

from videogpa.stages.evaluate.comparison import compare
from videogpa.stages.evaluate.stage import run

__all__ = ["compare", "run"]
