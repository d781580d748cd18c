"""Windows over a clip, and the chain that brings each window's reconstruction into the world of the first.

Two consecutive windows share frames, and both have a 3D point for each pixel of those. A robust similarity between
the two sets of points takes one window's world into the other's. This is the method of VGGT-Long (Deng et al. 2025,
https://arxiv.org/abs/2507.16443) without its loop closure.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.critics.base import ReconstructionFailed, transform
from videogpa.maths.alignment import Similarity, robust_similarity
from videogpa.maths.cameras import unproject
from videogpa.reconstruction import Reconstruction
from videogpa.scoring.point_cloud import LEAST_CONFIDENCE

MOST_POINTS = 20_000  # of an overlap: more do not make the similarity better, only slower
LEAST_POINTS = 100  # shared by two windows, for a similarity that is not chance
WORST_JOIN = 0.1  # median residual in units of depth; the two windows then do not show one scene


class NotJoined(ReconstructionFailed):
    """Two windows do not show one scene."""


def plan_windows(frames: int, size: int, overlap: int) -> list[range]:
    """Return windows of `size` frames that share `overlap` with the next; the last one reaches back to be as long.

    Raises:
        ValueError: If the overlap is not shorter than the window.
    """
    if not 0 < overlap < size:
        raise ValueError(f"windows of {size} frames cannot overlap by {overlap}")
    starts = range(0, max(frames - size, 0), size - overlap)
    return [range(start, start + size) for start in starts] + [range(max(frames - size, 0), frames)]


class Chain:
    """Aligns the windows of a clip, given in order, with the world of the first."""

    def __init__(self) -> None:
        self.errors: list[float] = []
        """For every join: the median distance between the points of the two windows, in units of their depth."""
        self._last: tuple[range, Reconstruction] | None = None

    def add(self, window: range, reconstruction: Reconstruction) -> Reconstruction:
        """Return the reconstruction of the frames `window`, moved into the first window's world.

        Raises:
            NotJoined: If it does not fit the window before. The chain is as it was.
        """
        if self._last is not None:
            similarity, error = _join(*self._last, window, reconstruction)
            self.errors.append(error)
            reconstruction = transform(reconstruction, similarity)
        self._last = (window, reconstruction)
        return reconstruction


def _join(before: range, target: Reconstruction, window: range, source: Reconstruction) -> tuple[Similarity, float]:
    shared = [frame for frame in window if frame in before]
    there, here = ([frame - frames.start for frame in shared] for frames in (before, window))
    weight = _trust(target.confidence[there]) * _trust(source.confidence[here])
    weight = weight * (target.depth[there] > 0) * (source.depth[here] > 0)
    usable = weight.flatten().nonzero()[:, 0]
    name = f"frames {window.start} to {window.stop - 1}"
    if len(usable) < LEAST_POINTS:
        raise NotJoined(f"{name} share {len(usable)} points with those before, too few to join them")
    chosen = usable[torch.linspace(0, len(usable) - 1, min(MOST_POINTS, len(usable))).round().long()]
    try:
        similarity, residual = robust_similarity(
            _points(source)[here].reshape(-1, 3)[chosen],
            _points(target)[there].reshape(-1, 3)[chosen],
            weight.flatten()[chosen],
            target.depth[there].flatten()[chosen],
        )
    except ValueError as undetermined:
        raise NotJoined(f"{name} cannot be joined with those before: {undetermined}") from None
    error = float(residual.median())
    if not error <= WORST_JOIN:
        raise NotJoined(f"{name} show another scene than those before: points differ by {error:.0%} of their depth")
    return similarity, error


def _points(reconstruction: Reconstruction) -> Float[Tensor, "frames height width 3"]:
    if reconstruction.points is not None:
        return reconstruction.points
    return unproject(reconstruction.depth, reconstruction.intrinsics, reconstruction.camera_from_world)


def _trust(confidence: Float[Tensor, "frames height width"]) -> Float[Tensor, "frames height width"]:
    """Confidence as a share of its upper quartile, at most 1: a few pixels that a critic is very sure of must not decide."""
    usable = torch.where(confidence.isfinite() & (confidence > LEAST_CONFIDENCE), confidence, 0.0)
    positive = usable[usable > 0]
    if not len(positive):
        return usable
    return (usable / positive.kthvalue(max(1, round(0.75 * len(positive)))).values).clamp(max=1)
