"""How much the clips of one prompt differ from each other: alignment may narrow what a model makes."""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.scoring.lpips import LEAST, Lpips
from videogpa.video import probe, read_frames_at, sample_indices

FRAMES = 4  # of each clip, at equal times
LONG_SIDE = 256  # pixels


def diversity_of(clips: Sequence[Path], lpips: Lpips) -> tuple[float, float]:
    """Measure how much clips of one prompt differ.

    Args:
        clips: Two or more files.
        lpips: The perceptual distance.

    Returns:
        The mean LPIPS between frames of two clips at the same time, over all pairs of clips: 0 for equal clips. And the Vendi
        score (Friedman and Dieng 2022, https://arxiv.org/abs/2210.02410) with 1 - LPIPS as similarity: the number of clips that
        differ, from 1 to as many as there are.

    Raises:
        UnreadableVideo: If one of the files cannot be read.
        ValueError: If there are fewer than two.
    """
    if len(clips) < 2:
        raise ValueError("one clip cannot differ from others")
    frames = [_frames(clip, LEAST[lpips.net]) for clip in clips]
    size = frames[0].shape[2:]
    frames = [frame if frame.shape[2:] == size else interpolate(frame, size, mode="area") for frame in frames]
    similarity = torch.eye(len(clips), dtype=torch.float64)
    distances = []
    for first, second in combinations(range(len(clips)), 2):
        distances.append(float(lpips(frames[first], frames[second]).mean()))
        similarity[first, second] = similarity[second, first] = 1 - min(distances[-1], 1.0)
    return sum(distances) / len(distances), vendi_score(similarity)


def vendi_score(similarity: Float[Tensor, "items items"]) -> float:
    """Return the exponential of the entropy of the eigenvalues of a similarity matrix, divided by its size.

    Args:
        similarity: Symmetric, 1 on the diagonal. Eigenvalues below 0, where it is no kernel, count as 0.
    """
    values = torch.linalg.eigvalsh(similarity / len(similarity)).clamp(min=0)
    values = values / values.sum()
    return math.exp(-float(torch.special.xlogy(values, values).sum()))


def _frames(clip: Path, least: int) -> Float[Tensor, "frames 3 height width"]:
    """Read frames with a long side of 256 pixels; those of a miniature, too small for LPIPS, are enlarged."""
    frames = read_frames_at(clip, sample_indices(total := probe(clip).frames, min(total, FRAMES)), long_side=LONG_SIDE)
    short = min(frames.shape[2:])
    return frames if short >= least else interpolate(frames, scale_factor=math.ceil(least / short), mode="nearest")
