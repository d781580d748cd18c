"""A clip to be judged, from a file or in memory, and which of its frames a critic is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from videogpa.critics.base import Critic
from videogpa.records import ClipInfo, Prompt
from videogpa.video import UnreadableVideo, probe, read_frames_at, sample_indices


@dataclass(frozen=True)
class VideoSource:
    """A clip of `total` frames; `read` returns those of ascending indices."""

    total: int
    read: Callable[[Sequence[int]], Float[Tensor, "frames 3 height width"]]


@dataclass(frozen=True, eq=False)
class CriticInput:
    """The frames a critic is given, and which of them it is to judge."""

    frames: Float[Tensor, "frames 3 height width"]
    judged: tuple[int, ...]
    source: ClipInfo


def open_material(video: Path | Tensor, least: int) -> VideoSource:
    """Open a file, or a tensor [frames 3 height width] of RGB in [0, 1], of which `least` frames are to be judged.

    Raises:
        UnreadableVideo: If a file cannot be read, or has too few frames.
        ValueError: If a tensor has too few frames or values outside [0, 1].
    """
    if isinstance(video, Tensor):
        _check(video, least)
        return VideoSource(len(video), lambda indices: video[list(indices)])
    total = probe(video).frames
    if total < least:
        raise UnreadableVideo(video, f"it has {total} frames, fewer than the {least} to be judged")
    return VideoSource(total, partial(read_frames_at, video))


def _check(video: Float[Tensor, "frames 3 height width"], least: int) -> None:
    if len(video) < least:
        raise ValueError(f"the video has {len(video)} frames, fewer than the {least} to be judged")
    low, high = float(video.min()), float(video.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"expected RGB in [0, 1], got values from {low:.3g} to {high:.3g}")


def whole_footage(material: VideoSource, count: int, critic: Critic, prompt: Prompt | None) -> CriticInput:
    """Read the frames that the critic wants, evenly spread over the clip, and mark `count` of them to be judged."""
    given = min(material.total, max(count, critic.frames_to_read(count)))
    indices = sample_indices(material.total, given)
    return CriticInput(material.read(indices), tuple(sample_indices(given, count)), ClipInfo(prompt, tuple(indices)))


def window_footage(material: VideoSource, wanted: Sequence[int], critic: Critic, prompt: Prompt | None) -> CriticInput:
    """Read the frames of ascending indices `wanted`, to be judged, and between them what the critic wants besides."""
    span = wanted[-1] - wanted[0] + 1
    given = min(span, max(len(wanted), critic.frames_to_read(len(wanted))))
    between = {wanted[0] + offset for offset in sample_indices(span, given)} if given > len(wanted) else set()
    indices = sorted(between | set(wanted))
    judged = tuple(indices.index(index) for index in wanted)
    return CriticInput(material.read(indices), judged, ClipInfo(prompt, tuple(indices)))
