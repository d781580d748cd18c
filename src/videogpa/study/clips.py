"""The videos of a study: two clips in one file, so that both show the same moment at any time."""

import random
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from videogpa.report.panels import small
from videogpa.report.player_files import Panel, Player
from videogpa.video import probe, read_frames_at, sample_indices
from videogpa.video.writing import write_frames

SIDE = 640  # pixels of the longer side of a clip on the page
MOST_FRAMES = 600
TILES = 4  # a scrambled clip has that many rows and columns of tiles
_CRF = 18  # of x264: no difference from the clip itself that an eye would notice
_BLOCK = 16  # pixels: the second clip begins at a whole block of H.264, so that no colour runs from one into the other
_AT_ONCE = 16  # frames in memory at their full size


def write_pair(path: Path, clips: tuple[Path, Path], scrambled: tuple[bool, bool], draw: random.Random) -> Player:
    """Write the video of two clips beside each other, each stretched to the length of the longer one.

    The file holds nothing of the clips but their pixels: no name, no date, no sound. A scrambled clip is cut into tiles that
    are put into another order, the same in all frames: nothing flickers, and a clip in which nothing moves is told apart too.

    Args:
        path: The file to write.
        clips: The two clips, from left to right.
        scrambled: Which of them to scramble.
        draw: Draws the order of the tiles.

    Returns:
        Where the clips are in the video, and its rate.

    Raises:
        UnreadableVideo: If a clip cannot be read.
    """
    infos = [probe(clip) for clip in clips]
    frames = min(max(info.frames for info in infos), MOST_FRAMES)
    rate = frames / max(info.frames / info.fps for info in infos)
    panels = [_frames(clip, info.frames, frames) for clip, info in zip(clips, infos, strict=True)]
    for place in (0, 1):
        if scrambled[place]:
            panels[place] = _scrambled(panels[place], draw)
    places: list[Panel] = []
    write_frames(path, _side_by_side(panels[0], panels[1], places), rate, crf=_CRF)
    return Player(panels=tuple(places), frames=frames, rate=rate)


def _frames(clip: Path, total: int, frames: int) -> Iterator[Float[Tensor, "3 height width"]]:
    """Yield `frames` small frames of a clip, evenly spread; of a shorter clip some come more than once."""
    chosen = sample_indices(total, min(total, frames))
    times = [round(i * (len(chosen) - 1) / max(frames - 1, 1)) for i in range(frames)]
    left = iter(chosen)
    for start in count(0, _AT_ONCE):
        block = list(islice(left, _AT_ONCE))
        if not block:
            return
        pictures = small(read_frames_at(clip, block, scale_down=True), SIDE)
        for time in (time for time in times if start <= time < start + len(block)):
            yield pictures[time - start]


def _scrambled(
    frames: Iterator[Float[Tensor, "3 height width"]], draw: random.Random
) -> Iterator[Float[Tensor, "3 height width"]]:
    order = draw.sample(range(TILES * TILES), TILES * TILES)
    while any(place == tile for place, tile in enumerate(order)):  # every tile is somewhere else
        draw.shuffle(order)
    for frame in frames:
        yield scramble(frame, order)


def scramble(frame: Float[Tensor, "3 height width"], order: list[int]) -> Float[Tensor, "3 height width"]:
    """Return a picture whose tiles are in another order; what does not fill a tile stays."""
    height, width = frame.shape[1] // TILES, frame.shape[2] // TILES
    found = frame.clone()
    for place, tile in enumerate(order):
        (row, column), (y, x) = divmod(place, TILES), divmod(tile, TILES)
        found[:, row * height : (row + 1) * height, column * width : (column + 1) * width] = frame[
            :, y * height : (y + 1) * height, x * width : (x + 1) * width
        ]
    return found


def _side_by_side(
    first: Iterator[Float[Tensor, "3 height width"]],
    second: Iterator[Float[Tensor, "3 height2 width2"]],
    places: list[Panel],
) -> Iterator[Float[Tensor, "3 joint_height joint_width"]]:
    """Yield both clips beside each other, and note in `places` where they are."""
    for one, other in zip(first, second, strict=True):
        height, left = max(one.shape[1], other.shape[1]), one.shape[2] + -one.shape[2] % _BLOCK
        if not places:
            places.append(Panel(title="one", left=0, width=one.shape[2], height=one.shape[1]))
            places.append(Panel(title="other", left=left, width=other.shape[2], height=other.shape[1]))
        filled = [pad(p, (0, -p.shape[2] % _BLOCK, 0, height - p.shape[1]), mode="replicate") for p in (one, other)]
        yield torch.cat(filled, dim=2)
