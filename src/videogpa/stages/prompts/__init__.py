"""prompts: what clips are asked for: from a file, from a folder of images, or from the miniature world."""

from videogpa.stages.prompts.stage import plan, run

__all__ = ["plan", "run"]
