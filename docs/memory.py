"""The page of the memory that a training takes: docs/reference/memory.md, by the formula that a training prints.

The published architectures are built without memory (torch's meta device), each with an adapter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from diffusers import CogVideoXTransformer3DModel, WanTransformer3DModel
from torch.nn import Module, Parameter

from videogpa.config import TrainConfig
from videogpa.models.adapters import new_adapter
from videogpa.registry import MODELS, load
from videogpa.training.data import Batch
from videogpa.training.memory import GIB, Estimate, estimate

ABOUT = (
    "GiB on one GPU, in bfloat16, with rank 64 and one pair at a time: by the formula that `videogpa train` prints before it",
    "starts, for the published networks. In brackets stands what was measured, and by how much the estimate is above or below",
    "that. Measured without a GPU: the real networks at full size, which compute shapes in place of numbers, every storage",
    "followed to its peak, with norms that keep their input only, as on CUDA. A GPU needs 1 to 2 GiB more for CUDA itself.",
    "What to do where it does not fit: [Memory](../how-to/train.md#memory).",
)
FORMULA = (
    "Of a layer a forward pass keeps so many numbers per token and channel: CogVideoX 15, Wan 24 (its norms work in float32),",
    "Wan2.2-TI2V 38. That model has a timestep, and so six modulations, for every token: 24 bytes per token and channel beside",
    "the layers. With checkpointing it is 1 for each layer and, while one is computed again, those of that one and 8 more.",
)

Measured = tuple[float, float, float]
"""GiB of activations: without checkpointing, with it, and with winner and loser in turn as well."""


@dataclass(frozen=True)
class Published:
    """A published architecture and the clip that it makes."""

    label: str
    model: str
    """Its name in a recipe."""
    config: Mapping[str, Any]
    clip: tuple[int, int, int]
    """Frames, height and width."""
    text: int
    """Tokens of the text."""
    channels: int = 16
    """Of the latents."""
    stride: int = 8
    """Pixels per latent, along height and width; along time it is 4."""
    padding: int = 0
    """Latent frames that stand before those of the clip."""
    measured: Measured | None = None

    def estimate(self, clip: tuple[int, int, int], settings: TrainConfig) -> Estimate:
        """Return what a training with these settings takes, for pairs of clips of this size, in bfloat16."""
        frames, height, width = clip
        shape = (1, (frames - 1) // 4 + 1 + self.padding, self.channels, height // self.stride, width // self.stride)
        latents = torch.zeros(shape, device="meta")
        text = torch.zeros(1, self.text, 4096, device="meta")
        batch = Batch(latents, latents, latents, torch.zeros(1, dtype=torch.long), {"text": text})
        network, trained = _with_adapter(self.label, settings.lora_rank)
        return estimate(network, trained, batch, settings, load(MODELS, self.model).activations)


@cache
def _with_adapter(label: str, rank: int) -> tuple[Module, list[Parameter]]:
    """Return a published transformer with an adapter, and the adapter's parameters, all without memory."""
    [published] = [one for one in PUBLISHED.values() if one.label == label]
    kind = CogVideoXTransformer3DModel if published.model.startswith("cogvideox") else WanTransformer3DModel
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            network: Module = kind(**published.config).requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    with torch.device("meta"):
        adapter = new_adapter(network, targets=load(MODELS, published.model).lora_targets, rank=rank, alpha=rank, seed=0)
    return network, [parameter for parameter in adapter.parameters() if parameter.requires_grad]


_COGVIDEOX = {
    "num_attention_heads": 48,
    "attention_head_dim": 64,
    "num_layers": 42,
    "time_embed_dim": 512,
    "text_embed_dim": 4096,
    "use_rotary_positional_embeddings": True,
}


def _wan(heads: int, layers: int, inner: int, channels: int = 16) -> dict[str, Any]:
    return {
        "num_attention_heads": heads,
        "attention_head_dim": 128,
        "num_layers": layers,
        "ffn_dim": inner,
        "in_channels": channels,
        "out_channels": channels,
    }


PUBLISHED = {
    "zai-org/CogVideoX-5b": Published(
        *("CogVideoX-5B", "cogvideox-t2v", _COGVIDEOX),
        text=226,
        clip=(49, 480, 720),
        measured=(123, 13.1, 6.8),
    ),
    "zai-org/CogVideoX-5b-I2V": Published(
        *("CogVideoX-5B-I2V", "cogvideox-i2v", {**_COGVIDEOX, "in_channels": 32}),
        text=226,
        clip=(49, 480, 720),
    ),
    "zai-org/CogVideoX-2b": Published(
        "CogVideoX-2B",
        "cogvideox-t2v",
        {**_COGVIDEOX, "num_attention_heads": 30, "num_layers": 30, "use_rotary_positional_embeddings": False},
        text=226,
        clip=(49, 480, 720),
    ),
    "zai-org/CogVideoX1.5-5B": Published(
        "CogVideoX1.5-5B",
        "cogvideox-t2v",
        {**_COGVIDEOX, "patch_size_t": 2, "patch_bias": False, "sample_height": 300, "sample_width": 300},
        text=226,
        clip=(81, 768, 1360),
        padding=1,
        measured=(312, 33, 17),
    ),
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": Published(
        *("Wan2.1-1.3B", "wan-t2v", _wan(12, 30, 8960)),
        text=512,
        clip=(81, 480, 832),
        measured=(132, 12.4, 6.4),
    ),
    "Wan-AI/Wan2.2-TI2V-5B-Diffusers": Published(
        *("Wan2.2-TI2V-5B", "wan-ti2v", _wan(24, 30, 14336, channels=48)),
        channels=48,
        stride=16,
        text=512,
        clip=(121, 704, 1280),
        measured=(360, 26, 14),
    ),
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": Published(
        *("Wan2.1-14B", "wan-t2v", _wan(40, 40, 13824)),
        text=512,
        clip=(81, 480, 832),
        measured=(502, 44, 23),
    ),
}
"""By hub id; the numbers are those of transformer/config.json there."""

WAYS = (
    TrainConfig(),
    TrainConfig(gradient_checkpointing=True),
    TrainConfig(gradient_checkpointing=True, joint_forward=False),
)


def rows() -> list[tuple[str, ...]]:
    """Return the rows of the table: estimates, and the measurements with the deviation of the estimates from them."""
    found = []
    for network in PUBLISHED.values():
        if network.measured is None:
            continue
        estimates = [network.estimate(network.clip, way) for way in WAYS]
        gib = [(one.activations or 0) / GIB for one in estimates]
        clip = "×".join(map(str, network.clip))
        compared = [
            f"{estimated:.3g} ({measured:g}, {round(100 * (estimated / measured - 1)):+d} %)"
            for estimated, measured in zip(gib, network.measured, strict=True)
        ]
        held = (estimates[0].weights + estimates[0].adapter) / GIB
        found.append((f"{network.label}, {clip}", f"{held:.1f}", *compared))
    return found
