"""Sizes of Depth Anything 3's any-view networks, as config.json tells them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

BACKBONES: dict[str, dict[str, Any]] = {  # DINOv2's sizes, by the names in the published files
    "vits": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "vitb": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "vitl": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
    "vitg": {"embed_dim": 1536, "depth": 40, "num_heads": 24, "gated_mlp": True},
}


class DepthAnything3Config(BaseModel):
    """Sizes of a network. Blocks count from 0.

    Read from the golden data's flat table, or from a published config.json, whose sections `net` and `head` tell the same.
    """

    model_config = ConfigDict(frozen=True)

    embed_dim: int
    depth: int
    num_heads: int
    out_layers: tuple[int, int, int, int]
    """The blocks after which the depth head reads; cameras are read after the last of them."""
    alt_start: int
    """From this block on odd ones look at all views, and camera tokens take the place of class tokens."""
    qknorm_start: int
    rope_start: int
    dpt_features: int
    dpt_out_channels: tuple[int, int, int, int]
    img_size: int = 518
    """Side of the images that the table of positions was made for."""
    patch_size: int = 14
    mlp_ratio: float = 4.0
    rope_freq: float = 100.0
    gated_mlp: bool = False

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        flat = _from_sections(told["config"]) if isinstance(told.get("config"), dict) else told
        if flat.get("cat_token") is False or flat.get("alt_start") == -1:
            raise ValueError("it describes a network for single images; expected an any-view one, such as DA3-BASE")
        return flat


def _from_sections(config: dict[str, Any]) -> dict[str, Any]:
    """Return a published configuration as one table."""
    if "anyview" in config:
        raise ValueError("it describes a nested network, with a metric branch; expected an any-view one, such as DA3-BASE")
    net, head = config.get("net", {}), config.get("head", {})
    if net.get("name") not in BACKBONES:
        raise ValueError(f"it names the backbone {net.get('name')!r}; known are {', '.join(BACKBONES)}")
    return {**BACKBONES[net["name"]], **net, **{f"dpt_{name}": value for name, value in head.items()}}
