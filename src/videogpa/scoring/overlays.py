"""What is burnt into a clip, and shows no scene: logos, subtitles, counters, watermarks; and bars at the border.

The evidence is the picture alone, so that every critic's clips are searched alike. What is burnt in keeps its edges at the same
pixels, to a tenth of a pixel, while what is around it moves away. Under a camera that stands still nothing can be told, and
nothing is claimed; so it is where little moves, as around the point that a camera drives towards. Thresholds were chosen on the
clips that docs/science/overlays.md names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from videogpa.parallel import parallel_map
from videogpa.scoring.dense_flow import WIDTH, DenseFlow, Map, grey_frames

SEARCHED = 25
"""Frames that are searched, evenly spread over the clip: as many as `sfm` reads to judge 10."""

LEAST_FRAMES = 8  # of a stretch in time that is looked at: fewer pictures of a slow scene look alike by chance
SIDE = 640  # long side, in pixels, of the frames that are searched: strokes of subtitles are a pixel or two wide there
SOFT = 6.0  # grey levels a pixel of the gradient that counts half: stronger ones say little more
STRONG, COHERENT = 0.35, 0.8  # length of the mean gradient, and its share of the mean length, of an edge that stays
TEXTURED = 0.33  # mean length of the gradient of what can be seen to move
JOIN = 13  # pixels across a gap that is closed between edges, as between letters
LEAST_EDGES = 24  # pixels of edges without which nothing is claimed
CELL = 32  # pixels of the squares in which it is tested whether edges stay exactly where they are
STEADY, MOST_TIMES = 0.15, 0.9  # pixels by which the edges of a square may shift, in that share of the frames
LEAST_ACROSS = 0.1  # of the variation along the main direction: a single straight edge can slide along itself unseen
GAP, RINGS = 3, (24, 48, 96, 160)  # pixels around, beyond `JOIN`, in which the scene has to move: the first with texture enough
LEAST_TEXTURE, MOST_STAYING = 200, 0.2  # pixels that have texture, and the share of them that may stay
LEAST_FLOW = 0.3  # pixels from one searched frame to the next by which the ring moves, the median
PRESENT = 0.7  # share of the edges that a frame shows which has the overlay
MARGIN = 3  # pixels by which a mask reaches beyond the edges: compression smears them

Grey = UInt8[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]
Squares = Float32[np.ndarray, "rows columns"]


def find_overlays(frames: Float[Tensor, "frames 3 height width"]) -> Bool[Tensor, "frames mask_height mask_width"] | None:
    """Return where something is burnt into each frame, at a size of its own; None where nothing was found.

    Args:
        frames: Frames of one clip in order of time, RGB in [0, 1]; about 25, spread over the clip.
    """
    if len(frames) < LEAST_FRAMES:
        return None
    clip = _Edges(grey_frames(frames, side=min(SIDE, max(frames.shape[2:]))))
    masks = np.zeros((len(frames), *clip.shape), bool)
    for stretch in _stretches(len(frames)):
        for found in clip.burnt_in(stretch):
            masks[clip.showing(found)] |= found.covered
    return torch.from_numpy(masks) if masks.any() else None


def _stretches(frames: int) -> Iterator[slice]:
    """Yield the stretches of a clip that are searched: all of it, and halves, since subtitles change."""
    yield slice(0, frames)
    half = (frames + 1) // 2
    if half >= LEAST_FRAMES:
        yield from (slice(start, start + half) for start in (0, (frames - half) // 2, frames - half))


@dataclass(frozen=True, eq=False)
class _Overlay:
    """One thing that is burnt in: the edges by which it was found, their mean gradient, and the pixels that it covers."""

    edges: Mask
    across: Map
    down: Map
    covered: Mask


class _Edges:
    """The gradients of a clip's frames, softly bounded in length, and what stays of them over time."""

    def __init__(self, grey: Sequence[Grey]) -> None:
        self._grey = grey
        both = parallel_map(_gradients, grey)
        self._across, self._down = (np.stack(part) for part in zip(*both, strict=True))
        self._length = np.hypot(self._across, self._down)
        self.shape: tuple[int, int] = grey[0].shape

    def burnt_in(self, stretch: slice) -> list[_Overlay]:
        """Return what is burnt into the frames of a stretch."""
        across, down = self._across[stretch].mean(0), self._down[stretch].mean(0)
        lengths = self._length[stretch].mean(0)
        mean = np.hypot(across, down)
        coherence = mean / np.maximum(lengths, 1e-6)
        coherent = (mean > STRONG) & (coherence > COHERENT)
        if coherent.sum() < LEAST_EDGES:
            return []
        edges = coherent & self._steady(stretch, across * coherent, down * coherent)
        textured = (lengths > TEXTURED) & ~_grown(edges, GAP)
        joined = cv2.morphologyEx(edges.astype(np.uint8), cv2.MORPH_CLOSE, _square(JOIN))
        number, parts, statistics, _ = cv2.connectedComponentsWithStats(joined)
        found = []
        for part in range(1, number):
            around = _around(statistics[part])
            own = edges[around] & (parts[around] == part)
            if own.sum() < LEAST_EDGES or not _two_dimensional(across[around][own], down[around][own]):
                continue
            distance = cv2.distanceTransform((~own).astype(np.uint8), cv2.DIST_C, 3)
            if not self._surrounded(stretch, around, distance, textured[around], coherence[around], int(own.sum())):
                continue
            whole, covered = np.zeros(self.shape, bool), np.zeros(self.shape, bool)
            whole[around], covered[around] = own, _hull(coherent[around] & (distance <= JOIN))
            found.append(_Overlay(whole, across, down, _grown(covered, MARGIN)))
        return found

    def _surrounded(
        self, stretch: slice, around: tuple[slice, slice], distance: Map, textured: Mask, coherence: Map, least: int
    ) -> bool:
        """Return whether the scene around moves: the nearest of it that has texture enough to tell."""
        for ring in RINGS:
            seen = (distance > JOIN) & (distance <= ring) & textured
            if seen.sum() >= max(least, LEAST_TEXTURE):
                staying = (coherence[seen] > COHERENT).mean()
                return bool(staying <= MOST_STAYING and np.median(self._speed(stretch)[around][seen]) >= LEAST_FLOW)
        return False

    def showing(self, overlay: _Overlay) -> list[int]:
        """Return the frames in which most edges of an overlay are where they are."""
        across, down = overlay.across[overlay.edges], overlay.down[overlay.edges]
        least = 0.5 * (across**2 + down**2)
        here = self._across[:, overlay.edges] * across + self._down[:, overlay.edges] * down > least
        return [int(frame) for frame in np.flatnonzero(here.mean(1) >= PRESENT)]

    def _steady(self, stretch: slice, across: Map, down: Map) -> Mask:
        """Return the squares in which the edges are where they are on average, to `STEADY` pixels, in nearly all frames."""
        shifts = []
        for there, below in zip(self._across[stretch], self._down[stretch], strict=True):
            here, right, left, lower, upper = (
                _cells(across * np.roll(there, step, (0, 1)) + down * np.roll(below, step, (0, 1)))
                for step in ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
            )
            shifts.append(np.maximum(_peak(here, left, right), _peak(here, upper, lower)))
        steady = np.quantile(np.stack(shifts), MOST_TIMES, axis=0) < STEADY
        return np.kron(steady, np.ones((CELL, CELL), bool))[: self.shape[0], : self.shape[1]]

    def _speed(self, stretch: slice) -> Map:
        """Return by how many pixels the picture moves from one frame to the next, on average."""
        speed: Map = self._speeds[stretch].mean(0)
        return speed

    @cached_property
    def _speeds(self) -> Float32[np.ndarray, "frames height width"]:
        scale = min(1.0, WIDTH / max(self.shape))
        small = [cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for grey in self._grey]
        flow = DenseFlow(small, fine=False)
        lengths = [np.linalg.norm(flow.between(a, b), axis=-1) / scale for a, b in pairwise(range(len(small)))]
        size = self.shape[1], self.shape[0]
        return np.stack([cv2.resize(length, size) for length in [*lengths, lengths[-1]]])


def _gradients(grey: Grey) -> tuple[Map, Map]:
    """Return the gradient of the grey levels, right and down, its length bounded softly to 1."""
    across, down = (cv2.Scharr(grey, cv2.CV_32F, *direction) / 32 for direction in ((1, 0), (0, 1)))
    length = np.hypot(across, down) + SOFT
    return across / length, down / length


def _cells(values: Map) -> Squares:
    """Return the sums over squares of `CELL` pixels."""
    height, width = (-(-side // CELL) * CELL for side in values.shape)
    padded = np.zeros((height, width), np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    sums: Squares = padded.reshape(height // CELL, CELL, width // CELL, CELL).sum((1, 3))
    return sums


def _peak(here: Squares, before: Squares, after: Squares) -> Squares:
    """Return how far the peak of three correlations is from the middle one, by a parabola; 1 where that is not the highest."""
    bend = 2 * (2 * here - before - after)
    inside = (here >= np.maximum(before, after)) & (bend > 0)
    return np.where(inside, np.abs(after - before) / np.maximum(bend, 1e-6), 1.0).astype(np.float32)


def _two_dimensional(across: Float32[np.ndarray, " edges"], down: Float32[np.ndarray, " edges"]) -> bool:
    """Return whether edges run in more than one direction."""
    tensor = np.array([[(across**2).mean(), (across * down).mean()], [(across * down).mean(), (down**2).mean()]])
    low, high = np.linalg.eigvalsh(tensor)
    return bool(low > LEAST_ACROSS * high)


def _around(statistics: np.ndarray) -> tuple[slice, slice]:
    """Return the part of the picture that holds a region and all that is looked at around it."""
    x, y, width, height = (int(number) for number in statistics[:4])
    reach = RINGS[-1]
    return slice(max(y - reach, 0), y + height + reach), slice(max(x - reach, 0), x + width + reach)


def _hull(edges: Mask) -> Mask:
    points = cv2.findNonZero(edges.astype(np.uint8))
    filled = np.zeros(edges.shape, np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(points), 1)
    return filled > 0


def _grown(mask: Mask, pixels: int) -> Mask:
    grown: Mask = cv2.dilate(mask.astype(np.uint8), _square(2 * pixels + 1)) > 0
    return grown


def _square(side: int) -> np.ndarray:
    return np.ones((side, side), np.uint8)
