"""Export of adapters from PEFT's format for diffusers' `load_lora_weights` and ComfyUI's LoRA loader.

Both programs expect one file per transformer; a model with two experts has two files, under
diffusers' names `transformer` and `transformer_2`.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from videogpa.models.adapters import CONFIG_FILE, WEIGHTS_FILE, check_folder

DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"  # the name that `load_lora_weights(folder)` looks for
_PEFT = "base_model.model."
_FIRST, _SECOND = "transformer", "transformer_2"

# ComfyUI uses the layer names of its own networks: those of Wan's original code, and of comfy/ldm/cogvideo/model.py.
_COMFYUI = (
    (r"^transformer_blocks\.(\d+)\.attn1\.to_(q|k|v)\.", r"blocks.\1.\2."),  # CogVideoX
    (r"^transformer_blocks\.(\d+)\.attn1\.to_out\.0\.", r"blocks.\1.attn_out."),
    (r"^blocks\.(\d+)\.attn1\.to_(q|k|v)\.", r"blocks.\1.self_attn.\2."),  # Wan
    (r"^blocks\.(\d+)\.attn1\.to_out\.0\.", r"blocks.\1.self_attn.o."),
    (r"^blocks\.(\d+)\.attn2\.to_(q|k|v)\.", r"blocks.\1.cross_attn.\2."),
    (r"^blocks\.(\d+)\.attn2\.to_out\.0\.", r"blocks.\1.cross_attn.o."),
    (r"^blocks\.(\d+)\.attn2\.add_(k|v)_proj\.", r"blocks.\1.cross_attn.\2_img."),
)


def export_adapter(folder: Path) -> None:
    """Write the folders diffusers/ and comfyui/ into an adapter's folder.

    For diffusers the strength alpha / r is multiplied into the weights, so that every version of it, and every program that
    reads its files, applies it correctly. For ComfyUI alpha is stored as a separate tensor per layer, as its loader expects.

    Raises:
        UserError: If the folder holds no adapter.
    """
    check_folder(folder)
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    for component, weights in _components(load_file(folder / WEIGHTS_FILE)).items():
        place = folder / "diffusers" if component == _FIRST else folder / "diffusers" / component
        _save(_diffusers(weights, config["lora_alpha"] / config["r"]), place / DIFFUSERS_FILE)
        _save(_comfyui(weights, float(config["lora_alpha"])), folder / "comfyui" / f"{component}.safetensors")


def _components(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group PEFT's tensors by transformer, under the names of the layers in that transformer."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        layer = name.removeprefix(_PEFT)
        first, _, rest = layer.partition(".")
        component, layer = (first, rest) if first in (_FIRST, _SECOND) else (_FIRST, layer)
        found.setdefault(component, {})[layer] = tensor
    return found


def _diffusers(weights: Mapping[str, Tensor], strength: float) -> dict[str, Tensor]:
    # The second expert's keys start with `transformer` too: load_lora_weights(..., load_into_transformer_2=True) expects that.
    return {f"{_FIRST}.{name}": strength * tensor if "lora_B" in name else tensor for name, tensor in weights.items()}


def _comfyui(weights: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    renamed = {f"diffusion_model.{_comfyui_name(name)}": tensor for name, tensor in weights.items()}
    layers = {name.rpartition(".lora_")[0] for name in renamed}
    return {**renamed, **{f"{layer}.alpha": torch.tensor(alpha) for layer in sorted(layers)}}


def _comfyui_name(name: str) -> str:
    for pattern, replacement in _COMFYUI:
        name, found = re.subn(pattern, replacement, name)
        if found:
            break
    return name


def _save(weights: Mapping[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path, metadata={"format": "pt"})
