"""The names of LoRA's layers and tensors: those of diffusers, of the models' original code, and of programs that flatten them.

A layer of Wan is called `blocks.0.attn1.to_q` by diffusers, `blocks.0.self_attn.q` by Wan's original code and ComfyUI, and
`lora_unet_blocks_0_self_attn_q` by kohya's trainers. The names of a file are only ever looked up among those that the layers
of the model at hand can have.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch.nn import Linear, Module, ModuleDict

FIRST, SECOND = "transformer", "transformer_2"
"""Diffusers' names of a model's transformers; the second is the low-noise expert of Wan2.2 A14B."""

PEFT = "base_model.model."
_PREFIXES = (PEFT, "model.diffusion_model.", "diffusion_model.", "pipe.dit.")
_FLAT_PREFIXES = ("lora_unet_", "lora_transformer_")

# Wan's original code, https://github.com/Wan-Video/Wan2.1, and comfy/ldm/cogvideo/model.py.
_ORIGINAL = (
    (r"^transformer_blocks\.(\d+)\.attn1\.to_(q|k|v)$", r"blocks.\1.\2"),  # CogVideoX
    (r"^transformer_blocks\.(\d+)\.attn1\.to_out\.0$", r"blocks.\1.attn_out"),
    (r"^blocks\.(\d+)\.attn1\.to_(q|k|v)$", r"blocks.\1.self_attn.\2"),  # Wan
    (r"^blocks\.(\d+)\.attn1\.to_out\.0$", r"blocks.\1.self_attn.o"),
    (r"^blocks\.(\d+)\.attn2\.to_(q|k|v)$", r"blocks.\1.cross_attn.\2"),
    (r"^blocks\.(\d+)\.attn2\.to_out\.0$", r"blocks.\1.cross_attn.o"),
    (r"^blocks\.(\d+)\.attn2\.add_(k|v)_proj$", r"blocks.\1.cross_attn.\2_img"),
    (r"^blocks\.(\d+)\.ffn\.net\.0\.proj$", r"blocks.\1.ffn.0"),
    (r"^blocks\.(\d+)\.ffn\.net\.2$", r"blocks.\1.ffn.2"),
    (r"^condition_embedder\.text_embedder\.linear_1$", "text_embedding.0"),
    (r"^condition_embedder\.text_embedder\.linear_2$", "text_embedding.2"),
    (r"^condition_embedder\.time_embedder\.linear_1$", "time_embedding.0"),
    (r"^condition_embedder\.time_embedder\.linear_2$", "time_embedding.2"),
    (r"^condition_embedder\.time_proj$", "time_projection.1"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj$", "img_emb.proj.1"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2$", "img_emb.proj.3"),
)


def original_name(layer: str) -> str:
    """Return the name that the model's original code has for a layer of diffusers' class; the same name if it has no other."""
    for pattern, replacement in _ORIGINAL:
        name, found = re.subn(pattern, replacement, layer)
        if found:
            return name
    return layer


def transformers_of(network: Module) -> dict[str, Module]:
    """Return the transformers of a network by diffusers' names; a model with two experts keeps them in a `ModuleDict`."""
    return dict(network.items()) if isinstance(network, ModuleDict) else {FIRST: network}


def known_names(transformer: Module) -> dict[str, str]:
    """Return every name that files have for a linear layer of a transformer, and the layer's name in it."""
    layers = [name for name, module in transformer.named_modules() if isinstance(module, Linear)]
    found = {name: name for name in layers}
    found |= {original_name(name): name for name in layers}
    if "condition_embedder.time_proj" in found:  # of Wan
        found["head.head"] = "proj_out"
    return {**found, **{name.replace(".", "_"): layer for name, layer in found.items()}}


Part = Literal["down", "up", "alpha"]

_ENDINGS: tuple[tuple[str, Part], ...] = (
    (".lora_A.weight", "down"),
    (".lora_A.default.weight", "down"),
    (".lora_down.weight", "down"),
    (".lora.down.weight", "down"),
    (".lora_B.weight", "up"),
    (".lora_B.default.weight", "up"),
    (".lora_up.weight", "up"),
    (".lora.up.weight", "up"),
    (".alpha", "alpha"),
)


@dataclass(frozen=True)
class Key:
    """What the name of a tensor says."""

    component: str | None
    """The transformer that the name itself gives the layer to, if it does."""
    layer: str
    part: Part


def parse_key(name: str) -> Key | None:
    """Take the name of a tensor apart; None if it is no part of a LoRA of linear layers."""
    for ending, part in _ENDINGS:
        if name.endswith(ending):
            return _key(name.removesuffix(ending), part)
    return None


def _key(layer: str, part: Part) -> Key:
    peft = layer.startswith(PEFT)
    for prefix in _PREFIXES:
        layer = layer.removeprefix(prefix)
    for prefix in _FLAT_PREFIXES:
        if layer.startswith(prefix):
            return Key(None, layer.removeprefix(prefix).lstrip("_"), part)
    first, _, rest = layer.partition(".")
    if first == SECOND or (first == FIRST and peft):
        return Key(first, rest, part)
    return Key(None, rest if first == FIRST else layer, part)


_OTHER_METHODS = {  # a part of a tensor's name -> what such a file is
    ".lora_magnitude_vector": "a DoRA",
    ".dora_scale": "a DoRA",
    ".lokr_": "a LoKr (LyCORIS)",
    ".hada_": "a LoHa (LyCORIS)",
    ".oft_": "an OFT adapter",
    ".boft_": "a BOFT adapter",
    ".ia3_l": "an IA3 adapter",
    ".vera_lambda": "a VeRA",
    ".lora_mid": "a LoRA of convolutions (LoCon)",
    ".lora_embedding_": "a LoRA of embeddings",
    ".lora_B.bias": "a LoRA with biases",
    ".lora_B.default.bias": "a LoRA with biases",
    ".modules_to_save.": "a LoRA with whole layers beside it (modules_to_save)",
    "lora_te_": "a LoRA of a text encoder",
    "lora_te1_": "a LoRA of a text encoder",
    "text_encoder.": "a LoRA of a text encoder",
}
_WITH_DIFFERENCES = (".diff", ".diff_b")
_OTHER_MODELS = {
    "double_blocks": "FLUX or HunyuanVideo",
    "single_transformer_blocks": "FLUX or HunyuanVideo",
    "down_blocks": "Stable Diffusion",
    "input_blocks": "Stable Diffusion",
    "joint_blocks": "Stable Diffusion 3",
    "self_attn.q_proj": "a language model",
    "query_key_value": "CogVideoX's original code (SAT)",
    "transformer_blocks": "CogVideoX, or another model of diffusers",
    "self_attn": "Wan",
    "attn1": "a model of diffusers",
}


def other_method(names: Iterable[str]) -> str | None:
    """Return what a file holds, by the first name that a LoRA of linear layers does not have; None if there is none."""
    for name in names:
        if name.endswith(_WITH_DIFFERENCES):
            return "a LoRA with changes of whole weights beside it (.diff, .diff_b)"
        for mark, method in _OTHER_METHODS.items():
            if mark in name:
                return method
    return None


def other_model(layers: Iterable[str]) -> str | None:
    """Return which model layers seem to belong to, by their names; None if unknown."""
    listed = list(layers)
    known = ((mark, mark.replace(".", "_"), model) for mark, model in _OTHER_MODELS.items())
    return next((model for mark, flat, model in known for layer in listed if mark in layer or flat in layer), None)


def expert_in_name(file: str) -> str | None:
    """Return the transformer that a file's name speaks of: `high` or `low` as a word, or diffusers' own name of it."""
    stem = file.lower().removesuffix(".safetensors")
    if stem in (FIRST, SECOND):
        return stem
    words = set(re.findall(r"(?<![a-z])(high|low)(?![a-z])|(high|low)(?=[ _-]?noise)", stem))
    found = {word for pair in words for word in pair if word}
    return {"high": FIRST, "low": SECOND}[found.pop()] if len(found) == 1 else None
