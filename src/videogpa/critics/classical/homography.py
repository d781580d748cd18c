"""Detection of missing parallax (pan, zoom, static camera, flat scene): how well homographies explain a clip."""

from collections.abc import Sequence

import cv2
import numpy as np
import pycolmap
from jaxtyping import Float32, Float64

from videogpa.critics.classical.features import Features, PairMatches

MAX_ERROR = 2.0
"""Largest error of an inlier, in pixels of frames with a short side of 432: half of the limit for a fundamental matrix."""

MIN_EXPLAINED = 0.94
"""Share of matches that homographies must explain. It shows missing parallax, not quality: a melting clip had .95."""

FLAT = 0.98
"""Share of the matches between frames at least half a clip apart from which on a clip counts as flat. Real clips have .33 to
.60, a zoom into a picture .99; synthetic rooms that are mostly one wall .975 and .99, so that it never decides alone."""

Homography = Float64[np.ndarray, "3 3"]


def fit_homographies(
    features: Sequence[Features], pairs: Sequence[PairMatches]
) -> tuple[dict[tuple[int, int], Homography], float]:
    """Return the second-from-first homography of each pair that has one, and the share of all matches that they explain."""
    options = pycolmap.RANSACOptions(max_error=MAX_ERROR, random_seed=0)
    found, explained, total = {}, 0, 0
    for pair in pairs:
        a = features[pair.first].keypoints[pair.matches[:, 0]].astype(np.float64)
        b = features[pair.second].keypoints[pair.matches[:, 1]].astype(np.float64)
        fit = pycolmap.estimate_homography_matrix(a, b, options)
        total += len(a)
        if fit is not None:
            found[pair.first, pair.second] = fit["H"]
            explained += int(fit["num_inliers"])
    return found, explained / total if total else 0.0


def explained_far_apart(features: Sequence[Features], pairs: Sequence[PairMatches], frames: int) -> float:
    """Return the share of matches that homographies explain between frames at least half a clip apart; 0 without such pairs."""
    return fit_homographies(features, [pair for pair in pairs if pair.second - pair.first >= frames // 2])[1]


def leave_one_out_error(
    frames: Float32[np.ndarray, "frames height width 3"],
    homographies: dict[tuple[int, int], Homography],
    judged: Sequence[int],
    scale: float,
) -> float | None:
    """Return the mean squared error, RGB in [0, 1], between each judged frame and its warped neighbours in time.

    The prediction is the mean of the warped neighbours that cover the pixel.

    Args:
        frames: All frames, RGB in [0, 1].
        homographies: Second-from-first homographies of consecutive judged frames, by the indices of the two.
        judged: Indices of the judged frames, ascending.
        scale: Size of `frames` divided by that of the frames the homographies were fitted on.

    Returns:
        The error; None if no frame has a neighbour.
    """
    errors, pixels = 0.0, 0
    for position, index in enumerate(judged):
        total = np.zeros((*frames[index].shape[:2], 4), np.float32)
        for other in [*judged[max(position - 1, 0) : position], *judged[position + 1 : position + 2]]:
            if (min(index, other), max(index, other)) in homographies:
                matrix = homographies[min(index, other), max(index, other)]
                total += _warp(frames[other], np.linalg.inv(matrix) if other > index else matrix, scale)
        covered = total[:, :, 3] > 0.999
        predicted = total[covered][:, :3] / total[covered][:, 3:]
        errors += float(((predicted - frames[index][covered]) ** 2).sum(dtype=np.float64)) / 3
        pixels += int(covered.sum())
    return errors / pixels if pixels else None


def _warp(
    frame: Float32[np.ndarray, "height width 3"], this_from_other: Homography, scale: float
) -> Float32[np.ndarray, "height width 4"]:
    """Return the frame mapped by the homography, with the covered share of each pixel as the fourth channel."""
    # Scaling keeps pixel edges, not centres: x' + .5 = scale (x + .5).
    resize = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    matrix = resize @ this_from_other @ np.linalg.inv(resize)
    layered = np.dstack([frame, np.ones(frame.shape[:2], np.float32)])
    warped: np.ndarray = cv2.warpPerspective(layered, matrix, (frame.shape[1], frame.shape[0]))
    return warped
