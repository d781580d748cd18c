"""Read frames of a video file, all of them or a uniform sample, and decode no more of the file than that takes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from jaxtyping import Float
from torch import Tensor

from videogpa.text_files import plural
from videogpa.video.colours import orientation_of, set_upright, to_rgb
from videogpa.video.files import Timeline, UnreadableVideo, opened, timeline_of
from videogpa.video.sampling import sample_indices
from videogpa.video.still_frames import RATE_OF_PICTURES, still_frames

_SEEK_GAIN = 24
"""A seek must save more frames than this. Refilling the decoder's pipeline costs about its threads plus its delay."""

LARGE = 1920 * 1080
SCALED = 1280 * 720
"""Pixels. Where frames are asked to be scaled down, those of more than `LARGE` are, to at most `SCALED`."""

Shrink = Callable[[Tensor], Tensor]
"""Scales a picture `[3 height width]` down; bytes may become floats from 0 to 255."""


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video file.

    `frames` is the number of frames and `fps` their rate per second. `height` and `width` are those of the upright picture, in
    pixels; `duration` is in seconds.
    """

    path: Path
    frames: int
    fps: float
    height: int
    width: int
    duration: float


def probe(path: str | Path) -> VideoInfo:
    """Describe the video in a file. The whole file is read, but only its first frame is decoded.

    Args:
        path: The video file, or a folder of numbered pictures, which counts as 25 frames a second.

    Raises:
        UnreadableVideo: If the file holds no video, or a part of it is missing.
    """
    path = Path(path)
    if (still := still_frames(path)) is not None:
        _, height, width = next(still.read([0])).shape
        return VideoInfo(path, still.count, fps=still.rate, height=height, width=width, duration=still.count / still.rate)
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
    fps = rate or (frames / duration if duration else Fraction(RATE_OF_PICTURES))  # a file that tells neither
    return VideoInfo(path, frames, fps=float(fps), height=height, width=width, duration=float(duration))


def read_frames(path: str | Path, count: int | None = None) -> Float[Tensor, "frames 3 height width"]:
    """Read frames of a video, all of them or a uniform sample.

    The result is the same, bit for bit, as picking from all decoded frames. The reader seeks where that is cheaper than
    decoding the frames in between. Every frame takes 12 bytes of memory per pixel. 10-bit video is rounded to 8 bits.

    Args:
        path: The video file, or a folder of numbered pictures.
        count: How many frames to sample uniformly (see `sample_indices`); None reads all of them.

    Returns:
        The frames, RGB in [0, 1], upright, in order of presentation.

    Raises:
        UnreadableVideo: If the file holds no video or fewer than `count` frames, or a part of it is missing.
        ValueError: If `count` is below 1.
    """
    if count is not None and count < 1:
        raise ValueError(f"cannot read {count} frames")
    path = Path(path)
    return _read(path, lambda total: _choose(path, total, count))


def read_frames_at(
    path: str | Path, indices: Sequence[int], *, scale_down: bool = False, long_side: int | None = None
) -> Float[Tensor, "frames 3 height width"]:
    """Read the frames with the given indices; apart from the choice of frames, this is `read_frames`.

    Args:
        path: The video file, or a folder of numbered pictures.
        indices: Frame numbers from 0, strictly ascending, at least one.
        scale_down: Whether frames larger than 1920 x 1080 are scaled down to about 1280 x 720, each as it is decoded, by
            averaging areas. Smaller ones stay as they are.
        long_side: Pixels to which larger frames are scaled down in place of that, each as it is decoded.

    Raises:
        UnreadableVideo: If the file holds no video or no frame with one of the indices, or a part of it is missing.
        ValueError: If there are no indices, or they are negative or not strictly ascending.
    """
    path = Path(path)
    wanted = list(indices)
    if not wanted or wanted != sorted(set(wanted)) or wanted[0] < 0:
        raise ValueError(f"expected ascending indices of frames, got {wanted[:10]}")

    def choose(total: int) -> list[int]:
        if wanted[-1] >= total:
            raise UnreadableVideo(path, f"holds {plural(total, 'frame')}, and number {wanted[-1]} is wanted (the first is 0)")
        return wanted

    shrink = partial(_to_long_side, long_side) if long_side is not None else scaled_down if scale_down else None
    return _read(path, choose, shrink)


def _read(
    path: Path, choose: Callable[[int], list[int]], shrink: Shrink | None = None
) -> Float[Tensor, "frames 3 height width"]:
    """Read the frames whose indices `choose` returns for the number of frames in the file."""
    if (still := still_frames(path)) is not None:
        chosen = choose(still.count)
        return _gathered(path, len(chosen), still.read(chosen), shrink)
    timeline = timeline_of(path)
    if timeline.times:
        chosen = [timeline.times[i] for i in choose(len(timeline.times))]
        try:
            with opened(path) as (container, stream):
                return stack(path, len(chosen), _frames_at(path, container, stream, timeline, chosen), shrink)
        except _Unseekable:
            pass  # the packets list other frames than the decoder yields: the decoder's frames are counted below
    with opened(path) as (container, stream):
        total = sum(1 for frame in container.decode(stream) if _is_whole(path, frame))
    chosen = choose(total)
    with opened(path) as (container, stream):
        wanted = set(chosen)
        frames = (frame for i, frame in enumerate(container.decode(stream)) if i in wanted)
        return stack(path, len(chosen), frames, shrink)


def _choose(path: Path, total: int, count: int | None) -> list[int]:
    if total == 0:
        raise UnreadableVideo(path, "none of its frames can be decoded")
    if count is not None and count > total:
        raise UnreadableVideo(path, f"holds {plural(total, 'frame')}, and {count} are wanted")
    return sample_indices(total, count or total)


class _Unseekable(Exception):  # noqa: N818 - control flow within this file
    """The decoder did not yield a frame at the place that the packets list for it."""


def _frames_at(path: Path, container: Any, stream: Any, timeline: Timeline, times: list[int]) -> Iterator[av.VideoFrame]:
    """Yield the frames shown at `times` (ascending, in units of the time base), seeking where that saves work.

    Raises:
        _Unseekable: If the decoder yields no frame at one of the times, or yields more frames than the packets list, or if a
            frame marked as a keyframe is not one (intra-refresh streams have such marks).
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
    """Decode up to the frame shown at `time` and return it. After a seek, `awaited` is the time of the keyframe sought."""
    for frame in decoded:
        if frame.pts is None or frame.pts > time:
            raise _Unseekable
        if frame.pts == awaited and frame.pict_type == av.video.frame.PictureType.I:
            awaited = None
        # Before the awaited keyframe, frames that FFmpeg has patched (error concealment) are expected.
        if awaited is None and _is_whole(path, frame) and frame.pts == time:
            return frame
    raise _Unseekable


def _is_whole(path: Path, frame: av.VideoFrame) -> bool:
    """Return True, or raise if FFmpeg has patched the frame (error concealment).

    The frames that follow a patched frame are patched too, although FFmpeg marks only the first one.
    """
    if frame.is_corrupt:
        raise UnreadableVideo(path, "is damaged: a frame cannot be decoded whole")
    return True


def stack(
    path: Path, count: int, frames: Iterator[av.VideoFrame], shrink: Shrink | None = None
) -> Float[Tensor, "frames 3 height width"]:
    """Convert decoded frames, one at a time, into one tensor of upright RGB in [0, 1].

    Args:
        path: The file, for error messages.
        count: How many frames the iterator has to yield.
        frames: The decoded frames.
        shrink: Scales each frame down.

    Raises:
        UnreadableVideo: If there are fewer frames than `count`, or their size changes.
    """
    reformatter = VideoReformatter()
    pictures = (set_upright(to_rgb(frame, reformatter), orientation_of(path, frame)) for frame in frames)
    return _gathered(path, count, pictures, shrink)


def _gathered(
    path: Path, count: int, pictures: Iterator[Tensor], shrink: Shrink | None
) -> Float[Tensor, "frames 3 height width"]:
    """Copy pictures, of bytes or of floats in [0, 1], into one tensor."""
    result: Tensor | None = None
    size: torch.Size | None = None
    written = 0
    for written, picture in enumerate(pictures, start=1):
        if size is None:
            size = picture.shape
        if picture.shape != size:
            raise UnreadableVideo(path, "changes its frame size half-way")
        bytes_ = picture.dtype == torch.uint8
        if shrink is not None:
            picture = shrink(picture)
        if result is None:
            result = torch.empty(count, *picture.shape)
        target = result[written - 1].copy_(picture)
        if bytes_:
            target.div_(255)
    if result is None or written != count:
        raise UnreadableVideo(path, f"is damaged: {written} of {plural(count, 'frame')} could be decoded")
    return result


def scaled_down(picture: Tensor) -> Tensor:
    """Scale a picture `[3 height width]` of more than `LARGE` pixels down to at most `SCALED`, by averaging areas.

    A smaller one is returned as it is. Values keep their range; bytes become floats from 0 to 255.
    """
    height, width = picture.shape[1:]
    if height * width <= LARGE:
        return picture
    scale = (SCALED / (height * width)) ** 0.5
    return _scaled(picture, max(int(width * scale), 1), max(int(height * scale), 1))


def to_long_side(
    frames: Float[Tensor, "frames 3 height width"], side: int
) -> Float[Tensor, "frames 3 small_height small_width"]:
    """Return frames in memory as `read_frames_at` with `long_side` reads those of a file, to the bit if they were bytes."""
    height, width = frames.shape[2:]
    if max(height, width) <= side:
        return frames
    return torch.stack([_scaled(255 * frame.cpu(), *_small_size(side, height, width), largest=255.0) for frame in frames]) / 255


def _to_long_side(side: int, picture: Tensor) -> Tensor:
    height, width = picture.shape[1:]
    return _scaled(picture, *_small_size(side, height, width)) if max(height, width) > side else picture


def _small_size(side: int, height: int, width: int) -> tuple[int, int]:
    """Return width and height."""
    scale = side / max(height, width)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _scaled(picture: Tensor, width: int, height: int, *, largest: float | None = None) -> Tensor:
    planes = [cv2.resize(plane.numpy().astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) for plane in picture]
    if largest is None:
        largest = 1.0 if picture.is_floating_point() else 255.0
    return torch.from_numpy(np.stack(planes)).clamp_(0, largest)  # sums of weights may exceed 1 by rounding
