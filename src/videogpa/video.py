"""Videos and pictures, from files and to files: the only user of codecs.

Frames are RGB in [0, 1], float32, `[frames 3 height width]`, upright (rotation metadata is applied) and numbered in order of
presentation. Sampling is uniform in the frame's number, as in the paper (arXiv 2601.23286, 10 frames, first and last
included), also where the frame rate varies. Pixels are taken as stored: a non-square pixel aspect is not stretched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, VideoReformatter
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from videogpa.errors import UserError
from videogpa.runs import atomic_path

# SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_ACCURATE_RND, by value since PyAV 17 has no names for them.
# Without them swscale takes a fast path that is off by up to 3/255 and repeats chroma instead of interpolating it.
_SCALING = 4 | 1 << 13 | 1 << 14 | 1 << 18

# Colour matrices by number, the same in a stream's tag (AVColorSpace) and in swscale (SWS_CS_*), BT.2020's two tags apart.
# What is untagged counts as BT.601, whatever its size: this is how FFmpeg, OpenCV, decord and imageio read it, and how the
# untagged files of diffusers' `export_to_video` were written.
_BT709, _BT601 = 1, 5
_MATRICES = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}

_SEEK_GAIN = 24
"""Frames that a seek must save. Refilling the decoder's pipeline costs about as many as it has threads, plus its delay."""

_CRF = 12
"""x264's constant quality, 0 (lossless) to 51. Clips come back at 43 to 45 dB (RGB), most of the loss being yuv420p's."""


class UnreadableVideo(UserError):  # noqa: N818 - a finding about the file, not an error of the program
    """The file cannot be used as a video. The message names the file and the cause; `reason` is the cause alone."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class UnreadableImage(UserError):  # noqa: N818 - as above
    """The file cannot be used as a picture. The message names the file and the cause."""


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
    timeline = _timeline(path)
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise UnreadableVideo(path, "none of its frames can be decoded")
        _, height, width = _upright(torch.empty(3, first.height, first.width), _orientation(path, first)).shape
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
    path = Path(path)
    if count is not None and count < 1:
        raise ValueError(f"cannot read {count} frames")
    timeline = _timeline(path)
    if timeline.times:
        chosen = [timeline.times[i] for i in _choose(path, len(timeline.times), count)]
        try:
            with _opened(path) as (container, stream):
                return _stack(path, len(chosen), _frames_at(container, stream, timeline, chosen))
        except _Unseekable:
            pass  # the packets promise other frames than the decoder yields: then what it yields counts
    with _opened(path) as (container, stream):
        total = sum(1 for _ in container.decode(stream))
    chosen = _choose(path, total, count)
    with _opened(path) as (container, stream):
        frames = (frame for i, frame in enumerate(container.decode(stream)) if i in set(chosen))
        return _stack(path, len(chosen), frames)


def _choose(path: Path, total: int, count: int | None) -> list[int]:
    if total == 0:
        raise UnreadableVideo(path, "none of its frames can be decoded")
    if count is not None and count > total:
        held = "one frame" if total == 1 else f"{total} frames"
        raise UnreadableVideo(path, f"holds {held}, and {count} are wanted")
    return sample_indices(total, count or total)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file's main video stream; whatever FFmpeg finds wrong, until it is closed, becomes an `UnreadableVideo`."""
    if not path.exists():
        raise UnreadableVideo(path, "there is no such file")
    if path.is_dir():
        raise UnreadableVideo(path, "is a folder, not a video")
    if path.stat().st_size == 0:
        raise UnreadableVideo(path, "is empty (0 bytes)")
    try:
        # "file:" and the whitelist: neither a colon in the name nor a playlist's content may lead to the network.
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            stream = _main_stream(path, container)
            stream.thread_type = "AUTO"
            yield container, stream
    except av.FFmpegError as error:
        raise UnreadableVideo(path, _explain(path, error)) from error


def _explain(path: Path, error: av.FFmpegError) -> str:
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    if not isinstance(error, av.InvalidDataError):
        return f"cannot be read ({error.strerror})"
    return _TRUNCATED_MP4 if _is_mp4(path) else "is not a video, or is damaged (no known format fits its data)"


_TRUNCATED_MP4 = "is truncated or damaged: an MP4 whose index cannot be read"


def _is_mp4(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(8)[4:] == b"ftyp"


def _main_stream(path: Path, container: Any) -> Any:
    # A cover picture in a music file is a video stream too.
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams and not container.streams and _is_mp4(path):
        raise UnreadableVideo(path, _TRUNCATED_MP4)
    if not streams:
        found = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise UnreadableVideo(path, f"has no video stream (found: {found})")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise UnreadableVideo(path, "is coded in a way that this FFmpeg cannot decode")
    return stream


@dataclass(frozen=True)
class _Timeline:
    """The shown frames of a stream, as its packets tell without decoding."""

    packets: list[tuple[int | None, bool]]
    """Presentation time and "is a keyframe", in order of decoding."""
    time_base: Fraction

    @cached_property
    def times(self) -> list[int]:
        """Presentation times in order; empty if the packets do not name distinct ones (raw streams, some AVI)."""
        times = [time for time, _ in self.packets if time is not None]
        return sorted(times) if len(set(times)) == len(self.packets) else []

    @cached_property
    def position(self) -> dict[int | None, int]:
        """Place of each time in the order of decoding."""
        return {time: i for i, (time, _) in enumerate(self.packets)}

    def start_for(self, time: int) -> int | None:
        """The last keyframe shown at `time` or before: what follows it there needs nothing older.

        This holds for open groups too, where frames decoded after the keyframe but shown before it do need older ones.
        """
        return max((t for t, key in self.packets if key and t is not None and t <= time), default=None)


def _timeline(path: Path) -> _Timeline:
    """List the frames of a file from its packets, none of them decoded; refuse a file of which a part is missing."""
    with _opened(path) as (container, stream):
        packets: list[tuple[int | None, bool]] = []
        found, end = 0, 0.0
        for packet in container.demux():
            if packet.size == 0:  # the flush at the end, or "same picture again" of AVI
                continue
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == stream.index:
                if packet.is_corrupt:
                    raise UnreadableVideo(path, f"is truncated or damaged after {found} frames")
                found += 1
                if not packet.is_discard:  # cut away by an edit list
                    packets.append((packet.pts, packet.is_keyframe))
        if found < len(stream.index_entries):
            raise UnreadableVideo(path, f"is truncated: its index lists {len(stream.index_entries)} frames, {found} are there")
        _refuse_early_end(path, container, end)
        return _Timeline(packets, stream.time_base)


def _refuse_early_end(path: Path, container: Any, end: float) -> None:
    """Matroska and WebM have no index of all frames; a file that ends a quarter second before its duration was cut off."""
    if "matroska" not in container.format.name or container.duration is None:
        return
    declared = container.duration / av.time_base + min(container.start_time or 0, 0) / av.time_base
    if end < declared - 0.25:
        raise UnreadableVideo(path, f"is truncated: {declared:.2f} s long by its header, {end:.2f} s are there")


class _Unseekable(Exception):  # noqa: N818 - control flow within this file
    """A frame was not where the packets said."""


def _frames_at(container: Any, stream: Any, timeline: _Timeline, times: list[int]) -> Iterator[av.VideoFrame]:
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
        frame = _advance(decoded, time, awaited)
        reached = timeline.position[time]
        yield frame
    if awaited is None and reached == len(timeline.packets) - 1 and next(decoded, None) is not None:
        raise _Unseekable


def _advance(decoded: Iterator[av.VideoFrame], time: int, awaited: int | None) -> av.VideoFrame:
    """Decode until the frame shown at `time`, by way of the keyframe at `awaited`."""
    for frame in decoded:
        if frame.pts is None or frame.pts > time:
            raise _Unseekable
        if frame.pts == awaited and frame.pict_type == av.video.frame.PictureType.I:
            awaited = None
        if frame.pts == time and awaited is None:
            return frame
    raise _Unseekable


def _stack(path: Path, count: int, frames: Iterator[av.VideoFrame]) -> Float[Tensor, "frames 3 height width"]:
    """Convert decoded frames, one at a time, into one tensor."""
    reformatter = VideoReformatter()
    result: Tensor | None = None
    written = 0
    for written, frame in enumerate(frames, start=1):
        if frame.is_corrupt:
            raise UnreadableVideo(path, "is damaged: a frame cannot be decoded whole")
        picture = _upright(_rgb(frame, reformatter), _orientation(path, frame))
        if result is None:
            result = torch.empty(count, *picture.shape)
        if picture.shape != result.shape[1:]:
            raise UnreadableVideo(path, "changes its frame size half-way")
        result[written - 1].copy_(picture).div_(255)
    if result is None or written != count:
        raise UnreadableVideo(path, f"is damaged: {written} of {count} frames could be decoded")
    return result


def _rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> Tensor:
    """Convert a decoded frame to bytes `[3 height width]`, by the colour matrix and range that it is tagged with."""
    full_range = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    planar = reformatter.reformat(
        frame,
        format="gbrp",  # four times as fast as rgb24 at these flags
        src_colorspace=_MATRICES.get(int(frame.colorspace), _BT601),
        src_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_SCALING,
    )
    green, blue, red = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in planar.planes
    )
    return torch.from_numpy(np.stack([red, green, blue]))


def _orientation(path: Path, frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How to set a frame upright: transpose, then mirror left-right, then mirror top-bottom.

    The display matrix (ISO/IEC 14496-12, 6.2.2) sends the stored (x, y) to (a x + c y, b x + d y).
    """
    for side_data in frame.side_data:
        if side_data.type == av.sidedata.sidedata.Type.DISPLAYMATRIX:
            a, b, _, c, d = np.frombuffer(bytes(side_data), np.int32)[:5].tolist()
            if max(abs(b), abs(c)) < 0.01 * max(abs(a), abs(d)):
                return False, a < 0, d < 0
            if max(abs(a), abs(d)) < 0.01 * max(abs(b), abs(c)):
                return True, c < 0, b < 0
            raise UnreadableVideo(path, "is rotated by an angle that is not a multiple of 90 degrees")
    return False, False, False


def _upright(picture: Tensor, orientation: tuple[bool, bool, bool]) -> Tensor:
    transpose, mirror, flip = orientation
    picture = picture.transpose(-1, -2) if transpose else picture
    axes = [axis for axis, mirrored in ((-1, mirror), (-2, flip)) if mirrored]
    return picture.flip(axes) if axes else picture


def write_video(path: str | Path, frames: Float[Tensor, "frames 3 height width"], fps: int | float) -> None:
    """Write RGB in [0, 1] as an MP4 (H.264, yuv420p, BT.709) that browsers play while it loads.

    The file appears whole or not at all, and is the same, byte for byte, for the same frames. H.264 needs even sizes: an odd
    one grows by repeating the last row or column.

    Raises:
        ValueError: If the frames are none, or not RGB in [0, 1].
    """
    if len(frames) == 0 or fps <= 0:
        raise ValueError(f"cannot write {len(frames)} frames at {fps} per second")
    height, width = frames.shape[-2:]
    padding = (0, width % 2, 0, height % 2)
    rate = Fraction(fps).limit_denominator(1001)
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with atomic_path(Path(path)) as temporary, av.open(f"file:{temporary}", "w", format="mp4", options=options) as container:
        # The number of threads changes what x264 writes, so it is fixed rather than the machine's.
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(_CRF), "threads": "4"})
        stream.width, stream.height, stream.pix_fmt = width + padding[1], height + padding[3], "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG
        reformatter = VideoReformatter()
        for picture in frames:
            pixels = torch.nn.functional.pad(picture[None], padding, mode="replicate")[0]
            container.mux(stream.encode(_yuv(_bytes(pixels), reformatter)))
        container.mux(stream.encode(None))


def _yuv(pixels: NDArray[np.uint8], reformatter: VideoReformatter) -> av.VideoFrame:
    return reformatter.reformat(
        av.VideoFrame.from_ndarray(pixels, format="rgb24"),
        format="yuv420p",
        dst_colorspace=_BT709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_SCALING,
    )


def _bytes(picture: Float[Tensor, "3 height width"]) -> NDArray[np.uint8]:
    """The picture as `[height width 3]` bytes. Refuses another range than [0, 1], up to rounding, and NaN."""
    low, high = picture.min().item(), picture.max().item()
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(f"expected RGB in [0, 1], got values from {low:.3g} to {high:.3g}")
    scaled = picture.detach().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy())


def read_image(path: str | Path) -> Float[Tensor, "3 height width"]:
    """Read a picture as RGB in [0, 1], upright. Transparency is dropped.

    Raises:
        UnreadableImage: If it is not there, or not a picture.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):  # Pillow would clip 16-bit grey to 8 bits
                grey = torch.from_numpy(np.asarray(upright).astype(np.float32) / 65535)
                return grey.expand(3, -1, -1).contiguous()
            pixels = torch.from_numpy(np.array(upright.convert("RGB")))
    except UnidentifiedImageError:
        raise UnreadableImage(f"{path}: is not a picture, or of an unknown format") from None
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read ({error.strerror or error})") from error
    return pixels.permute(2, 0, 1).float() / 255


def write_image(path: str | Path, image: Float[Tensor, "3 height width"]) -> None:
    """Write RGB in [0, 1] as an 8-bit PNG; the file appears whole or not at all."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(png_bytes(image))


def png_bytes(image: Float[Tensor, "3 height width"]) -> bytes:
    """Encode RGB in [0, 1] as an 8-bit PNG."""
    buffer = BytesIO()
    Image.fromarray(_bytes(image)).save(buffer, format="PNG")
    return buffer.getvalue()


def jpeg_bytes(image: Float[Tensor, "3 height width"], quality: int = 85) -> bytes:
    """Encode RGB in [0, 1] as a JPEG; `quality` is Pillow's, 1 to 95."""
    buffer = BytesIO()
    Image.fromarray(_bytes(image)).save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
