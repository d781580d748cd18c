"""Sizes of Depth Anything 3's any-view networks, as in config.json."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from videogpa.critics.networks import sizes

BACKBONES: dict[str, dict[str, Any]] = {  # DINOv2's sizes, by the names in the published files
    "vits": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "vitb": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "vitl": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
    "vitg": {"embed_dim": 1536, "depth": 40, "num_heads": 24, "gated_mlp": True},
}
PUBLISHED: dict[str, tuple[str, int, tuple[int, ...], int, tuple[int, ...]]] = {  # official code, `configs/`
    "da3-small": ("vits", 4, (5, 7, 9, 11), 64, (48, 96, 192, 384)),
    "da3-base": ("vitb", 4, (5, 7, 9, 11), 128, (96, 192, 384, 768)),
    "da3-large": ("vitl", 8, (11, 15, 19, 23), 256, (256, 512, 1024, 1024)),
    "da3-giant": ("vitg", 13, (19, 27, 33, 39), 256, (256, 512, 1024, 1024)),
}
"""By `model_name`: backbone, first block across views, input layers of the head, its features, channels."""


class DepthAnything3Config(BaseModel):
    """Sizes of a network. Blocks are numbered from 0.

    The sizes are read from a flat table, from the sections `net` and `head` of a published config.json, or from its
    `model_name` alone.
    """

    model_config = ConfigDict(frozen=True)

    embed_dim: sizes.Width
    depth: sizes.Depth
    num_heads: sizes.Width
    out_layers: tuple[sizes.Block, ...]
    """The blocks whose outputs the depth head takes; the camera decoder takes that of the last of them."""
    alt_start: sizes.Block
    """From this block on odd blocks attend across all views, and camera tokens replace class tokens."""
    qknorm_start: sizes.Block
    rope_start: sizes.Block
    dpt_features: sizes.Width
    dpt_out_channels: tuple[sizes.Width, ...]
    img_size: sizes.Pixels = 518
    """Side, in pixels, of the images that the position embeddings were trained on."""
    patch_size: sizes.Pixels = 14
    mlp_ratio: sizes.Factor = 4.0
    rope_freq: sizes.Factor = 100.0
    gated_mlp: bool = False

    @model_validator(mode="after")
    def _sizes_fit(self) -> "DepthAnything3Config":
        sizes.check_transformer(self.embed_dim, self.num_heads, self.mlp_ratio, self.img_size, self.patch_size)
        sizes.check_head(self.out_layers, self.depth, self.dpt_out_channels, self.dpt_features)
        if not 1 <= self.alt_start < self.depth:
            raise ValueError(f"alt_start is {self.alt_start}, and not one of the blocks 1 to {self.depth - 1}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        name = str(told.get("model_name", "")).removesuffix("-1.1")  # trained again, of the same sizes
        if isinstance(told.get("config"), dict):
            flat = _from_sections(told["config"])
        elif name in PUBLISHED and "embed_dim" not in told:
            flat = _from_name(name)
        else:
            flat = told
        if flat.get("cat_token") is False or flat.get("alt_start") == -1:
            raise ValueError("it describes a network for single images; expected an any-view one, such as DA3-BASE")
        return flat


def _from_sections(config: dict[str, Any]) -> dict[str, Any]:
    """Return a published configuration as one table."""
    if "anyview" in config:
        raise ValueError("it describes a nested network, with a metric branch; expected an any-view one, such as DA3-BASE")
    net, head = config.get("net", {}), config.get("head", {})
    if not isinstance(net, dict) or not isinstance(head, dict):
        raise ValueError("its sections net and head are no tables")
    name = str(net.get("name"))
    if name not in BACKBONES:
        raise ValueError(f"it names the backbone {name[:40]!r}; known are {', '.join(BACKBONES)}")
    return {**BACKBONES[name], **net, **{f"dpt_{name}": value for name, value in head.items()}}


def _from_name(name: str) -> dict[str, Any]:
    """Return the sizes of a published network as one table."""
    backbone, start, layers, features, channels = PUBLISHED[name]
    starts = dict.fromkeys(("alt_start", "qknorm_start", "rope_start"), start)
    return {**BACKBONES[backbone], **starts, "out_layers": layers, "dpt_features": features, "dpt_out_channels": channels}
