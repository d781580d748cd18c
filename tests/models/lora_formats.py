"""What the tests of adapters share: toy transformers, random LoRAs, and writers of every format under its published names."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Linear, Module

from videogpa.models.adapters import CONFIG_FILE, WEIGHTS_FILE
from videogpa.models.lora_names import original_name
from videogpa.models.toys import cogvideox, wan

RANK, ALPHA = 4, 6.0
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
PIPELINES: dict[str, Callable[[], Any]] = {
    "wan2.1-t2v": wan.text_to_video,
    "wan2.1-i2v": wan.image_to_video,
    "wan2.2-ti2v": wan.text_image_to_video,
    "cogvideox-t2v": cogvideox.text_to_video,
    "cogvideox-i2v": cogvideox.image_to_video,
    "cogvideox1.5-t2v": cogvideox.text_to_video_1_5,
    "cogvideox1.5-i2v": cogvideox.image_to_video_1_5,
}
WANS = [name for name in PIPELINES if name.startswith("wan")]

Update = dict[str, tuple[Tensor, Tensor]]
"""Layer of diffusers' class -> A and B."""


@cache
def built(family: str) -> Any:
    return PIPELINES[family]()


def pipeline(family: str) -> Any:
    """A pipeline whose transformers are its own, and the rest shared."""
    return fresh(built(family))


def fresh(pipe: Any) -> Any:
    copies = {name: deepcopy(part) for name, part in pipe.components.items() if name.startswith("transformer")}
    config = {name: pipe.config[name] for name in ("boundary_ratio", "expand_timesteps") if name in pipe.config}
    return type(pipe)(**{**pipe.components, **copies}, **config)


def network(family: str) -> Module:
    transformer: Module = pipeline(family).transformer
    return transformer.requires_grad_(False).eval()


def forward(transformer: Module) -> Tensor:
    """The output for one fixed input of whatever the class takes."""
    config: Any = transformer.config
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    if hasattr(config, "patch_size_t"):  # CogVideoX
        ofs = {} if config.ofs_embed_dim is None else {"ofs": torch.full((1,), 2.0)}
        inputs = {"hidden_states": random(1, 2, config.in_channels, 4, 4), "encoder_hidden_states": random(1, 4, 32), **ofs}
    else:
        image = {} if config.image_dim is None else {"encoder_hidden_states_image": random(1, 5, config.image_dim)}
        inputs = {"hidden_states": random(1, config.in_channels, 2, 4, 4), "encoder_hidden_states": random(1, 512, 32), **image}
    with torch.no_grad():
        output: Tensor = transformer(**inputs, timestep=torch.tensor([500]), return_dict=False)[0]
    return output


def update(transformer: Module, *, seed: int = 0, rank: int = RANK) -> Update:
    """Random matrices for every linear layer of the blocks that files name: attention, and for Wan the rest of a block too."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, module in transformer.named_modules():
        of_wan = name.startswith("blocks.")
        if isinstance(module, Linear) and (of_wan or ("transformer_blocks." in name and ".attn1.to_" in name)):
            down = torch.randn(rank, module.in_features, generator=generator) / module.in_features**0.5
            found[name] = (down, 0.3 * torch.randn(module.out_features, rank, generator=generator))
    return found


def merged(transformer: Module, lora: Update, strength: float) -> Module:
    with torch.no_grad():
        for name, (down, up) in lora.items():
            transformer.get_submodule(name).weight += strength * up @ down
    return transformer


# The formats, under the names that are published.


def config(**other: Any) -> dict[str, Any]:
    return {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": "never run", **other}


def put(folder: Path, weights: Mapping[str, Tensor], settings: dict[str, Any] | None) -> Path:
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS_FILE)
    if settings is not None:
        (folder / CONFIG_FILE).write_text(json.dumps(settings))
    return folder


def single(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path, metadata=metadata)
    return path


def named(lora: Update, name: Callable[[str], str], a: str = "lora_A", b: str = "lora_B", alpha: float | None = None) -> dict:
    tensors = {f"{name(layer)}.{a}.weight": down for layer, (down, _) in lora.items()}
    tensors |= {f"{name(layer)}.{b}.weight": up for layer, (_, up) in lora.items()}
    return tensors | ({} if alpha is None else {f"{name(layer)}.alpha": torch.tensor(alpha) for layer in lora})


def flat(layer: str) -> str:
    return layer.replace(".", "_")


def peft(lora: Update, folder: Path) -> Path:
    return put(folder / "a", named(lora, lambda layer: f"base_model.model.{layer}"), config())


def peft_of_original(lora: Update, folder: Path) -> Path:
    """As VideoGPA-Wan2.2-TI2V-5B: PEFT on Wan's own class."""
    weights = named(lora, lambda layer: f"base_model.model.{original_name(layer)}")
    return put(folder / "a", weights, config(target_modules=["q", "k", "v", "o", "ffn.0", "ffn.2"]))


def peft_without_config(lora: Update, folder: Path) -> Path:
    return put(folder / "a", named(lora, lambda layer: f"base_model.model.{layer}"), None)


def peft_of_original_without_config(lora: Update, folder: Path) -> Path:
    return put(folder / "a", named(lora, lambda layer: f"base_model.model.{original_name(layer)}"), None)


def diffusers_file(lora: Update, folder: Path) -> Path:
    return single(folder / "pytorch_lora_weights.safetensors", named(lora, lambda layer: f"transformer.{layer}"))


def diffusers_folder(lora: Update, folder: Path) -> Path:
    return diffusers_file(lora, folder / "a").parent


def diffusers_with_metadata(lora: Update, folder: Path) -> Path:
    saved = {f"transformer.{name}": value for name, value in LoraConfig(r=RANK, lora_alpha=int(ALPHA)).to_dict().items()}
    saved = {name: value for name, value in saved.items() if isinstance(value, (int, bool, str))}
    saved["transformer.target_modules"] = sorted({layer.split(".", 2)[2] for layer in lora})
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(saved)}
    return single(folder / "a.safetensors", named(lora, lambda layer: f"transformer.{layer}"), metadata)


def comfyui(lora: Update, folder: Path) -> Path:
    return single(folder / "a.safetensors", named(lora, lambda layer: f"diffusion_model.{original_name(layer)}", alpha=ALPHA))


def comfyui_down_up(lora: Update, folder: Path) -> Path:
    weights = named(lora, lambda layer: f"diffusion_model.{original_name(layer)}", "lora_down", "lora_up", ALPHA)
    return single(folder / "a.safetensors", weights)


def kohya(lora: Update, folder: Path) -> Path:
    weights = named(lora, lambda layer: f"lora_unet_{flat(original_name(layer))}", "lora_down", "lora_up", ALPHA)
    return single(folder / "a.safetensors", weights)


def kohya_of_diffusers(lora: Update, folder: Path) -> Path:
    """As VideoX-Fun writes them, with two underscores."""
    weights = named(lora, lambda layer: f"lora_unet__{flat(layer)}", "lora_down", "lora_up", ALPHA)
    return single(folder / "a.safetensors", weights)


def diffsynth(lora: Update, folder: Path) -> Path:
    weights = named(lora, original_name, "lora_A.default", "lora_B.default")
    return single(folder / "a.safetensors", weights)


FORMATS: dict[Callable[[Update, Path], Path], float] = {
    peft: ALPHA / RANK,
    peft_of_original: ALPHA / RANK,
    peft_without_config: 1.0,
    peft_of_original_without_config: 1.0,
    diffusers_file: 1.0,
    diffusers_folder: 1.0,
    diffusers_with_metadata: ALPHA / RANK,
    comfyui: ALPHA / RANK,
    comfyui_down_up: ALPHA / RANK,
    kohya: ALPHA / RANK,
    kohya_of_diffusers: ALPHA / RANK,
    diffsynth: 1.0,
}
"""Writer of a format -> the strength that its file says or leaves to be assumed."""
