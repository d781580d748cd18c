"""First frames, as Wan's pipelines take and encode them."""

from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers.utils import logging as transformers_logging

from videogpa.models.base import GenerationRequest, first_frame


def _pipeline_class() -> Any:
    """Import diffusers' pipeline without transformers' advice to install torchvision: Pillow prepares CLIP's pictures."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        from diffusers import WanImageToVideoPipeline
    finally:
        transformers_logging.set_verbosity(verbosity)
    return WanImageToVideoPipeline


ImageToVideoPipeline = _pipeline_class()


def first_picture(request: GenerationRequest, height: int, width: int) -> Image.Image:
    """Return the request's first frame, fitted, with 8 bits a colour.

    A picture and no tensor: CLIP's processor divides tensors by 255 once more, and Wan2.1 would see a black frame.

    Raises:
        UserError: If the request has none.
    """
    fitted = first_frame(request, height=height, width=width)
    return Image.fromarray((255 * fitted).round().byte().permute(1, 2, 0).cpu().numpy())


def first_frame_latents(
    pipeline: Any, image: Image.Image, frames: int, height: int, width: int, device: torch.device
) -> Float[Tensor, "latent_frames channels h w"]:
    """Return what `pipeline`, one of image-to-video, puts beside the noisy latents or in their place, for so many frames."""
    pixels = pipeline.video_processor.preprocess(image, height=height, width=width).to(device, torch.float32)
    no_noise = torch.zeros(())  # it would draw some
    channels = pipeline.vae.config.z_dim
    _, latents, *_ = pipeline.prepare_latents(
        pixels, 1, channels, height, width, frames, torch.float32, device, latents=no_noise
    )
    found: Tensor = latents[0].transpose(0, 1).contiguous()
    return found
