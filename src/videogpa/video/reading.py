"""Frames of a video file, sampled uniformly; no more is decoded than that takes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch
from av.video.reformatter import VideoReformatter
from jaxtyping import Float
from torch import Tensor

from videogpa.video.colours import orientation_of, set_upright, to_rgb
from videogpa.video.files import Timeline, UnreadableVideo, opened, timeline_of

_SEEK_GAIN = 24
"""Frames that a seek must save. Refilling the decoder's pipeline costs about as many as it has threads, plus its delay."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds. `height` and `width` are those of the upright picture; `duration` is in seconds."""

    path: Path
    frames: int
    fps: float
    height: int
    width: int
    duration: float


def sample_indices(total: int, count: int) -> list[int]:
    """Choose `count` of `total` frames uniformly, first and last included: round(linspace(0, total - 1, count)).

    All are distinct, ascending. Ties round to even. A single one is the first.

    Raises:
        ValueError: If `count` is not within 1 and `total`.
    """
    if not 1 <= count <= total:
        raise ValueError(f"cannot choose {count} of {total} frames")
    return [round(i * (total - 1) / max(count - 1, 1)) for i in range(count)]


def probe(path: str | Path) -> VideoInfo:
    """Describe the video in a file. Reads the whole file, but decodes its first frame only.

    Raises:
        UnreadableVideo: If there is no video in it, or not all of it.
    """
    path = Path(path)
    timeline = timeline_of(path)
    with opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise UnreadableVideo(path, "none of its frames can be decoded")
        _, height, width = set_upright(torch.empty(3, first.height, first.width), orientation_of(path, first)).shape
        rate = stream.average_rate or stream.guessed_rate
    frames = len(timeline.packets)
    duration = frames / rate if rate else Fraction(0)
    if timeline.times:
        last = timeline.times[-1] - timeline.times[0]
        duration = last * timeline.time_base * Fraction(frames, max(frames - 1, 1)) or duration
    fps = rate or frames / duration
    return VideoInfo(path, frames, fps=float(fps), height=height, width=width, duration=float(duration))


def read_frames(path: str | Path, count: int | None = None) -> Float[Tensor, "frames 3 height width"]:
    """Read `count` frames, sampled uniformly (see `sample_indices`); all of them if None.

    The result is the same, bit for bit, as picking from all decoded frames. Decodes no more than it needs: it seeks where
    that is cheaper than decoding what lies between. All frames of a long video need 12 bytes of memory for every pixel.
    10-bit video is rounded to 8 bits.

    Raises:
        UnreadableVideo: If there is no video in it, not all of it, or fewer than `count` frames.
    """
    if count is not None and count < 1:
        raise ValueError(f"cannot read {count} frames")
    path = Path(path)
    return _read(path, lambda total: _choose(path, total, count))


def read_frames_at(path: str | Path, indices: Sequence[int]) -> Float[Tensor, "frames 3 height width"]:
    """Read the frames with these indices, which must ascend. Otherwise like `read_frames`.

    Raises:
        UnreadableVideo: If there is no video in the file, not all of it, or no frame of one of these indices.
    """
    path = Path(path)
    wanted = list(indices)
    if not wanted or wanted != sorted(set(wanted)) or wanted[0] < 0:
        raise ValueError(f"expected ascending indices of frames, got {wanted[:10]}")

    def choose(total: int) -> list[int]:
        if wanted[-1] >= total:
            raise UnreadableVideo(path, f"holds {total} frames, and number {wanted[-1]} is wanted (the first is 0)")
        return wanted

    return _read(path, choose)


def _read(path: Path, choose: Callable[[int], list[int]]) -> Float[Tensor, "frames 3 height width"]:
    """Read the frames that `choose` picks, given how many there are."""
    timeline = timeline_of(path)
    if timeline.times:
        chosen = [timeline.times[i] for i in choose(len(timeline.times))]
        try:
            with opened(path) as (container, stream):
                return stack(path, len(chosen), _frames_at(path, container, stream, timeline, chosen))
        except _Unseekable:
            pass  # the packets promise other frames than the decoder yields: then what it yields counts
    with opened(path) as (container, stream):
        total = sum(1 for frame in container.decode(stream) if _is_whole(path, frame))
    chosen = choose(total)
    with opened(path) as (container, stream):
        wanted = set(chosen)
        return stack(path, len(chosen), (frame for i, frame in enumerate(container.decode(stream)) if i in wanted))


def _choose(path: Path, total: int, count: int | None) -> list[int]:
    if total == 0:
        raise UnreadableVideo(path, "none of its frames can be decoded")
    if count is not None and count > total:
        held = "one frame" if total == 1 else f"{total} frames"
        raise UnreadableVideo(path, f"holds {held}, and {count} are wanted")
    return sample_indices(total, count or total)


class _Unseekable(Exception):  # noqa: N818 - control flow within this file
    """A frame was not where the packets said."""


def _frames_at(path: Path, container: Any, stream: Any, timeline: Timeline, times: list[int]) -> Iterator[av.VideoFrame]:
    """Yield the frames shown at `times` (ascending), seeking where that saves work.

    Raises:
        _Unseekable: If one does not come, or if a keyframe turns out to be none (intra-refresh streams mark such).
    """
    decoded = container.decode(stream)
    reached = 0
    for time in times:
        start = timeline.start_for(time)
        awaited = None
        if start is not None and timeline.position[start] - reached > _SEEK_GAIN:
            container.seek(start, stream=stream)
            decoded = container.decode(stream)
            awaited = start
        frame = _advance(path, decoded, time, awaited)
        reached = timeline.position[time]
        yield frame
    if awaited is None and reached == len(timeline.packets) - 1 and next(decoded, None) is not None:
        raise _Unseekable


def _advance(path: Path, decoded: Iterator[av.VideoFrame], time: int, awaited: int | None) -> av.VideoFrame:
    """Decode until the frame shown at `time`, by way of the keyframe at `awaited`."""
    for frame in decoded:
        if frame.pts is None or frame.pts > time:
            raise _Unseekable
        if frame.pts == awaited and frame.pict_type == av.video.frame.PictureType.I:
            awaited = None
        # Before the awaited keyframe, patched frames are expected.
        if awaited is None and _is_whole(path, frame) and frame.pts == time:
            return frame
    raise _Unseekable


def _is_whole(path: Path, frame: av.VideoFrame) -> bool:
    """Refuse a patched frame. Those that follow it are patched too, though FFmpeg marks the first one only."""
    if frame.is_corrupt:
        raise UnreadableVideo(path, "is damaged: a frame cannot be decoded whole")
    return True


def stack(path: Path, count: int, frames: Iterator[av.VideoFrame]) -> Float[Tensor, "frames 3 height width"]:
    """Convert decoded frames, one at a time, into one tensor."""
    reformatter = VideoReformatter()
    result: Tensor | None = None
    written = 0
    for written, frame in enumerate(frames, start=1):
        picture = set_upright(to_rgb(frame, reformatter), orientation_of(path, frame))
        if result is None:
            result = torch.empty(count, *picture.shape)
        if picture.shape != result.shape[1:]:
            raise UnreadableVideo(path, "changes its frame size half-way")
        result[written - 1].copy_(picture).div_(255)
    if result is None or written != count:
        raise UnreadableVideo(path, f"is damaged: {written} of {count} frames could be decoded")
    return result
