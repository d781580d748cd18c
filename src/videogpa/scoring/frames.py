"""Reading a clip, a file or a tensor, and choosing the frames that a critic is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from videogpa.critics.base import Critic, CriticInput, ReconstructionFailed
from videogpa.errors import InvalidInput
from videogpa.pixels import Frames, as_frames
from videogpa.records import Scene
from videogpa.text_files import plural
from videogpa.video import UnreadableVideo, probe, read_frames_at, sample_indices, to_long_side

MOST_ASPECT = 16
"""How many times as long as the short side of a frame its long side may be: critics enlarge by the short one."""

STEPS = 6
"""Steps of optical flow from a judged frame to the next: motion of a few pixels each is followed."""


@dataclass(frozen=True)
class Shot:
    """Consecutive frames of a file, which are scored like a clip of their own."""

    path: Path
    frames: range
    """Their indices in the file. The first of them is frame 0 of the clip."""


Video = Path | Shot | Float[Tensor, "frames 3 height width"]
"""A file, a part of one, or a tensor of RGB in [0, 1]."""

Given = str | Path | Shot | Frames
"""A video as users have it: a file, a part of one, or frames as `videogpa.pixels.as_frames` takes them."""


def opened(video: Given) -> Video:
    """Return a path, the part of a file, or the frames as float32 RGB in [0, 1].

    Raises:
        TypeError: If it is neither a path nor frames.
        ValueError: If the frames cannot be used; see `videogpa.pixels.as_frames`.
    """
    if isinstance(video, Shot):
        return video
    return Path(video) if isinstance(video, str | Path) else as_frames(video, "the video")


def count_frames(video: Video, least: int) -> int:
    """Return how many frames a video has, after checking that they are enough.

    Raises:
        UnreadableVideo: If a file cannot be read, or has fewer than `least` frames.
        ReconstructionFailed: If a shot has fewer than `least` frames.
        ValueError: If a tensor has fewer than `least` frames.
    """
    if isinstance(video, Shot):
        count_frames(video.path, 1)
        if len(video.frames) < least:
            raise ReconstructionFailed(
                f"the shot has {plural(len(video.frames), 'frame')}, fewer than the {least} to be judged"
            )
        return len(video.frames)
    if isinstance(video, Path):
        found = probe(video)
        if found.frames < least:
            raise UnreadableVideo(video, f"it has {plural(found.frames, 'frame')}, fewer than the {least} to be judged")
        if max(found.height, found.width) > MOST_ASPECT * min(found.height, found.width):
            size = f"{found.width:,} x {found.height:,} pixels"
            raise UnreadableVideo(video, f"it has frames of {size}; one side may be {MOST_ASPECT} times as long as the other")
        return found.frames
    if len(video) < least:
        raise InvalidInput(f"the video has {plural(len(video), 'frame')}, fewer than the {least} to be judged")
    return len(video)


def read_clip(video: Video, total: int, count: int, critic: Critic, scene: Scene | None = None) -> CriticInput:
    """Read what a critic needs in order to reconstruct `count` frames, evenly spread over a video of `total`, in one pass.

    Raises:
        UnreadableVideo: If a file cannot be read.
    """
    given = min(total, max(count, critic.frames_to_read(count)))
    indices = sample_indices(total, given)
    return CriticInput(read_at(video, indices), tuple(sample_indices(given, count)), scene, tuple(indices))


def read_window(video: Video, wanted: Sequence[int], critic: Critic, scene: Scene | None = None) -> CriticInput:
    """Read the frames of ascending indices `wanted`, to be judged, and between them what the critic reads besides.

    Raises:
        UnreadableVideo: If a file cannot be read.
    """
    span = wanted[-1] - wanted[0] + 1
    given = min(span, max(len(wanted), critic.frames_to_read(len(wanted))))
    between = {wanted[0] + offset for offset in sample_indices(span, given)} if given > len(wanted) else set()
    indices = sorted(between | set(wanted))
    judged = tuple(indices.index(index) for index in wanted)
    return CriticInput(read_at(video, indices), judged, scene, tuple(indices))


def read_between(video: Video, total: int, clip: CriticInput) -> tuple[Float[Tensor, "frames 3 height width"], tuple[int, ...]]:
    """Read what the optical flow looks at: the frames that the critic is given, and others between them.

    Returns:
        The frames, and the index of each in the video: up to `STEPS` from a judged frame to the next.

    Raises:
        UnreadableVideo: If a file cannot be read.
    """
    given = clip.frame_indices or tuple(range(total))
    between = sample_indices(total, min(total, STEPS * (len(clip.judged) - 1) + 1))
    indices = sorted({*given, *between})
    return read_at(video, indices), tuple(indices)


def read_at(video: Video, indices: Sequence[int]) -> Float[Tensor, "chosen 3 height width"]:
    """Return frames of ascending indices.

    Files of 4K and larger would take gigabytes: their frames are scaled down as they are decoded. Critics work at less.

    Raises:
        UnreadableVideo: If a file cannot be read.
    """
    source, indices = _in_file(video, indices)
    return read_frames_at(source, indices, scale_down=True) if isinstance(source, Path) else source[indices]


def read_small(video: Video, indices: Sequence[int], long_side: int) -> Float[Tensor, "chosen 3 small_height small_width"]:
    """Return frames of ascending indices with a long side of so many pixels or fewer; those of files are never all large.

    Raises:
        UnreadableVideo: If a file cannot be read.
    """
    source, indices = _in_file(video, indices)
    if isinstance(source, Path):
        return read_frames_at(source, indices, long_side=long_side)
    return to_long_side(source[indices], long_side)


def rate_of(video: Video, otherwise: float) -> float:
    """Return the frames a second of a file; that of a tensor is not known."""
    source, _ = _in_file(video, ())
    return probe(source).fps if isinstance(source, Path) else otherwise


def _in_file(video: Video, indices: Sequence[int]) -> tuple[Path | Float[Tensor, "frames 3 height width"], list[int]]:
    """Return the file or the tensor that holds frames of a video, and their indices there."""
    if isinstance(video, Shot):
        return video.path, [video.frames[index] for index in indices]
    return video, list(indices)
