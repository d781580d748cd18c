"""Export of a checkpoint to the folder that ships, with averaged weights in float16 and diffusers' format."""

import json
from pathlib import Path

import torch
from diffusers import CogVideoXImageToVideoPipeline

from miniatures.fit import averaged_into
from miniatures.transformer import UNTRAINED
from videogpa.storage.files import atomic_folder

MODEL = "i2v"
"""The name of the folder that the model is written to, which is also its name in the package."""


def export(out: Path) -> Path:
    """Write the model with the averaged weights of the transformer's last checkpoint; return its folder.

    Args:
        out: The folder of the making, to which all of its stages write.
    """
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(out / UNTRAINED, dtype=torch.float16)
    averaged_into(pipeline.transformer, out / "transformer.pt")
    with atomic_folder(out / MODEL) as temporary:
        pipeline.save_pretrained(temporary)
        for file in [*temporary.rglob("config.json"), temporary / "model_index.json"]:
            _forget_where_it_came_from(file)
    return out / MODEL


def _forget_where_it_came_from(file: Path) -> None:
    """Remove the path of the folder on this machine from a configuration file."""
    content = json.loads(file.read_text(encoding="utf-8"))
    content.pop("_name_or_path", None)
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
