"""Wan2.1 and Wan2.2, through diffusers' own classes and pipelines.

Wan Team 2025, "Wan: Open and Advanced Large-Scale Video Generative Models", https://arxiv.org/abs/2503.20314; Wan2.2,
https://github.com/Wan-Video/Wan2.2.
"""

from videogpa.models.wan.image_to_video import WanImageToVideo
from videogpa.models.wan.text_image_to_video import WanTextImageToVideo
from videogpa.models.wan.text_to_video import WanTextToVideo

__all__ = ["WanImageToVideo", "WanTextImageToVideo", "WanTextToVideo"]
