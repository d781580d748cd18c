"""What a clip looks like, whatever its geometry: flicker, dynamic degree, sharpness, colours. Weight-free; judges no content.

A reward may be satisfied by clips that stand still, are blurred, or turn to cartoon colours. These numbers stand beside every
score, and a comparison says which of them a gain was paid with (`stages/paired.py`).
"""

from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.scoring.dense_flow import WIDTH as LONG_SIDE
from videogpa.scoring.dense_flow import DenseFlow, at, grey_frames, moved
from videogpa.scoring.frames import Video, rate_of, read_small
from videogpa.video import UnreadableVideo, sample_indices

RATE = 8  # frames a second between which VBench measures motion
MOST_PAIRS = 32  # of frames, evenly spread over the clip: four seconds of it, or a sample of more
MOVES_MOST = 0.05  # share of the pixels, those that move most, whose mean flow counts
LEAST_FLOW = 6 / 256  # of the short side: from where on VBench calls two frames dynamic
LEAST_SHARE = 4 / 16  # of the pairs that must be, for the clip to be
LUMA = (0.2126, 0.7152, 0.0722)  # Rec. 709


def appearance_of(video: Video, total: int, judged: Float[Tensor, "judged 3 height width"]) -> dict[str, float]:
    """Return what a clip looks like, by column name: see `dynamics_of` and `colours_of`.

    Without the numbers of `dynamics_of` where frames between the judged ones cannot be read.

    Args:
        video: A file, or a tensor of RGB in [0, 1].
        total: How many frames it has.
        judged: Its judged frames, at full size.
    """
    try:
        return {**dynamics_of(video, total), **colours_of(judged)}
    except UnreadableVideo:
        return colours_of(judged)


def dynamics_of(video: Video, total: int) -> dict[str, float]:
    """Return `flicker`, `dynamic_degree` and `dynamic`, from frames with a long side of 256 pixels.

    - `flicker`: mean absolute difference of the brightness, 0 to 1, between a frame and the next one brought back along the
      optical flow, over the pixels that can be followed. Unlike the plain difference of frames (VBench's `temporal_flickering`,
      which is for clips without motion), it does not grow with motion.
    - `dynamic_degree`: mean length of the 5 % longest flow vectors between frames an eighth of a second apart, in units of
      6/256 of the short side, over the pixels that can be followed.
    - `dynamic`: VBench's rule (https://arxiv.org/abs/2311.17982, `dynamic_degree`): 1 if that share is above 1 for a quarter
      of the pairs, else 0. VBench measures flow with RAFT; this is dense inverse search, so that the two agree about as far as
      the two methods do.

    Raises:
        UnreadableVideo: If a file cannot be read.
    """
    step = min(max(1, round(rate_of(video, float(RATE)) / RATE)), total - 1)
    every = range(0, total - step, step)
    starts = [every[index] for index in sample_indices(len(every), min(len(every), MOST_PAIRS))]
    indices = sorted({index for start in starts for index in (start, start + 1, start + step)})
    place = {index: place for place, index in enumerate(indices)}
    flow = DenseFlow(grey_frames(read_small(video, indices, LONG_SIDE)), fine=False)
    degrees = [_degree(flow, place[start], place[start + step]) for start in starts]
    flickers = [_flicker(flow, place[start], place[start + 1]) for start in starts]
    return {
        "flicker": fmean(flickers),
        "dynamic_degree": fmean(degrees),
        "dynamic": float(sum(degree > 1 for degree in degrees) >= max(round(LEAST_SHARE * len(degrees)), 1)),
    }


def _degree(flow: DenseFlow, first: int, second: int) -> float:
    """Return 0 where nothing can be followed: the flow is then of any length."""
    lengths = np.linalg.norm(flow.between(first, second), axis=-1)[flow.followed(first, second)]
    if not lengths.size:
        return 0.0
    most = max(int(MOVES_MOST * lengths.size), 1)
    return float(np.partition(lengths, -most)[-most:].mean() / (LEAST_FLOW * min(flow.grey[0].shape)))


def _flicker(flow: DenseFlow, first: int, second: int) -> float:
    """Return 0 where nothing can be followed: what the frames show has nothing to do with each other then."""
    followed = flow.followed(first, second)
    there = at(flow.grey[second].astype(np.float32), *moved(flow.between(first, second)))
    difference = np.abs(there - flow.grey[first])[followed]
    return float(difference.mean()) / 255 if difference.size else 0.0


def colours_of(frames: Float[Tensor, "judged 3 height width"]) -> dict[str, float]:
    """Return `sharpness`, `saturation`, `exposure`, and how far the last two drift from the first third of a clip to the last.

    - `sharpness`: by how much the brightness changes from a pixel to the next, on average, of the median frame.
    - `saturation`: mean difference between the largest and the smallest of red, green and blue: 0 for grey.
    - `exposure`: mean brightness (Rec. 709), 0 for black and 1 for white.
    """
    grey = torch.einsum("fchw,c->fhw", frames, torch.tensor(LUMA).to(frames))
    saturation = (frames.amax(1) - frames.amin(1)).mean((1, 2))
    exposure = grey.mean((1, 2))
    down, across = grey.diff(dim=1)[:, :, 1:], grey.diff(dim=2)[:, 1:]
    gradient = torch.hypot(down, across).mean((1, 2))
    return {
        "sharpness": float(gradient.median()),
        "saturation": float(saturation.mean()),
        "exposure": float(exposure.mean()),
        "saturation_drift": _drift(saturation),
        "exposure_drift": _drift(exposure),
    }


def _drift(values: Float[Tensor, " judged"]) -> float:
    third = max(len(values) // 3, 1)
    return float((values[-third:].mean() - values[:third].mean()).abs())
