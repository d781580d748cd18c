"""From a clip and its text to what VideoReward reads: frames, patches, and the question.

The rules are those of the code that the published weights were trained with (https://github.com/KwaiVGI/VideoAlign,
`vision_process.py` and `inference.py`, after Qwen's qwen-vl-utils): two frames a second, an even number of at least four,
evenly spread, first and last included; sides that are multiples of 28 with at most 200,704 pixels in all (and at least
100,352), by bicubic interpolation with antialiasing, rounded to whole values of 0 to 255; the question with three special
tokens.
"""

import math
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.judges.base import CannotJudge
from videogpa.judges.images import CLIP, normalised

RATE = 2.0  # frames a second: `fps` of model_config.json
LEAST_FRAMES, MOST_FRAMES, EVEN = 4, 768, 2  # FPS_MIN_FRAMES, FPS_MAX_FRAMES, FRAME_FACTOR
MOST_PIXELS = 200_704  # of a frame: `max_frame_pixels` of model_config.json, 256 x 28 x 28
LEAST_PIXELS = 128 * 28 * 28  # VIDEO_MIN_PIXELS
PATCH, MERGED, TOGETHER = 14, 2, 2  # pixels of a patch, patches of a token along a side, frames of a patch
TOKENS = ("<|VQ_reward|>", "<|MQ_reward|>", "<|TA_reward|>")
"""Where the head reads visual quality, motion quality and text alignment."""


def chosen_frames(total: int, fps: float, rate: float = RATE) -> list[int]:
    """Return the indices of the frames that are read.

    Args:
        total: How many frames the clip has.
        fps: How many of them make a second.
        rate: How many of a second are read.

    Raises:
        CannotJudge: If the clip has one frame.
    """
    if total < EVEN:
        raise CannotJudge("the clip has one frame, and motion is judged from two or more")
    most = min(MOST_FRAMES, total) // EVEN * EVEN
    count = round(min(max(total / fps * rate, LEAST_FRAMES), most) / EVEN) * EVEN
    indices: list[int] = torch.linspace(0, total - 1, min(count, total)).round().long().tolist()
    return indices


def size_for_network(height: int, width: int, most: int = MOST_PIXELS, least: int = LEAST_PIXELS) -> tuple[int, int]:
    """Return the height and width to which frames are resized: multiples of 28, with about the shape of the frames."""
    unit = PATCH * MERGED
    tall, wide = (max(unit, round(side / unit) * unit) for side in (height, width))
    if tall * wide > most:
        shrink = math.sqrt(height * width / most)
        return math.floor(height / shrink / unit) * unit, math.floor(width / shrink / unit) * unit
    if tall * wide < least:
        grow = math.sqrt(least / (height * width))
        return math.ceil(height * grow / unit) * unit, math.ceil(width * grow / unit) * unit
    return tall, wide


def resized(frames: Float[Tensor, "frames 3 height width"], most: int = MOST_PIXELS) -> Float[Tensor, "frames 3 tall wide"]:
    """Resize frames, RGB in [0, 1], and round them to what 8 bits hold, as torchvision does with bytes."""
    height, width = frames.shape[2:]
    size = size_for_network(height, width, most)
    small = interpolate(255 * frames, size, mode="bicubic", align_corners=False, antialias=True)
    return small.clamp(0, 255).round() / 255


def patches(
    frames: Float[Tensor, "frames 3 height width"],
) -> tuple[Float[Tensor, "patches values"], tuple[int, int, int]]:
    """Cut frames into what the network's vision part reads.

    Args:
        frames: An even number of them, RGB in [0, 1], with sides that are multiples of 28.

    Returns:
        The patches, each of 2 frames and 14 x 14 pixels, in the order of the tokens that 2 x 2 of them make; and how many there
        are in time, height and width.
    """
    count, _, height, width = frames.shape
    grid = (count // TOGETHER, height // PATCH, width // PATCH)
    parts = normalised(frames, CLIP).reshape(
        grid[0], TOGETHER, 3, grid[1] // MERGED, MERGED, PATCH, grid[2] // MERGED, MERGED, PATCH
    )
    return parts.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(math.prod(grid), -1), grid


@cache
def _template() -> str:
    return Path(__file__).with_name("detailed_special.txt").read_text(encoding="utf-8")


def question(text: str, tokens: int) -> str:
    """Return what the network is asked of a clip, in Qwen2-VL's form of a conversation.

    Args:
        text: What the clip was asked to show.
        tokens: How many tokens the clip has.
    """
    asked = _template().replace("{text_prompt}", text)
    clip = "<|vision_start|>" + "<|video_pad|>" * tokens + "<|vision_end|>"
    return (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n{clip}{asked}<|im_end|>\n<|im_start|>assistant\n"
    )
