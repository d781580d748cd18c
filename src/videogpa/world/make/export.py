"""From checkpoints to the folder that ships: averaged weights, float16, diffusers format."""

from pathlib import Path

import torch
from diffusers import CogVideoXImageToVideoPipeline

from videogpa.runs import atomic_folder
from videogpa.world.make.fit import averaged_into
from videogpa.world.make.transformer import UNTRAINED

MODEL = "i2v"
"""Name of the folder in which the model is written, and under which it ships."""


def export(out: Path) -> Path:
    """Write the model with the averaged weights of the transformer's last checkpoint; return its folder."""
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(out / UNTRAINED, dtype=torch.float16)
    averaged_into(pipeline.transformer, out / "transformer.pt")
    with atomic_folder(out / MODEL) as temporary:
        pipeline.save_pretrained(temporary)
    return out / MODEL
