"""The image encoder of CLIP, from the folder of a whole CLIP or of its image encoder alone."""

from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from videogpa.critics.networks.weights import find_weights, read_config
from videogpa.judges.encoders import Activation, EncoderSizes, Loaded, Size, load_network, sha256
from videogpa.judges.images import CLIP, centre, normalised, short_side


class ClipSizes(EncoderSizes):
    """What counts of the config.json of CLIP; the defaults are those of transformers, and of CLIP ViT-B/32."""

    projection_dim: Size = 512
    patch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-5

    @model_validator(mode="before")
    @classmethod
    def _of_the_images(cls, content: Any) -> Any:
        """Of a whole CLIP its image encoder counts, with the size of the space that it shares with texts."""
        if not isinstance(content, dict) or not isinstance(content.get("vision_config"), dict):
            return content
        shared = {name: content[name] for name in ("projection_dim",) if name in content}
        return {**content["vision_config"], **shared}


def load_clip_vision(weights: str | Path, device: torch.device) -> Loaded:
    """Load the image encoder of CLIP with its projection, in float32.

    Args:
        weights: A folder with config.json and one .safetensors file, that file, or a hub id.
        device: Where it runs.

    Raises:
        UserError: If the weights cannot be found or do not fit.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    file = find_weights(weights)
    sizes = read_config(file, ClipSizes)
    skip = ("text_model.", "text_projection.", "logit_scale", "vision_model.embeddings.position_ids")
    network = load_network(CLIPVisionModelWithProjection, CLIPVisionConfig(**sizes.model_dump()), file, skip=skip)
    return Loaded(network.to(device), file, sha256(file), sizes.image_size, sizes.patch_size)


@torch.inference_mode()
def embeddings(
    loaded: Loaded, frames: Float[Tensor, "frames 3 height width"], device: torch.device
) -> Float[Tensor, "frames dimensions"]:
    """Return the image embedding of each frame, on the CPU.

    Args:
        loaded: The encoder.
        frames: RGB in [0, 1]. As in VBench, the middle square of the frame counts, and bicubic interpolation is not clamped.
        device: Where the encoder is.
    """
    side = loaded.image_size
    small = normalised(centre(short_side(frames.to(device), side, "bicubic"), side), CLIP)
    found: Tensor = loaded.network(pixel_values=small).image_embeds.float().cpu()
    return found
