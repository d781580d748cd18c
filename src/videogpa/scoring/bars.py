"""Bars at the border of a clip: rows and columns of one colour through all frames, as a letterbox leaves them."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SAME = 0.05  # of RGB in [0, 1]: compression leaves a bar this uneven
BLACK = 0.1  # up to here a single bar counts; of another colour there must be two, since a sky has one too
PLAIN, LEAST_PLAIN = 0.98, 0.5  # share of a line's pixels of the bar's colour; the lower one inside, where a subtitle may be
EDGE, EDGE_LINES = 0.6, 3  # share of the pixels that must differ in some frame within these lines beyond: the edge is straight
THINNEST, THICKEST = 0.01, 0.4  # of the side
ALIKE = 0.2  # by which two bars may differ in thickness, as a share of the thicker one, where they are not black


@dataclass(frozen=True)
class Bars:
    """How many pixels of each side are bars."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def cut(self, frames: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames 3 new_height new_width"]:
        """Return frames without the bars; the same ones if there are none."""
        height, width = frames.shape[2:]
        return frames[:, :, self.top : height - self.bottom, self.left : width - self.right] if self else frames

    def share(self, height: int, width: int) -> float:
        """Return how much of a frame of that size they are."""
        return 1 - (height - self.top - self.bottom) * (width - self.left - self.right) / (height * width)

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return any((self.top, self.bottom, self.left, self.right))


def find_bars(frames: Float[Tensor, "frames 3 height width"]) -> Bars:
    """Return the bars of a clip, above and below first, then at the sides of what is left.

    A bar has one colour through all frames and ends in a straight line, beyond which most pixels differ from it in some frame.

    Args:
        frames: Frames of one clip, spread over it, RGB in [0, 1].
    """
    top, bottom = _pair(frames)
    height = frames.shape[2]
    left, right = _pair(frames[:, :, top : height - bottom].transpose(2, 3))
    return Bars(top, bottom, left, right)


def _pair(frames: Float[Tensor, "frames 3 lines pixels"]) -> tuple[int, int]:
    """Return how many of the first and of the last lines are a bar."""
    (first, first_color), (last, last_color) = _thickness(frames), _thickness(frames.flip(2))
    two = min(first, last) >= (1 - ALIKE) * max(first, last) and bool((first_color - last_color).abs().max() <= SAME)
    if first + last > 2 * THICKEST * frames.shape[2]:
        return 0, 0
    if two:
        return first, last
    return (first if float(first_color.max()) <= BLACK else 0), (last if float(last_color.max()) <= BLACK else 0)


def _thickness(frames: Float[Tensor, "frames 3 lines pixels"]) -> tuple[int, Float[Tensor, "3"]]:
    """Return how many of the first lines are a bar, and its colour."""
    lines = frames.shape[2]
    color = frames[:, :, 0].movedim(1, 0).flatten(1).median(1).values
    least = max(1, math.ceil(THINNEST * lines))
    if float(_share(frames[:, :, :least], color).min()) < PLAIN:
        return 0, color  # most clips have none, and are not searched on
    most = min(int(THICKEST * lines) + EDGE_LINES + 1, lines)
    number = _plain_lines(_share(frames[:, :, :most], color))
    if not least <= number <= THICKEST * lines:
        return 0, color
    beyond = torch.stack([~_same(frame[:, number : number + EDGE_LINES], color) for frame in frames])
    return number if float(beyond.any(0).any(0).float().mean()) >= EDGE else 0, color


def _share(frames: Float[Tensor, "frames 3 lines pixels"], color: Float[Tensor, "3"]) -> Float[Tensor, " lines"]:
    """Return how much of each line has a colour, in the frame where least has."""
    return torch.stack([_same(frame, color).float().mean(1) for frame in frames]).amin(0)


def _same(frame: Float[Tensor, "3 lines pixels"], color: Float[Tensor, "3"]) -> Bool[Tensor, "lines pixels"]:
    return (frame - color[:, None, None]).abs().amax(0) <= SAME


def _plain_lines(share: Float[Tensor, " lines"]) -> int:
    """Return the number of lines up to the last plain one before the first that is no bar at all."""
    inside: Bool[Tensor, " lines"] = share >= LEAST_PLAIN
    end = len(share) if bool(inside.all()) else int((~inside).float().argmax())
    plain = (share[:end] >= PLAIN).nonzero()
    return int(plain[-1]) + 1 if len(plain) else 0
