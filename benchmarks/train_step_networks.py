"""The networks that `train_step.py` trains: the published architectures with random weights, and how much they compute."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from diffusers import (
    CogVideoXDPMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from torch.nn import Module

from videogpa.models.base import PLENTY, VideoModel
from videogpa.models.cogvideox import CogVideoXTextToVideo
from videogpa.models.sizes import SizeRule
from videogpa.models.wan import WanTextToVideo
from videogpa.models.wan.configuration import Configuration

Config = Mapping[str, Any]
LatentSize = tuple[int, int, int, int]
"""Latent frames, channels, height and width."""


@dataclass(frozen=True)
class Product:
    """A linear layer, applied to so many tokens of a clip."""

    tokens: int
    inputs: int
    outputs: int
    downstream: bool = True
    """Whether its input depends on the adapter, so that gradients pass through it."""
    adapted: bool = False

    @property
    def forward(self) -> int:
        """FLOPs of the layer, a multiplication and an addition counting two."""
        return 2 * self.tokens * self.inputs * self.outputs

    def adapter(self, rank: int) -> int:
        """FLOPs of its adapter, forward: down to the rank, and up again."""
        return 2 * self.tokens * rank * (self.inputs + self.outputs) if self.adapted else 0

    def backward(self, rank: int) -> int:
        """FLOPs of the backward pass: frozen weights have no gradient; the adapter's have, and what comes before it too."""
        through = self.forward if self.downstream else 0
        if not self.adapted:
            return through
        into_down = 2 * self.tokens * rank * self.inputs if self.downstream else 0
        return through + self.adapter(rank) + 2 * self.tokens * rank * self.outputs + into_down


@dataclass(frozen=True)
class Attention:
    """softmax(Q K^T) V: two products forward, four backward (of Q, K, V and of the attention map)."""

    queries: int
    keys: int
    channels: int

    @property
    def forward(self) -> int:
        """FLOPs forward."""
        return 4 * self.queries * self.keys * self.channels

    def adapter(self, rank: int) -> int:
        """It has none."""
        return 0

    def backward(self, rank: int) -> int:
        """FLOPs of the backward pass. What a kernel computes again (flash attention: Q K^T) is not counted."""
        return 2 * self.forward


Work = list[Product | Attention]


@dataclass(frozen=True)
class Architecture:
    """A published network, and the clip that it is trained on here."""

    source: str
    parameters: int
    """As counted from the configuration; published in billions, rounded."""
    config: Config
    latents: LatentSize
    text_tokens: int
    network: type[Module]
    wrap: Callable[[Any, Config, torch.device, torch.dtype], Any]
    work: Callable[[Config, LatentSize, int], Work]
    """What a forward pass for one clip multiplies."""

    def reduced(self, *, layers: int | None, scale: float) -> "Architecture":
        """Return the network with fewer layers, and a clip that is smaller along every axis, its text too."""
        frames, channels, height, width = self.latents
        smaller = (max(1, round(frames * scale)), channels, _even(height * scale), _even(width * scale))
        config = {**self.config, "num_layers": layers or self.config["num_layers"]}
        return replace(self, config=config, latents=smaller, text_tokens=max(1, round(self.text_tokens * scale)))

    def build(self, device: torch.device, dtype: torch.dtype) -> VideoModel:
        """Return the model without its other parts, with the same random weights each time, frozen."""
        torch.manual_seed(0)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # no copy in float32 on the way
        try:
            with device:
                network = self.network(**self.config)
        finally:
            torch.set_default_dtype(before)
        kept = getattr(network, "_keep_in_fp32_modules", None) or ()  # as diffusers does when it loads weights
        for name, parameter in network.named_parameters():
            if any(part in name.split(".") for part in kept):
                parameter.data = parameter.data.float()
        network.eval().requires_grad_(False)
        model: VideoModel = self.wrap(network, self.config, device, dtype)
        return model

    def pair_flops(self, rank: int) -> int:
        """Return what one pair costs: both clips through the reference, and through the policy and back.

        Passes that a trainer runs again to save memory are not counted: this is the numerator of "model FLOPs utilisation"
        (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311, appendix B).
        """
        work = self.work(self.config, self.latents, self.text_tokens)
        reference = sum(part.forward for part in work)
        policy = sum(part.forward + part.adapter(rank) + part.backward(rank) for part in work)
        return 2 * (reference + policy)


def _even(number: float) -> int:
    return max(2, 2 * round(number / 2))  # patches are 2 x 2


def _cogvideox_work(config: Config, latents: LatentSize, text: int) -> Work:
    """Blocks over the text's and the clip's tokens at once; each token is multiplied by 24 channels² (arXiv 2408.06072)."""
    frames, channels, height, width = latents
    d, time, patch = config["num_attention_heads"] * config["attention_head_dim"], config["time_embed_dim"], 2
    video = frames * height * width // patch**2
    tokens = video + text
    work: Work = [
        Product(video, channels * patch**2, d, downstream=False),
        Product(text, config["text_embed_dim"], d, downstream=False),
        Product(1, d, time, downstream=False),
        Product(1, time, time, downstream=False),
        Product(1, time, 2 * d, downstream=False),  # modulation of the last norm
        Product(video, d, channels * patch**2),
    ]
    for layer in range(config["num_layers"]):
        work += 2 * [Product(1, time, 6 * d, downstream=False)]  # modulation of both norms
        work += 3 * [Product(tokens, d, d, downstream=layer > 0, adapted=True)]
        work += [Attention(tokens, tokens, d), Product(tokens, d, d, adapted=True)]
        work += [Product(tokens, d, 4 * d), Product(tokens, 4 * d, d)]
    return work


def _wan_work(config: Config, latents: LatentSize, text: int) -> Work:
    """Blocks of self attention over the clip, cross attention to the text, and a feed-forward part (arXiv 2503.20314)."""
    frames, channels, height, width = latents
    d, inner, patch = config["num_attention_heads"] * config["attention_head_dim"], config["ffn_dim"], config["patch_size"]
    video = frames * height * width // prod(patch)
    work: Work = [
        Product(video, channels * prod(patch), d, downstream=False),
        Product(1, config["freq_dim"], d, downstream=False),
        Product(1, d, d, downstream=False),
        Product(1, d, 6 * d, downstream=False),
        Product(text, config["text_dim"], d, downstream=False),
        Product(text, d, d, downstream=False),
        Product(video, d, channels * prod(patch)),
    ]
    for layer in range(config["num_layers"]):
        work += 3 * [Product(video, d, d, downstream=layer > 0, adapted=True)]
        work += [Attention(video, video, d), Product(video, d, d, adapted=True)]
        work += [Product(video, d, d, adapted=True), *2 * [Product(text, d, d, downstream=False, adapted=True)]]
        work += [Attention(video, text, d), Product(video, d, d, adapted=True)]
        work += [Product(video, d, inner), Product(video, inner, d)]
    return work


def cogvideox_scheduler() -> CogVideoXDPMScheduler:
    """Return the schedule of CogVideoX-5B (scheduler/scheduler_config.json of its weights)."""
    return CogVideoXDPMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=1.0, timestep_spacing="trailing"
    )


def _cogvideox(network: Any, config: Config, device: torch.device, dtype: torch.dtype) -> CogVideoXTextToVideo:
    pipeline = CogVideoXPipeline(
        tokenizer=None, text_encoder=None, vae=None, transformer=network, scheduler=cogvideox_scheduler()
    )
    return CogVideoXTextToVideo(
        pipeline, sizes=SizeRule(8, 16), text_tokens=config["max_text_seq_length"], padding=0, device=device, memory=PLENTY
    )


def _wan(network: Any, config: Config, device: torch.device, dtype: torch.dtype) -> WanTextToVideo:
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    pipeline = WanPipeline(tokenizer=None, text_encoder=None, vae=None, transformer=network, scheduler=scheduler)
    configuration = Configuration("random weights", index={}, transformer=config, vae={})
    return WanTextToVideo(pipeline, configuration, expert="both", device=device, dtype=dtype, memory=PLENTY)


ARCHITECTURES = {
    "cogvideox-5b": Architecture(
        source="transformer/config.json of zai-org/CogVideoX-5b",
        parameters=5_570_283_072,
        config={
            "num_attention_heads": 48,
            "attention_head_dim": 64,
            "num_layers": 42,
            "in_channels": 16,
            "out_channels": 16,
            "time_embed_dim": 512,
            "text_embed_dim": 4096,
            "max_text_seq_length": 226,
            "patch_size": 2,
            "sample_width": 90,
            "sample_height": 60,
            "sample_frames": 49,
            "use_rotary_positional_embeddings": True,
        },
        latents=(13, 16, 60, 90),  # 49 frames of 480 x 720: 1 + 48 / 4, 480 / 8, 720 / 8
        text_tokens=226,
        network=CogVideoXTransformer3DModel,
        wrap=_cogvideox,
        work=_cogvideox_work,
    ),
    "wan2.1-1.3b": Architecture(
        source="transformer/config.json of Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        parameters=1_418_996_800,
        config={
            "patch_size": (1, 2, 2),
            "num_attention_heads": 12,
            "attention_head_dim": 128,
            "num_layers": 30,
            "in_channels": 16,
            "out_channels": 16,
            "text_dim": 4096,
            "freq_dim": 256,
            "ffn_dim": 8960,
        },
        latents=(21, 16, 60, 104),  # 81 frames of 480 x 832: 1 + 80 / 4, 480 / 8, 832 / 8
        text_tokens=512,
        network=WanTransformer3DModel,
        wrap=_wan,
        work=_wan_work,
    ),
}
