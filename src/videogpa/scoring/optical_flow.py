"""How much a clip moves, by optical flow. It needs no cameras, so that clips whose reconstruction fails have it too."""

from itertools import pairwise
from typing import cast

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.pixels import Frames, as_frames

WIDTH = 256  # pixels across which flow is computed: DIS finds displacements of tens of pixels there, in about 2 ms a pair


def mean_flow(frames: Frames) -> float:
    """Return the mean length of the optical flow between consecutive frames, in image widths. See `flow_lengths`.

    Args:
        frames: In any form that `videogpa.score` takes.
    """
    return float(np.mean(flow_lengths(as_frames(frames))))


def flow_lengths(frames: Float[Tensor, "frames 3 height width"]) -> list[float]:
    """Return the mean length of the optical flow from every frame to the next, in image widths.

    Dense inverse search (Kroeger et al. 2016, https://arxiv.org/abs/1603.03590), as OpenCV implements it. RGB in [0, 1].
    0 for a frozen clip.

    Raises:
        ValueError: With fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f"optical flow takes two frames or more, got {len(frames)}")
    height = max(round(WIDTH * frames.shape[-2] / frames.shape[-1]), 16)
    small = interpolate(frames, (height, WIDTH), mode="bilinear", antialias=True, align_corners=False)
    gray = (small.mean(dim=1) * 255).round().to(torch.uint8).cpu().numpy()
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = (cast(np.ndarray, estimator.calc(a, b, None)) for a, b in pairwise(gray))
    return [float(np.linalg.norm(flow, axis=-1).mean()) / WIDTH for flow in flows]
