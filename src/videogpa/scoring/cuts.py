"""Where a clip is cut to another shot, found from its frames alone, for critics that match no features.

A cut is a step between two frames over which nothing can be followed by optical flow, there and back, while histograms and
structure change, and all three stand out from the steps before and after. So fast camera motion (its other steps are as large),
flashes and broken frames (after them the picture is what it was), noise and frames of different scenes (every step is as large)
are no cuts, nor are fades and dissolves (no single step changes much).

The first look, at histograms and structure, takes every frame of the clip at small size, some at a time; optical flow is
computed around the few steps that pass it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from videogpa.scoring.dense_flow import WIDTH as LONG_SIDE
from videogpa.scoring.dense_flow import DenseFlow, grey_frames
from videogpa.scoring.frames import Video, read_small

AROUND = 3  # steps before and after that a cut is compared with; so a shot has at least four frames
AT_A_TIME = 128  # frames that are read together
BINS = 16  # of the histogram of each colour
CELLS = 32  # the structure of a frame is its brightness on a grid of so many squares by so many

# Set before any clip was looked at, and left as they were; docs/science/critics.md says what they find.
LEAST_HISTOGRAM = 0.1  # share of the pixels that change their bin over a cut
LEAST_STRUCTURE = 0.25  # one less the correlation of the brightness on the grid
STANDS_OUT = 2.0  # times the largest change around, of both
MOST_FOLLOWED = 0.25  # share of the pixels that can be followed over a cut,
MOST_OF_OTHERS = 0.5  # and as a share of that over the steps around


def find_cuts(video: Video, total: int) -> tuple[int, ...]:
    """Return the index of every frame with which a new shot begins, ascending; the first frame of the clip is not among them.

    Cuts closer to each other, or to an end of the clip, than four frames are not found.

    Args:
        video: A file, a part of one, or a tensor of RGB in [0, 1].
        total: How many frames it has.

    Raises:
        UnreadableVideo: If one of its frames cannot be read.
    """
    if total < 2 * (AROUND + 1):
        return ()
    looks = [
        look for start in range(0, total, AT_A_TIME) for look in _looks(video, range(start, min(start + AT_A_TIME, total)))
    ]
    histograms, structures = (np.array(each) for each in zip(*(_change(*pair) for pair in pairwise(looks)), strict=True))
    firsts = [
        step + 1
        for step in range(AROUND, total - 1 - AROUND)
        if _stands_out(histograms, step, LEAST_HISTOGRAM) and _stands_out(structures, step, LEAST_STRUCTURE)
    ]
    return tuple(first for first in firsts if _nothing_followed(video, first))


def shots_of(cuts: Sequence[int], total: int) -> list[range]:
    """Return the frames of every shot of a clip with these cuts."""
    return [range(first, stop) for first, stop in pairwise((0, *cuts, total))]


@dataclass(frozen=True, eq=False)
class _Look:
    histogram: Float[np.ndarray, "3 bins"]
    """Shares of the pixels of each colour."""
    structure: Float32[np.ndarray, "cells cells"]
    """Brightness, 0 to 255, less its mean."""


def _looks(video: Video, indices: range) -> list[_Look]:
    frames = read_small(video, indices, LONG_SIDE)
    return [_look(frame, grey) for frame, grey in zip(frames, grey_frames(frames), strict=True)]


def _look(frame: Float[Tensor, "3 height width"], grey: UInt8[np.ndarray, "small_height small_width"]) -> _Look:
    histogram = np.stack([np.histogram(colour, BINS, (0, 1))[0] for colour in frame.numpy(force=True)])
    cells = cv2.resize(grey, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float32)
    return _Look(histogram / frame[0].numel(), cells - cells.mean())


def _change(before: _Look, after: _Look) -> tuple[float, float]:
    """Return the share of the pixels that change their bin, and one less the correlation of the structures: 0 for the same."""
    histogram = float(np.abs(after.histogram - before.histogram).sum()) / 6
    norm = float(np.linalg.norm(before.structure) * np.linalg.norm(after.structure))
    return histogram, 1 - float((before.structure * after.structure).sum()) / max(norm, 1.0)


def _stands_out(changes: Float[np.ndarray, " steps"], step: int, least: float) -> bool:
    others = _others(changes[step - AROUND : step + AROUND + 1])
    return bool(changes[step] > max(least, STANDS_OUT * others.max()))


def _others(around: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " others"]:
    return np.delete(around, AROUND)


def _nothing_followed(video: Video, first: int) -> bool:
    """Return whether next to nothing of a frame is found in the one before it, much less than over the steps around."""
    frames = read_small(video, range(first - AROUND - 1, first + AROUND + 1), LONG_SIDE)
    flow = DenseFlow(grey_frames(frames), fine=False)
    followed = np.array(
        [max(flow.followed(*pair).mean(), flow.followed(*pair[::-1]).mean()) for pair in pairwise(range(len(frames)))]
    )
    return bool(followed[AROUND] < min(MOST_FOLLOWED, MOST_OF_OTHERS * _others(followed).min()))
