"""Dense optical flow between any two frames of a clip, with a check of what could be followed."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

Flow = Float32[np.ndarray, "height width 2"]
Map = Float32[np.ndarray, "height width"]

MOST_DISAGREEMENT = 0.7
"""Pixels by which the flow there and back may miss the pixel it began at, and a twentieth of its length besides: the error of
the method on surfaces that are seen in both frames. Where it is more, the pixel is hidden in the other frame, or was lost."""

SAME_ASPECT = 0.06
"""Networks stretch frames by as much, to whole patches."""

WIDTH = 256
"""Long side, in pixels, of the frames that the flow is computed on."""


def grey_frames(
    frames: Float[Tensor, "frames 3 height width"], aspect: float | None = None, side: int = WIDTH
) -> list[UInt8[np.ndarray, "small_height small_width"]]:
    """Return frames in grey, 0 to 255, with a long side of 256 pixels.

    Args:
        frames: RGB in [0, 1].
        aspect: Width by height, where a critic looks at the middle of the frames only. Default: all of each frame.
        side: Another long side, in pixels.
    """
    height, width = frames.shape[2:]
    if aspect is not None and abs(width / height / aspect - 1) > SAME_ASPECT:
        across, down = (round(height * aspect), height) if width / height > aspect else (width, round(width / aspect))
        left, top = (width - across) // 2, (height - down) // 2
        frames = frames[:, :, top : top + down, left : left + across]
        height, width = down, across
    size = tuple(round(length * side / max(height, width)) for length in (width, height))
    shrink = cv2.INTER_AREA if max(height, width) > side else cv2.INTER_LINEAR

    def one(frame: Tensor) -> UInt8[np.ndarray, "small_height small_width"]:
        picture = cv2.resize(np.ascontiguousarray(frame.permute(1, 2, 0).numpy(force=True)), size, interpolation=shrink)
        grey: UInt8[np.ndarray, "small_height small_width"] = (
            (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) * 255).round().clip(0, 255).astype(np.uint8)
        )
        return grey

    return [one(frame) for frame in frames]


class DenseFlow:
    """Optical flow between frames of one clip, each field computed once, when it is first asked for.

    Dense inverse search (Kroeger et al. 2016), as OpenCV implements it. Between frames that are not adjacent it starts from the
    sum of the steps between them, so that it finds motion that is longer than the search reaches.

    Args:
        grey: All frames, in order of time, 0 to 255.
        fine: Whether every pixel is refined; else every second, in a fifth of the time.
    """

    def __init__(self, grey: Sequence[UInt8[np.ndarray, "height width"]], *, fine: bool = True) -> None:
        self.grey = list(grey)
        self._method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        if fine:
            self._method.setFinestScale(0)
        self._known: dict[tuple[int, int], Flow] = {}
        self._followed: dict[tuple[int, int], Bool[np.ndarray, "height width"]] = {}

    def between(self, first: int, second: int) -> Flow:
        """Return for every pixel of frame `first` by how many pixels, right and down, it has moved in frame `second`."""
        if (first, second) not in self._known:
            step = 1 if second > first else -1
            if second - first == step:
                field = self._method.calc(self.grey[first], self.grey[second], None)
            else:
                start = self._chained(range(first, second, step), step)
                field = self._method.calc(self.grey[first], self.grey[second], start)
            self._known[first, second] = np.asarray(field, np.float32)
        return self._known[first, second]

    def followed(self, first: int, second: int) -> Bool[np.ndarray, "height width"]:
        """Return which pixels of frame `first` the flow leads to one of frame `second` that it leads back from."""
        if (first, second) not in self._followed:
            self._followed[first, second] = self._comes_back(first, second)
        return self._followed[first, second]

    def _comes_back(self, first: int, second: int) -> Bool[np.ndarray, "height width"]:
        there = self.between(first, second)
        column, line = moved(there)
        height, width = column.shape
        back = np.stack([at(part, column, line) for part in np.moveaxis(self.between(second, first), -1, 0)], axis=-1)
        missed: Map = np.linalg.norm(there + back, axis=-1)
        inside = (column >= 0) & (column <= width - 1) & (line >= 0) & (line <= height - 1)
        found: Bool[np.ndarray, "height width"] = inside & (missed < MOST_DISAGREEMENT + np.linalg.norm(there, axis=-1) / 20)
        return found

    def _chained(self, frames: range, step: int) -> Flow:
        total = np.zeros((*self.grey[0].shape, 2), np.float32)
        for frame in frames:
            field = self.between(frame, frame + step)
            total = total + np.stack([at(part, *moved(total)) for part in np.moveaxis(field, -1, 0)], axis=-1)
        return total


def moved(flow: Flow) -> tuple[Map, Map]:
    """Return the column and the line to which every pixel moves."""
    height, width = flow.shape[:2]
    return flow[..., 0] + np.arange(width, dtype=np.float32), flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]


def at(picture: np.ndarray, column: Map, line: Map) -> np.ndarray:
    """Return a picture at given places, bilinear; beyond its border it is what it is on it."""
    found: np.ndarray = cv2.remap(
        np.ascontiguousarray(picture), column, line, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found


def mean_around(values: np.ndarray, side: int) -> np.ndarray:
    """Return the mean over the square of `side` pixels around every pixel."""
    found: np.ndarray = cv2.blur(values.astype(np.float32), (side, side), borderType=cv2.BORDER_REFLECT)
    return found


def gradient(grey: UInt8[np.ndarray, "height width"]) -> Map:
    """Return by how much the brightness, 0 to 1, changes over a pixel."""
    picture = grey.astype(np.float32) / 255
    found: Map = np.hypot(cv2.Sobel(picture, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(picture, cv2.CV_32F, 0, 1) / 8)
    return found
