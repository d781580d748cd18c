"""Which pixels move by themselves, found before there are cameras, so that the critic can leave them out.

Between two frames everything that stands still obeys one fundamental matrix: a pixel moves along its epipolar line. The matrix
is fitted to the dense flow, evenly over the frame, since features lie densest on what is most textured, which is often the
subject. What moves along its own epipolar line is not seen here; `moving` sees it, by its depth.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64

from videogpa.maths.epipolar import sampson_errors
from videogpa.scoring.dense_flow import DenseFlow, Flow, Map, at, gradient, mean_around, moved

# These and the thresholds of `moving` and `regions` were chosen on the clips of docs/science/regions.md.
SPAN = 2  # judged frames before and after, with which a frame is compared
GRID = 4  # pixels between those that the matrix is fitted to
LEAST_FITTED = 100
RANSAC_PIXELS = 0.7
LEAST_SCALE = 0.25  # pixels: a flow field is not more exact
CUT = 8.0  # scales; what is farther off counts as far off as this
SMOOTH = 9  # pixels across which evidence is gathered
WEAKEST = 0.002  # gradient that counts as no evidence: noise of 8 bits
SUSPECT = 2.5  # scales from which a pixel is said to move by itself
MARGIN = 5  # pixels by which the mask reaches beyond: a feature is as large


def moving_by_itself(off_lines: Sequence[Map]) -> list[Bool[np.ndarray, "height width"]]:
    """Return for each judged frame which of its pixels move by themselves, given how far they are off their epipolar lines."""
    kernel = np.ones((MARGIN, MARGIN), np.uint8)
    return [cv2.dilate((off > SUSPECT).astype(np.uint8), kernel) > 0 for off in off_lines]


def at_frames(
    masks: Sequence[Bool[np.ndarray, "height width"]], flow: DenseFlow, judged: Sequence[int], wanted: Sequence[int]
) -> list[Bool[np.ndarray, "height width"]]:
    """Return the masks of other frames: that of the judged frame nearest in time, carried along the flow."""

    def carried(frame: int) -> Bool[np.ndarray, "height width"]:
        place = min(range(len(judged)), key=lambda place: abs(judged[place] - frame))
        if judged[place] == frame:
            return masks[place]
        found: Bool[np.ndarray, "height width"] = (
            at(masks[place].astype(np.float32), *moved(flow.between(frame, judged[place]))) > 0.5
        )
        return found

    return [carried(frame) for frame in wanted]


def off_their_lines(flow: DenseFlow, judged: Sequence[int]) -> list[Map]:
    """Return for each judged frame by how many scales its pixels are off their epipolar lines.

    Args:
        flow: The flow between all frames at hand.
        judged: Which of them are judged, ascending.
    """
    return [_off_their_lines(flow, judged, place) for place in range(len(judged))]


def _off_their_lines(flow: DenseFlow, judged: Sequence[int], place: int) -> Map:
    """Return by how many scales the pixels of a judged frame are off their epipolar lines, the median over its neighbours."""
    frame = judged[place]
    strength = gradient(flow.grey[frame])
    distances = []
    for other in judged[max(place - SPAN, 0) : place + SPAN + 1]:
        if other != frame:
            distance = _distance(flow.between(frame, other), flow.followed(frame, other), mean_around(strength, 5))
            if distance is not None:
                distances.append(distance)
    if not distances:
        return np.zeros_like(strength)
    together = np.sort(np.stack(distances), axis=0)  # nan comes last
    known = np.isfinite(together).sum(0)
    middle = np.stack([(known - 1).clip(0) // 2, known // 2])
    median = np.nan_to_num(np.take_along_axis(together, middle, axis=0).mean(0))  # 0 where nothing is known
    gathered: Map = mean_around(strength * median, SMOOTH) / (mean_around(strength, SMOOTH) + WEAKEST)
    return gathered


def _distance(field: Flow, followed: Bool[np.ndarray, "height width"], strength: Map) -> Map | None:
    """Return the Sampson distances to the epipolar lines of most of the frame, in robust scales; nan where nothing is known."""
    chosen = np.zeros_like(followed)
    chosen[GRID // 2 :: GRID, GRID // 2 :: GRID] = True
    chosen &= followed & (strength > 0.7 * np.median(strength))
    if chosen.sum() < LEAST_FITTED:
        return None
    column, line = moved(field)
    v, u = np.nonzero(chosen)
    there = np.stack([column[chosen], line[chosen]], axis=-1)
    matrix = _fundamental(np.stack([u, v], axis=-1).astype(np.float32), there)
    if matrix is None:
        return None
    height, width = column.shape
    here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    pixels = (
        torch.from_numpy(places.reshape(-1, 2).astype(np.float64)) for places in (here, np.stack([column, line], axis=-1))
    )
    distances = sampson_errors(torch.from_numpy(matrix), *pixels).sqrt().view(height, width).numpy()
    scale = max(LEAST_SCALE, 1.48 * float(np.median(distances[chosen])))
    return np.where(followed, np.minimum(distances / scale, CUT), np.nan).astype(np.float32)


def _fundamental(here: np.ndarray, there: np.ndarray) -> Float64[np.ndarray, "3 3"] | None:
    try:
        matrix, _ = cv2.findFundamentalMat(here, there, cv2.USAC_MAGSAC, RANSAC_PIXELS, 0.999, 2000)
    except cv2.error:  # OpenCV's own assertion, where every sample is degenerate: frames without motion
        return None
    return None if matrix is None else np.asarray(matrix[:3], np.float64)
