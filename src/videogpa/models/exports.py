"""Export of adapters from PEFT's format for diffusers' `load_lora_weights` and ComfyUI's LoRA loader.

Both programs expect one file per transformer; a model with two experts has two files, under
diffusers' names `transformer` and `transformer_2`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from videogpa.models.adapters import check_folder
from videogpa.models.lora_files import CONFIG_FILE, DIFFUSERS_FILE, WEIGHTS_FILE, PeftConfig, read_config
from videogpa.models.lora_names import FIRST, PEFT, SECOND, original_name
from videogpa.weight_files import read_tensors


def export_adapter(folder: Path) -> None:
    """Write the folders diffusers/ and comfyui/ into an adapter's folder.

    For diffusers the strength is multiplied into the weights, so that every version of it, and every program that reads its
    files, applies it correctly. For ComfyUI alpha is stored as a separate tensor per layer, as its loader expects. The strength
    is alpha / r, and alpha / √r of an adapter with rsLoRA.

    Raises:
        UserError: If the folder holds no adapter, or one that cannot be read.
    """
    check_folder(folder)
    config = read_config(folder / CONFIG_FILE)
    for component, weights in _components(read_tensors(folder / WEIGHTS_FILE)).items():
        place = folder / "diffusers" if component == FIRST else folder / "diffusers" / component
        _save(_diffusers(weights, config), place / DIFFUSERS_FILE)
        _save(_comfyui(weights, config), folder / "comfyui" / f"{component}.safetensors")


def _components(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Group PEFT's tensors by transformer, under the names of the layers in that transformer."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        layer = name.removeprefix(PEFT)
        first, _, rest = layer.partition(".")
        component, layer = (first, rest) if first in (FIRST, SECOND) else (FIRST, layer)
        found.setdefault(component, {})[layer] = tensor
    return found


def _diffusers(weights: Mapping[str, Tensor], config: PeftConfig) -> dict[str, Tensor]:
    # The second expert's keys start with `transformer` too: load_lora_weights(..., load_into_transformer_2=True) expects that.
    return {
        f"{FIRST}.{name}": config.strength(_layer(name), tensor.shape[1]) * tensor if "lora_B" in name else tensor
        for name, tensor in weights.items()
    }


def _comfyui(weights: Mapping[str, Tensor], config: PeftConfig) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        layer = f"diffusion_model.{original_name(_layer(name))}"
        found[layer + name.removeprefix(_layer(name))] = tensor
        if "lora_A" in name:  # ComfyUI divides alpha by the rank
            found[f"{layer}.alpha"] = torch.tensor(config.strength(_layer(name), len(tensor)) * len(tensor))
    return found


def _layer(name: str) -> str:
    return name.rpartition(".lora_")[0]


def _save(weights: Mapping[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path, metadata={"format": "pt"})
