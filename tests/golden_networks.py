"""Small networks of the golden data: their weights are drawn by a rule of integers, so that only its table has to be stored.

The original implementations were given the same weights; what they returned is in `case.safetensors` beside the table.
"""

import json
import math
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor


def draw(name: str, *shape: int, mean: float = 0.5, std: float = 12**-0.5) -> Tensor:
    """Uniform numbers that depend on the name, the shape, the mean and the deviation alone; without the latter, in [0, 1).

    SplitMix64 of a counter that starts at the checksum of the name: integers, which are equal on every machine.
    """
    counter = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()) << 32)
    with np.errstate(over="ignore"):
        mixed = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    uniform = (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return torch.from_numpy((mean + std * math.sqrt(12) * (uniform - 0.5)).astype(np.float32)).reshape(shape)


def draw_weights(table: Path) -> dict[str, Tensor]:
    """Return the tensors of a table: a shape, a mean and a standard deviation under every name."""
    rows = json.loads(table.read_text())
    return {name: draw(name, *shape, mean=mean, std=std) for name, (shape, mean, std) in rows.items()}


def write_network(source: Path, folder: Path) -> Path:
    """Lay out a network as its publishers do: `config.json`, `weights.safetensors`; with `case.safetensors` beside them."""
    save_file(draw_weights(source / "weights.json"), folder / "weights.safetensors")
    for name in ("config.json", "case.safetensors"):
        shutil.copy(source / name, folder / name)
    return folder
