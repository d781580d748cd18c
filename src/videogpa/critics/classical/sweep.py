"""Depth of a frame from its neighbours: plane sweep, then semi-global smoothing.

Collins 1996, "A Space-Sweep Approach to True Multi-Image Matching"; Hirschmueller 2008, "Stereo Processing by Semiglobal
Matching and Mutual Information". The neighbours are warped by OpenCV, since its `warpPerspective` and box filters take an
eighth of the time of torch's `grid_sample` on a CPU.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16

PLANES = 80
"""Number of depth hypotheses. They are even in inverse depth, so that each moves a pixel by the same step; the depth is
refined between planes afterwards."""

_WINDOW = 5
"""Side of the patches compared, in pixels of 256-wide frames."""

_OUTSIDE = 1e4
"""Value outside of a frame: a share of 1/5000 of it in an interpolated pixel is enough to detect it."""

_UNSEEN = 0.2
"""Correlation assumed where the pixel is out of a neighbour's view; chosen on the same clips as `_JUMP`. With 0, the borders
of frames took a random plane among those in view."""

_NOISE = (2 / 255) ** 2
"""Variance of a patch, of intensities in [0, 1], that counts as texture. A blank patch then matches nothing in particular."""

COST_UNIT = 512
"""Costs are integer multiples of 1/512: int16 is twice as fast as float32. Sums over 8 directions stay below 2^15."""

_SMALL_STEP, _JUMP, _LEAST_JUMP = 0.1, 2.5, 0.5
"""Penalty for a change of depth by one plane, and by more, in units of 1 - correlation; the latter falls to the least at edges.
Chosen on four clean real clips: with a jump of 0.6, video noise made patchwork of weak texture, and leave-one-out scores were
1.3 to 1.5 times as high."""

_EDGE = 0.08
"""Step of intensity between neighbouring pixels at which a jump of depth costs half."""


def inverse_depths(nearest: float, farthest: float) -> Float32[np.ndarray, " planes"]:
    """Return the planes' inverse depths, from the farthest to the nearest."""
    return np.linspace(1 / farthest, 1 / nearest, PLANES).astype(np.float32)


def matching_cost(
    reference: Float32[np.ndarray, "height width"],
    neighbours: Sequence[Float32[np.ndarray, "height width"]],
    intrinsics: Float64[np.ndarray, "3 3"],
    neighbour_from_reference: Sequence[Float64[np.ndarray, "4 4"]],
    planes: Float32[np.ndarray, " planes"],
) -> Int16[np.ndarray, "height planes width"]:
    """Return 1 - correlation, in units of COST_UNIT, of the patches around each pixel if it lies on each of the planes.

    The correlation is zero-mean and normalised, and so invariant to the gain and offset of a frame's exposure. The result is
    the mean over the better half of the neighbours, as a surface may be hidden in some.

    Args:
        reference: Grey levels of the frame, in [0, 1].
        neighbours: Grey levels of the frames to match it against, of the same size.
        intrinsics: Camera matrix, in pixels, of all of them.
        neighbour_from_reference: Pose of each neighbour relative to the reference.
        planes: Inverse depths to try.
    """
    centred = reference - 0.5  # keeps the rounding errors of float32 small; the correlation does not change
    mean, deviation = _moments(centred)
    cost = np.empty((reference.shape[0], len(planes), reference.shape[1]), np.int16)
    inverse = np.linalg.inv(intrinsics)
    for index, plane in enumerate(planes):
        scores = []
        for neighbour, pose in zip(neighbours, neighbour_from_reference, strict=True):
            motion = pose[:3, :3].copy()
            motion[:, 2] += pose[:3, 3] * plane  # a point at depth z on the ray r moves to R r + t / z
            warped, inside = _warp(neighbour - 0.5, intrinsics @ motion @ inverse)
            scores.append(np.where(inside, _correlation(centred, mean, deviation, warped), np.float32(_UNSEEN)))
        cost[:, index] = np.rint(COST_UNIT * (1 - _mean_of_better_half(scores)))
    return cost


def _mean_of_better_half(scores: Sequence[Float32[np.ndarray, "height width"]]) -> Float32[np.ndarray, "height width"]:
    """Return the mean of the highest 3 of 5, 2 of 4, 2 of 3, 1 of 2 scores of each pixel."""
    # Subtracting the lowest two from the sum is ten times as fast as sorting.
    dropped = len(scores) // 2
    lowest = [np.full_like(scores[0], np.inf)] * 2
    for score in scores:
        lowest = [np.minimum(lowest[0], score), np.minimum(lowest[1], np.maximum(lowest[0], score))]
    total = np.sum(scores, axis=0) - sum(lowest[:dropped])
    mean: np.ndarray = total / np.float32(len(scores) - dropped)
    return mean


def _warp(
    image: Float32[np.ndarray, "height width"], homography: Float64[np.ndarray, "3 3"]
) -> tuple[Float32[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Return the image warped by the homography from the result's pixels to its own, and where whole patches lie inside it."""
    size = (image.shape[1], image.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # A value that no pixel has marks the outside: a second channel as a mask would take longer than the first.
    warped = cv2.warpPerspective(image, homography, size, flags=flags, borderValue=_OUTSIDE)
    inside = warped < 1
    patches = cv2.erode(inside.view(np.uint8), np.ones((_WINDOW, _WINDOW), np.uint8))
    return np.where(inside, warped, np.float32(0)), patches > 0


def _box(image: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    mean: np.ndarray = cv2.boxFilter(image, cv2.CV_32F, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT_101)
    return mean


def _moments(
    image: Float32[np.ndarray, "height width"],
) -> tuple[Float32[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Return the mean and the (noise-floored) standard deviation of the patch around each pixel."""
    mean = _box(image)
    return mean, np.sqrt(np.maximum(_box(image * image) - mean * mean, 0) + np.float32(_NOISE))


def _correlation(
    reference: Float32[np.ndarray, "height width"],
    mean: Float32[np.ndarray, "height width"],
    deviation: Float32[np.ndarray, "height width"],
    other: Float32[np.ndarray, "height width"],
) -> Float32[np.ndarray, "height width"]:
    """Return the correlation of the patches around each pixel, given the moments of the reference's."""
    other_mean, other_deviation = _moments(other)
    covariance = _box(reference * other) - mean * other_mean
    correlation: np.ndarray = covariance / (deviation * other_deviation)
    return correlation


def smooth(
    cost: Int16[np.ndarray, "height planes width"], guide: Float32[np.ndarray, "height width"]
) -> Int16[np.ndarray, "height planes width"]:
    """Return the smoothed cost: the sum of the costs of the best paths to each pixel from 8 directions (semi-global matching).

    Args:
        cost: Matching cost, in units of COST_UNIT.
        guide: Grey levels of the frame, in [0, 1]; jumps of depth are cheaper across its edges.
    """
    total = np.zeros_like(cost)
    for flip in (1, -1):
        for slant in (0, 1, -1):
            _add_paths(cost[::flip], guide[::flip], total[::flip], slant)
    sideways, sums = np.ascontiguousarray(cost.transpose(2, 1, 0)), np.zeros(cost.shape[::-1], np.int16)
    for flip in (1, -1):
        _add_paths(sideways[::flip], guide.T[::flip], sums[::flip], 0)
    total += sums.transpose(2, 1, 0)
    return total


def _add_paths(
    cost: Int16[np.ndarray, "lines planes pixels"],
    image: Float32[np.ndarray, "lines pixels"],
    total: Int16[np.ndarray, "lines planes pixels"],
    slant: int,
) -> None:
    """Add the cost of the best path that comes down the lines, moving by `slant` pixels per line, to `total`."""
    pixels = cost.shape[2]
    here = slice(max(slant, 0), pixels + min(slant, 0))
    there = slice(max(-slant, 0), pixels + min(-slant, 0))
    edge = np.abs(image[1:, here] - image[:-1, there])
    jump = (COST_UNIT * np.maximum(_JUMP / (1 + edge / _EDGE), _LEAST_JUMP)).astype(np.int16)
    step = np.int16(COST_UNIT * _SMALL_STEP)
    path = cost[0]
    total[0] += path
    for line in range(1, len(cost)):
        before = path[:, there]
        cheapest = before.min(axis=0)
        reached = np.minimum(before, cheapest + jump[line - 1])
        stepped = before + step
        np.minimum(reached[1:], stepped[:-1], out=reached[1:])
        np.minimum(reached[:-1], stepped[1:], out=reached[:-1])
        path = cost[line].copy()
        path[:, here] += reached - cheapest  # minus the cheapest, or the sum would grow with the length of the path
        total[line] += path


def pick_depth(
    cost: Int16[np.ndarray, "height planes width"], planes: Float32[np.ndarray, " planes"]
) -> tuple[Float32[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Return the inverse depth of the cheapest plane, refined by a parabola, and where it is an inner plane.

    The first and the last plane have only one neighbouring plane: the true depth may lie beyond them.
    """
    best = cost.argmin(axis=1)
    inner = (best > 0) & (best < len(planes) - 1)
    middle = np.clip(best, 1, len(planes) - 2)[:, None]
    below, at, above = (np.take_along_axis(cost, middle + step, axis=1)[:, 0].astype(np.float32) for step in (-1, 0, 1))
    bend = below - 2 * at + above
    shift = np.where(inner & (bend > 0), 0.5 * (below - above) / np.where(bend > 0, bend, 1), 0)
    return planes[best] + shift.astype(np.float32) * (planes[1] - planes[0]), inner
