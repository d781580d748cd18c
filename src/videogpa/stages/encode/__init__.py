"""encode: the paired clips and their prompts, as the latents and conditions that training reads."""

from videogpa.stages.encode.stage import run

__all__ = ["run"]
