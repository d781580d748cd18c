"""SIFT keypoints, their matches between frames, and the matches that agree with one camera motion.

Lowe 2004, "Distinctive Image Features from Scale-Invariant Keypoints"; descriptors as RootSIFT, Arandjelovic & Zisserman 2012.
OpenCV's SIFT is used because it takes a sixth of the time of COLMAP's own (25 frames of 768x432 on two cores: 1.0 s, not 6 s or
more).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pycolmap
import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8, UInt32

from videogpa.maths.epipolar import sampson_errors
from videogpa.parallel import parallel_map

_KEYPOINTS = 1000
"""Number of strongest keypoints kept per frame. With 3000 the cameras of two clips were the same to 2 % in focal length and
took 3 times as long."""

_CONTRAST = 0.02
"""Half of OpenCV's default: video is smooth, and on weakly textured clips the default leaves a third of the keypoints."""

_RATIO, _ANGLE = 0.8, 0.7
"""Lowe's ratio of the best to the second best, and the largest angle (rad) between descriptors: COLMAP's defaults."""

_UNIT = 512.0
"""Length of a descriptor when stored as bytes: COLMAP's convention."""

_MOST_STEP = 5
"""Each frame is matched with the next 5, and with those 8, 16, ... later (COLMAP's sequential pairing, quadratic)."""

MIN_MATCHES = 15
"""A pair of frames with fewer matches is dropped: COLMAP's default."""


@dataclass(frozen=True, eq=False)
class Features:
    """Keypoints of a frame in pixels (integer = pixel centre), and their descriptors."""

    keypoints: Float[np.ndarray, "points 2"]
    descriptors: UInt8[np.ndarray, "points 128"]


@dataclass(frozen=True, eq=False)
class PairMatches:
    """Matches between frames `first` and `second` (rows of keypoint indices), and COLMAP's two-view geometry of them."""

    first: int
    second: int
    matches: UInt32[np.ndarray, "matches 2"]
    geometry: Any

    @property
    def inliers(self) -> UInt32[np.ndarray, "inliers 2"]:
        """The matches that fit one fundamental matrix or homography within 4 px, COLMAP's default."""
        found: np.ndarray = np.asarray(self.geometry.inlier_matches, np.uint32).reshape(-1, 2)
        return found


def detect(gray: UInt8[np.ndarray, "height width"]) -> Features:
    """Return the strongest SIFT features of a grey frame (0 to 255); a blank frame has none."""
    sift = cv2.SIFT.create(_KEYPOINTS, contrastThreshold=_CONTRAST)
    keypoints, descriptors = sift.detectAndCompute(gray, None)
    if not keypoints:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), np.uint8))
    positions = np.array([keypoint.pt for keypoint in keypoints], np.float64)
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))
    # The order of equally strong keypoints is fixed here, since the matches are numbered by it.
    order = np.lexsort((descriptors[:, 0], positions[:, 0], positions[:, 1]))
    return Features(positions[order], np.clip(np.round(_UNIT * root), 0, 255).astype(np.uint8)[order])


def outside(features: Features, mask: Bool[np.ndarray, "mask_height mask_width"], height: int, width: int) -> Features:
    """Return the features that do not lie in a mask, which may have another size than the frame's height and width."""
    scale = np.array([mask.shape[1] / width, mask.shape[0] / height])
    places = ((features.keypoints + 0.5) * scale).astype(int).clip(0, [mask.shape[1] - 1, mask.shape[0] - 1])
    kept = ~mask[places[:, 1], places[:, 0]]
    return Features(features.keypoints[kept], features.descriptors[kept])


def frame_pairs(frames: int) -> list[tuple[int, int]]:
    """Return the pairs of frames to match: each with the next five, and with those 8, 16, 32, ... later."""
    steps = [*range(1, _MOST_STEP + 1), *(2**power for power in range(3, frames.bit_length()))]
    return [(first, first + step) for first in range(frames) for step in steps if first + step < frames]


def match(first: Features, second: Features) -> UInt32[np.ndarray, "matches 2"]:
    """Return pairs of keypoint indices that are mutual best matches and pass the ratio test in both directions.

    The result is exact for any number of threads: bytes are multiplied as float32, and whole sums below 2**24 are not rounded.
    """
    if min(len(first.descriptors), len(second.descriptors)) < 2:
        return np.zeros((0, 2), np.uint32)
    products = _products(first.descriptors, second.descriptors)
    forth = products.argmax(axis=1)
    best = products[np.arange(len(forth)), forth]
    mine = np.flatnonzero(best == products.max(axis=0)[forth])  # few: what follows copies their rows and columns alone
    theirs, best = forth[mine], best[mine]
    rows, columns = products[mine], products.T[theirs]
    mutual = columns.argmax(axis=1) == mine  # of equally good ones the first
    number = np.arange(len(mine))
    rows[number, theirs] = columns[number, mine] = -1
    angle, *runners_up = (_angles(product) for product in (best, rows.max(axis=1), columns.max(axis=1)))
    distinct = np.all([angle < _RATIO * runner_up for runner_up in runners_up], axis=0)
    good = mutual & distinct & (angle < _ANGLE)
    return np.stack([mine[good], theirs[good]], axis=1).astype(np.uint32)


def _products(
    mine: UInt8[np.ndarray, "mine 128"], theirs: UInt8[np.ndarray, "theirs 128"]
) -> Float32[np.ndarray, "mine theirs"]:
    """Return the scalar products of the descriptors."""
    # OpenCV's product runs in the calling thread; numpy's BLAS would start several threads in each.
    products: np.ndarray = cv2.gemm(mine.astype(np.float32), theirs.astype(np.float32), 1.0, None, 0.0, flags=cv2.GEMM_2_T)
    return products


def _angles(products: Float32[np.ndarray, " pairs"]) -> Float32[np.ndarray, " pairs"]:
    """Return the angles between descriptors, given their scalar products."""
    angles: np.ndarray = np.arccos(np.minimum(products / _UNIT**2, 1))
    return angles


def match_all(features: Sequence[Features], pairs: Sequence[tuple[int, int]], camera: Any) -> list[PairMatches]:
    """Match the `pairs` of frames, and return those that COLMAP's two-view geometry verifies, in their order.

    `camera` is a guess of the frames' pycolmap camera; only its size matters, as its focal length is not marked as known.
    """
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = 0

    def one(pair: tuple[int, int]) -> PairMatches | None:
        a, b = features[pair[0]], features[pair[1]]
        matches = match(a, b)
        if len(matches) < MIN_MATCHES:
            return None
        points = colmap_keypoints(a), colmap_keypoints(b)
        geometry = pycolmap.estimate_two_view_geometry(camera, points[0], camera, points[1], matches, options)
        return PairMatches(*pair, matches, geometry)

    return [pair for pair in parallel_map(one, pairs) if pair and len(pair.inliers) >= MIN_MATCHES]


def later_parts(pairs: Sequence[PairMatches], frames: int) -> list[int]:
    """Return the first frames of all parts of a clip but the first: no verified match joins a part to another one.

    The list is empty for a clip of one part, and where a part is a single frame: then frames do not match at all, as in noise.
    """
    joined = {frame for pair in pairs for frame in range(pair.first + 1, pair.second + 1)}
    firsts = [frame for frame in range(1, frames) if frame not in joined]
    lone = any(after - before < 2 for before, after in pairwise([0, *firsts, frames]))
    return [] if lone else firsts


def colmap_keypoints(features: Features) -> Float64[np.ndarray, "points 2"]:
    """Return the keypoints in COLMAP's convention, where the centre of the first pixel is at (0.5, 0.5)."""
    return features.keypoints.astype(np.float64) + 0.5


def epipolar_error(features: Sequence[Features], pairs: Sequence[PairMatches]) -> float | None:
    """Return the median Sampson distance, in pixels, of the verified matches of `pairs` to each pair's own fundamental matrix.

    The matrix is refitted to the verified matches by COLMAP's LO-RANSAC (7 and 8 points), also where the two-view
    geometry is a homography. The result is the median over pairs of the pairs' medians; None without pairs.
    """
    options = pycolmap.RANSACOptions(max_error=4.0, random_seed=0)
    medians = []
    for pair in pairs:
        a = colmap_keypoints(features[pair.first])[pair.inliers[:, 0]]
        b = colmap_keypoints(features[pair.second])[pair.inliers[:, 1]]
        found = pycolmap.estimate_fundamental_matrix(a, b, options)
        if found is not None:
            squared = sampson_errors(*(torch.from_numpy(array) for array in (found["F"], a, b)))
            medians.append(float(squared.sqrt().nanmedian()))
    return float(np.median(medians)) if medians else None
