"""Depth of a frame from its neighbours: plane sweep, then semi-global smoothing.

Collins 1996, "A Space-Sweep Approach to True Multi-Image Matching"; Hirschmueller 2008, "Stereo Processing by Semiglobal
Matching and Mutual Information". The neighbours are warped by OpenCV, since its `warpPerspective` and box filters take an
eighth of the time of torch's `grid_sample` on a CPU.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, UInt8

PLANES = 80
"""Number of depth hypotheses. They are even in inverse depth, so that each moves a pixel by the same step; the depth is
refined between planes afterwards."""

_WINDOW = 5
"""Side of the patches compared, in pixels of 256-wide frames."""

_OUTSIDE = 1e4
"""Value outside of a frame: a share of 1/5000 of it in an interpolated pixel is enough to detect it."""

_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))

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
    moments = _moments(centred[None], [*np.empty((3, 1, *centred.shape), np.float32)])
    others = [neighbour - 0.5 for neighbour in neighbours]
    # Threads wait for Python's lock after every step, so that steps are few and large: all neighbours at once, in place.
    warped, *space = np.empty((5, len(others), *centred.shape), np.float32)
    outside = np.empty(warped.shape, np.uint8)
    unseen = np.full_like(warped, _UNSEEN)
    cost = np.empty((reference.shape[0], len(planes), reference.shape[1]), np.int16)
    inverse = np.linalg.inv(intrinsics)
    for index, plane in enumerate(planes):
        homographies = []
        for pose in neighbour_from_reference:
            motion = pose[:3, :3].copy()
            motion[:, 2] += pose[:3, 3] * plane  # a point at depth z on the ray r moves to R r + t / z
            homographies.append(intrinsics @ motion @ inverse)
        _warp(others, homographies, warped, outside)
        scores = _correlation(centred, moments, warped, space)
        cv2.copyTo(_flat(unseen), _flat(outside), _flat(scores))
        cost[:, index] = np.rint(COST_UNIT * (1 - _mean_of_better_half(scores)))
    return cost


def _mean_of_better_half(scores: Float32[np.ndarray, "neighbours height width"]) -> Float32[np.ndarray, "height width"]:
    """Return the mean of the highest 3 of 5, 2 of 4, 2 of 3, 1 of 2 scores of each pixel."""
    # Subtracting the lowest two from the sum is ten times as fast as sorting.
    dropped = len(scores) // 2
    lowest = [np.full_like(scores[0], np.inf)] * 2
    for score in scores:
        lowest = [np.minimum(lowest[0], score), np.minimum(lowest[1], np.maximum(lowest[0], score))]
    mean: np.ndarray = scores.sum(axis=0)
    mean -= sum(lowest[:dropped])
    mean /= np.float32(len(scores) - dropped)
    return mean


def _warp(
    images: Sequence[Float32[np.ndarray, "height width"]],
    homographies: Sequence[Float64[np.ndarray, "3 3"]],
    warped: Float32[np.ndarray, "images height width"],
    outside: UInt8[np.ndarray, "images height width"],
) -> None:
    """Warp images, whose values are below 1, by homographies from the result's pixels to their own.

    `warped` is filled with the results, 0 outside of an image, and `outside` with where a patch is not wholly inside it.
    """
    size = (warped.shape[2], warped.shape[1])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for image, homography, result in zip(images, homographies, warped, strict=True):
        # A value that no pixel has marks the outside: a second channel as a mask would take longer than the first.
        cv2.warpPerspective(image, homography, size, dst=result, flags=flags, borderValue=_OUTSIDE)
    for beyond, result in zip(warped >= 1, outside, strict=True):
        cv2.dilate(beyond.view(np.uint8), np.ones((_WINDOW, _WINDOW), np.uint8), dst=result)
    # Masks of OpenCV: numpy's `where` takes ten times as long.
    cv2.threshold(_flat(warped), _BELOW_ONE, 0, cv2.THRESH_TOZERO_INV, dst=_flat(warped))


def _flat(images: np.ndarray) -> np.ndarray:
    """Return a view of the images as one picture, one below the other."""
    return images.reshape(-1, images.shape[-1])


def _box(
    images: Float32[np.ndarray, "images height width"], means: Float32[np.ndarray, "images height width"]
) -> Float32[np.ndarray, "images height width"]:
    """Fill `means` with the mean of the patch around each pixel, and return it."""
    for image, mean in zip(images, means, strict=True):
        cv2.boxFilter(image, cv2.CV_32F, (_WINDOW, _WINDOW), dst=mean, borderType=cv2.BORDER_REFLECT_101)
    return means


def _moments(
    images: Float32[np.ndarray, "images height width"], space: Sequence[Float32[np.ndarray, "images height width"]]
) -> tuple[Float32[np.ndarray, "images height width"], Float32[np.ndarray, "images height width"]]:
    """Return the mean and the (noise-floored) standard deviation of the patch around each pixel; three of `space` are used."""
    mean, variance, product = space[0], space[1], space[2]
    _box(images, mean)
    _box(np.multiply(images, images, out=product), variance)
    variance -= np.multiply(mean, mean, out=product)
    np.maximum(variance, 0, out=variance)
    variance += np.float32(_NOISE)
    return mean, np.sqrt(variance, out=variance)


def _correlation(
    reference: Float32[np.ndarray, "height width"],
    moments: tuple[Float32[np.ndarray, "1 height width"], Float32[np.ndarray, "1 height width"]],
    others: Float32[np.ndarray, "images height width"],
    space: Sequence[Float32[np.ndarray, "images height width"]],
) -> Float32[np.ndarray, "images height width"]:
    """Return the correlation of the patches around each pixel, given the moments of the reference's; `space` is used for it."""
    mean, deviation = _moments(others, space)
    product, correlation = space[2], space[3]
    _box(np.multiply(reference, others, out=product), correlation)
    correlation -= np.multiply(moments[0], mean, out=mean)
    correlation /= np.multiply(moments[1], deviation, out=deviation)
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
    _add_paths(cost, guide, total, slants=(0, 1, -1))
    sideways, sums = np.ascontiguousarray(cost.transpose(2, 1, 0)), np.zeros(cost.shape[::-1], np.int16)
    _add_paths(sideways, guide.T, sums, slants=(0,))
    total += sums.transpose(2, 1, 0)
    return total


def _add_paths(
    cost: Int16[np.ndarray, "lines planes pixels"],
    image: Float32[np.ndarray, "lines pixels"],
    total: Int16[np.ndarray, "lines planes pixels"],
    *,
    slants: Sequence[int],
) -> None:
    """Add the costs of the best paths that come down and up the lines, moving by a slant of pixels per line, to `total`.

    All paths take a step at once: threads wait for Python's lock after every step, so that steps are few and large.
    """
    lines, planes, pixels = cost.shape
    ways = [(flip, slant) for flip in (1, -1) for slant in slants]
    jump = np.stack([_jumps(image[::flip], slant) for flip, slant in ways], axis=1)
    step = np.int16(COST_UNIT * _SMALL_STEP)
    # A path is written to where the next line's pixels look for it. Those that no path reaches find 0 at every plane.
    paths = np.zeros((planes, len(ways), pixels + 2), np.int16)
    before = paths[:, :, 1:-1]
    moved = [paths[:, way, 1 + slant : 1 + slant + pixels] for way, (_, slant) in enumerate(ways)]
    reached, stepped = np.zeros_like(before), np.empty_like(before)
    for line in range(lines):
        if line > 0:
            np.subtract(before, before.min(axis=0), out=reached)  # or the sum would grow with the length of the path
            np.add(reached, step, out=stepped)
            np.minimum(reached, jump[line - 1], out=reached)
            np.minimum(reached[1:], stepped[:-1], out=reached[1:])
            np.minimum(reached[:-1], stepped[1:], out=reached[:-1])
        for way, (flip, _) in enumerate(ways):
            at = line if flip > 0 else lines - 1 - line
            np.add(reached[:, way], cost[at], out=moved[way])
            total[at] += moved[way]


def _jumps(image: Float32[np.ndarray, "lines pixels"], slant: int) -> Int16[np.ndarray, "lines-1 pixels"]:
    """Return the penalty for a jump of depth on the way to each pixel from the line before; 0 where there is no such pixel."""
    pixels = image.shape[1]
    here = slice(max(slant, 0), pixels + min(slant, 0))
    there = slice(max(-slant, 0), pixels + min(-slant, 0))
    edge = np.abs(image[1:, here] - image[:-1, there])
    jumps = np.zeros((len(image) - 1, pixels), np.int16)
    jumps[:, here] = COST_UNIT * np.maximum(_JUMP / (1 + edge / _EDGE), _LEAST_JUMP)
    return jumps


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
