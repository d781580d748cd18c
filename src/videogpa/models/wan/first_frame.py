"""Preparation and encoding of first frames, identical to that of Wan's pipelines."""

from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers.utils import logging as transformers_logging

from videogpa.models.base import GenerationRequest, first_frame


def _pipeline_class() -> Any:
    """Import diffusers' pipeline without transformers' advice to install torchvision: Pillow prepares the images for CLIP."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        from diffusers import WanImageToVideoPipeline
    finally:
        transformers_logging.set_verbosity(verbosity)
    return WanImageToVideoPipeline


ImageToVideoPipeline = _pipeline_class()


def first_picture(request: GenerationRequest, height: int, width: int) -> Image.Image:
    """Return the request's first frame, fitted to the size, with 8 bits per colour channel.

    The result is a PIL image and not a tensor, because CLIP's processor would divide a tensor by 255 a second time, and Wan2.1
    would get a black frame.

    Args:
        request: The request with the first frame.
        height: The clip's height in pixels.
        width: The clip's width in pixels.

    Raises:
        UserError: If the request has no first frame.
    """
    fitted = first_frame(request, height=height, width=width)
    return Image.fromarray((255 * fitted).round().byte().permute(1, 2, 0).cpu().numpy())


def first_frame_latents(
    pipeline: Any, image: Image.Image, frames: int, height: int, width: int, device: torch.device
) -> Float[Tensor, "latent_frames channels h w"]:
    """Return the latents that an image-to-video pipeline puts beside the noisy latents or in their place.

    Args:
        pipeline: The image-to-video pipeline, with its VAE.
        image: The first frame, of the clip's size.
        frames: The clip's number of frames.
        height: The clip's height in pixels.
        width: The clip's width in pixels.
        device: The device on which the first frame is encoded.
    """
    pixels = pipeline.video_processor.preprocess(image, height=height, width=width).to(device, torch.float32)
    no_noise = torch.zeros(())  # without it the pipeline would draw random noise
    channels = pipeline.vae.config.z_dim
    _, latents, *_ = pipeline.prepare_latents(
        pixels, 1, channels, height, width, frames, torch.float32, device, latents=no_noise
    )
    found: Tensor = latents[0].transpose(0, 1).contiguous()
    return found
