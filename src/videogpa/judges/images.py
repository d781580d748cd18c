"""From frames to what networks were trained on: size, crop, range. In torch alone, by the rules of torchvision's transforms.

VBench resizes float tensors without antialiasing, and neither rounds nor clamps what bicubic interpolation gives; so is it done
here (`vbench/utils.py`, `dino_transform` and `clip_transform`, https://github.com/Vchitect/VBench).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the colours of ImageNet, with which DINO was trained."""
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Those with which CLIP was trained; Qwen2-VL has the same."""


def short_side(
    frames: Float[Tensor, "frames 3 height width"], side: int, mode: Literal["bilinear", "bicubic"]
) -> Float[Tensor, "frames 3 new_height new_width"]:
    """Resize frames so that their short side has so many pixels; the long one is cut to whole pixels."""
    height, width = frames.shape[2:]
    long = int(side * max(height, width) / min(height, width))
    size = (side, long) if height <= width else (long, side)
    return interpolate(frames, size, mode=mode, align_corners=False, antialias=False)


def centre(frames: Float[Tensor, "frames 3 height width"], side: int) -> Float[Tensor, "frames 3 side side"]:
    """Return the square in the middle of frames whose sides are at least as long."""
    height, width = frames.shape[2:]
    top, left = round((height - side) / 2), round((width - side) / 2)
    return frames[:, :, top : top + side, left : left + side]


def normalised(
    frames: Float[Tensor, "frames 3 height width"], colours: tuple[tuple[float, ...], tuple[float, ...]]
) -> Float[Tensor, "frames 3 height width"]:
    """Subtract the mean of each channel and divide by its standard deviation.

    Args:
        frames: RGB in [0, 1].
        colours: Mean and standard deviation of the channels, such as `IMAGENET`.
    """
    mean, deviation = (torch.tensor(values, device=frames.device)[:, None, None] for values in colours)
    return (frames - mean) / deviation
