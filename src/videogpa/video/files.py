"""Open a file's video stream, list its frames without decoding, and report what makes a file unusable.

This is the border to files of unknown origin: only regular files are opened, only in formats that hold their own frames, and
only if what they declare is within a budget.
"""

import codecs
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import av

from videogpa.errors import UserError
from videogpa.text_files import kind_of_bytes, plural

FORMATS = (
    *(
        "mov",
        "mp4",
        "m4a",
        "3gp",
        "3g2",
        "mj2",
        "matroska",
        "webm",
        "avi",
        "gif",
        "apng",
        "flv",
        "asf",
        "ogg",
        "rm",
        "mxf",
        "nut",
    ),
    *("mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "vvc", "av1", "obu", "ivf", "dv", "mjpeg", "yuv4mpegpipe"),
)
"""FFmpeg's names of the formats that are read. None of them is a list of other files (hls, concat, dash, sdp, image2, ...)."""

MOST_PIXELS = 40_000_000
"""Pixels of a frame: 8192 x 4320 has 35 million. Every decoder in use and every step after it takes a multiple of them."""

MOST_FRAMES = 1_000_000
"""Frames of a clip: eleven hours at 25 a second."""

_LARGE = 1920 * 1080  # pixels; larger frames are decoded on few threads, each of which holds frames of its own
_THREADS = 4
_BEGINNINGS = (
    (b"#EXTM3U", "is a playlist (HLS, M3U)"),
    (b"ffconcat", "is a list of other files (of FFmpeg's concat)"),
    (b"[playlist]", "is a playlist (PLS)"),
    (b"v=0", "describes a stream on a network (SDP)"),
    (b"<?xml", "is an XML text, such as a playlist (DASH, XSPF)"),
)
"""What lists of other files begin with, in either case of letters, and what they then are."""


class UnreadableVideo(UserError):  # noqa: N818 - a finding about the file, not an error of the program
    """A file cannot be used as a video. The message names the file and the cause; `reason` is the cause alone."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file's main video stream for a `with` block.

    Args:
        path: The file; it is never fetched over the network, and no other file is opened because of what it holds.

    Yields:
        PyAV's container and its main video stream. A cover picture in a music file does not count as a video stream.

    Raises:
        UnreadableVideo: If the file is missing, empty, no regular file, of a format that is not in `FORMATS`, without a video
            stream that FFmpeg can decode, or declares more than `MOST_PIXELS` or `MOST_FRAMES`; or if FFmpeg reports any error
            before the block ends.
    """
    require_file(path)
    # "file:" and the first list ensure that neither a colon in the name nor a playlist's content leads to the network.
    limits = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS), "max_pixels": str(MOST_PIXELS)}
    try:
        with av.open(f"file:{path}", options=limits, metadata_errors="replace") as container:
            stream = _main_stream(path, container)
            _require_budget(path, stream)
            stream.codec_context.options = {"max_pixels": limits["max_pixels"]}
            stream.thread_type = "AUTO"
            if stream.width * stream.height > _LARGE:
                stream.codec_context.thread_count = min(os.cpu_count() or 1, _THREADS)
            yield container, stream
    except av.FFmpegError as error:
        raise UnreadableVideo(path, _explain(path, error)) from error


def require_file(path: Path) -> None:
    """Refuse what is no regular file with something in it, without opening it: a pipe would be waited for.

    Raises:
        UnreadableVideo: If there is none at the path.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise UnreadableVideo(path, "there is no such file") from None
    except (OSError, ValueError) as error:  # a loop of links, no permission to look into its folder, a NUL character
        raise UnreadableVideo(path, f"cannot be read ({getattr(error, 'strerror', error)})") from None
    if stat.S_ISDIR(found.st_mode):
        raise UnreadableVideo(path, "is a folder, not a video")
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableVideo(path, "is a pipe, a device or a socket, not a video")
    if found.st_size == 0:
        raise UnreadableVideo(path, "is empty (0 bytes)")


def require_size(path: Path, height: int, width: int) -> None:
    """Refuse frames of more pixels than `MOST_PIXELS`, before memory is taken for them.

    Raises:
        UnreadableVideo: If they have more, or none.
    """
    if not 0 < height * width <= MOST_PIXELS:
        size = (
            f"frames of {width:,} x {height:,} pixels" if height * width else "no size of its frames, or one beyond the limit"
        )
        raise UnreadableVideo(path, f"declares {size}; the most are {MOST_PIXELS:,} pixels a frame")


def require_frames(path: Path, count: int) -> None:
    """Refuse more frames than `MOST_FRAMES`.

    Raises:
        UnreadableVideo: If there are more.
    """
    if count > MOST_FRAMES:
        raise UnreadableVideo(path, f"declares {plural(count, 'frame')}; the most are {MOST_FRAMES:,}")


def _require_budget(path: Path, stream: Any) -> None:
    require_size(path, stream.height, stream.width)
    require_frames(path, stream.frames)


def _explain(path: Path, error: av.FFmpegError) -> str:
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    start = _start(path)
    for beginning, kind in _BEGINNINGS:
        if start.lower().startswith(beginning.lower()):
            return f"{kind}, which is not read: give the videos themselves"
    known = kind_of_bytes(start)
    if known is not None and "video" not in known:
        hint = ": numbered pictures are a clip as a folder" if known.startswith("a picture") else ""
        return f"is {known}, not a video{hint}"
    if isinstance(error, av.ArgumentError):
        return "is not a video of a format that is read (MP4, Matroska, WebM, AVI, GIF, ...)"
    if not isinstance(error, av.InvalidDataError):
        return f"cannot be read ({error.strerror})"
    return _TRUNCATED_MP4 if _is_mp4(path) else "is not a video, or is damaged (no known format fits its data)"


_TRUNCATED_MP4 = "is truncated or damaged: an MP4 whose index cannot be read"


def _is_mp4(path: Path) -> bool:
    return _start(path)[4:8] == b"ftyp"


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(64).removeprefix(codecs.BOM_UTF8).lstrip()
    except OSError:
        return b""


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
class Timeline:
    """The frames of a stream that are shown, listed from its packets without decoding."""

    packets: list[tuple[int | None, bool]]
    """One (presentation time, whether it is a keyframe) per frame, in order of decoding; times are in units of `time_base`."""
    time_base: Fraction
    """The unit of all times, in seconds."""

    @cached_property
    def times(self) -> list[int]:
        """The presentation times in order; the list is empty if packets lack distinct times (raw streams, some AVI)."""
        times = [time for time, _ in self.packets if time is not None]
        return sorted(times) if len(set(times)) == len(self.packets) else []

    @cached_property
    def position(self) -> dict[int | None, int]:
        """The place of each presentation time in the order of decoding, from 0."""
        return {time: i for i, (time, _) in enumerate(self.packets)}

    def start_for(self, time: int) -> int | None:
        """Return the time of the last keyframe shown at `time` or before; None if there is no such keyframe.

        A frame shown at or after that keyframe needs no older frame to be decoded. This holds for open groups of pictures too,
        where frames that are decoded after the keyframe but shown before it do need older ones.
        """
        after = bisect_right(self._keyframes, time)
        return self._keyframes[after - 1] if after else None

    @cached_property
    def _keyframes(self) -> list[int]:
        return sorted(time for time, is_key in self.packets if is_key and time is not None)


def timeline_of(path: Path) -> Timeline:
    """List the frames of a file from its packets, without decoding any.

    Args:
        path: The video file; it is read to its end.

    Raises:
        UnreadableVideo: If the file cannot be opened as a video, or a part of it is missing or damaged.
    """
    with opened(path) as (container, stream):
        packets: list[tuple[int | None, bool]] = []
        found, end = 0, 0.0
        for packet in container.demux():
            if packet.size == 0:  # this is the flush at the end, or AVI's mark that the picture repeats
                continue
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == stream.index:
                if packet.is_corrupt:
                    raise UnreadableVideo(path, f"is truncated or damaged after {plural(found, 'frame')}")
                found += 1
                require_frames(path, found)
                if not packet.is_discard:  # an edit list cuts away discarded frames
                    packets.append((packet.pts, packet.is_keyframe))
        if found < len(stream.index_entries):
            raise UnreadableVideo(path, f"is truncated: its index lists {len(stream.index_entries)} frames, {found} are there")
        _refuse_early_end(path, container, end)
        return Timeline(packets, stream.time_base)


def _refuse_early_end(path: Path, container: Any, end: float) -> None:
    """Refuse a Matroska or WebM file whose last packet ends more than 0.25 s before the declared duration: it was cut off.

    These formats have no index of all frames against which the packets could be counted. `end` is in seconds.
    """
    if "matroska" not in container.format.name or container.duration is None:
        return
    declared = container.duration / av.time_base + min(container.start_time or 0, 0) / av.time_base
    if end < declared - 0.25:
        raise UnreadableVideo(path, f"is truncated: {declared:.2f} s long by its header, {end:.2f} s are there")
