"""Judges' networks at toy size, of transformers' own classes, as the folders that users have."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel

from golden_networks import draw

GOLDEN = Path(__file__).parents[1] / "golden/videoreward_small"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VIT = {**SIZES, "image_size": 32, "patch_size": 8}


def vit_folder(folder: Path, *, seed: int = 0) -> Path:
    """A ViT with random weights, as transformers 4 saved it: with its pooling layer and the names of then."""
    torch.manual_seed(seed)
    ViTModel(ViTConfig(**VIT)).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({**VIT, "model_type": "vit", "architectures": ["ViTModel"]}))
    return folder


CLIP_VISION = {**SIZES, "image_size": 32, "patch_size": 8, "projection_dim": 16}
CLIP_TEXT = {**SIZES, "vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 2, "bos_token_id": 1}


def clip_folder(folder: Path) -> Path:
    """A whole CLIP with random weights, and a head for its embeddings beside it."""
    torch.manual_seed(0)
    config = CLIPConfig(text_config=CLIP_TEXT, vision_config=CLIP_VISION, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    head = {"weight": torch.linspace(-1, 1, 16)[None], "bias": torch.tensor([5.0])}
    save_file(head, folder / "sa_0_4_vit_l_14_linear.safetensors")
    return folder


def reward_weights(*, outputs: int = 1) -> dict[str, torch.Tensor]:
    """The tensors that the original was given (golden/README.md), under the names of transformers 4.45 and PEFT."""
    tensors = {}
    for name, shape in json.loads((GOLDEN / "shapes.json").read_text()).items():
        norm = ("norm" in name or "ln_q" in name) and name.endswith("weight")
        std = 0.1 if norm or name.endswith("bias") else 0.25
        if name.endswith("rm_head.weight"):
            shape = [outputs, *shape[1:]]
        tensors[name] = draw(name, *shape, mean=1.0 if norm else 0.0, std=std)
    return tensors


def reward_folder(folder: Path, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    """A small VideoReward, laid out as the published one is once it is converted and has Qwen2-VL's two files."""
    (folder / "checkpoint-7").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model_config.json"):
        shutil.copy(GOLDEN / name, folder / name)
    save_file(reward_weights() if tensors is None else tensors, folder / "checkpoint-7/model.safetensors")
    return folder


def rewrite(folder: Path, change: "dict[str, torch.Tensor | None]") -> None:
    """Put tensors into the folder's file of weights, or take those out that are None."""
    tensors = {**load_file(folder / "model.safetensors"), **change}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / "model.safetensors")
