"""From checkpoints to the folder that ships: averaged weights, float16, diffusers format."""

import json
from pathlib import Path

import torch
from diffusers import CogVideoXImageToVideoPipeline

from miniatures.fit import averaged_into
from miniatures.transformer import UNTRAINED
from videogpa.storage.files import atomic_folder

MODEL = "i2v"
"""Name of the folder in which the model is written, and under which it ships."""


def export(out: Path) -> Path:
    """Write the model with the averaged weights of the transformer's last checkpoint; return its folder."""
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(out / UNTRAINED, dtype=torch.float16)
    averaged_into(pipeline.transformer, out / "transformer.pt")
    with atomic_folder(out / MODEL) as temporary:
        pipeline.save_pretrained(temporary)
        for file in [*temporary.rglob("config.json"), temporary / "model_index.json"]:
            _forget_where_it_came_from(file)
    return out / MODEL


def _forget_where_it_came_from(file: Path) -> None:
    """Take the folder on this machine out of a configuration."""
    content = json.loads(file.read_text(encoding="utf-8"))
    content.pop("_name_or_path", None)
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
