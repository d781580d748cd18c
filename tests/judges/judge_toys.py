"""Judges' networks at toy size, of transformers' own classes, as the folders that users have."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel

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


def rewrite(folder: Path, change: "dict[str, torch.Tensor | None]") -> None:
    """Put tensors into the folder's file of weights, or take those out that are None."""
    tensors = {**load_file(folder / "model.safetensors"), **change}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / "model.safetensors")
