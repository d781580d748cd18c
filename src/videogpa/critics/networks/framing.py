"""Cropping and resizing of frames for a network."""

from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

Crop = Literal["whole", "centre"]
"""The whole frame, or the square in its middle as in the paper, which discards a third of a frame of 720 x 480."""


def frame_for_network(
    frames: Float[Tensor, "frames 3 height width"], crop: Crop, side: int, multiple: int
) -> Float[Tensor, "frames 3 new_height new_width"]:
    """Return the frames at an input size of a network, RGB in [0, 1].

    Args:
        frames: RGB in [0, 1].
        crop: `whole` resizes the long side to `side` and the other to the nearest multiple of `multiple`, which stretches it by
            less than half of that (antialiased bicubic). `centre` resizes the middle square to `side`, as the paper's code does
            (OpenCV, bilinear, in 8 bits).
        side: Length of the long side of the result, in pixels.
        multiple: Number of pixels that the sides must be multiples of.
    """
    height, width = frames.shape[2:]
    if crop == "centre":
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        square = frames[:, :, top : top + short, left : left + short]
        return torch.stack([_resize_8_bits(picture, side) for picture in square]).to(frames.device)
    scale = side / max(height, width)
    size = [max(1, round(length * scale / multiple)) * multiple for length in (height, width)]
    return interpolate(frames, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def _resize_8_bits(picture: Float[Tensor, "3 height width"], side: int) -> Float[Tensor, "3 side side"]:
    pixels = (picture * 255).round().byte().permute(1, 2, 0).contiguous().numpy(force=True)
    resized: np.ndarray = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(resized).permute(2, 0, 1).float() / 255
