"""Reading a clip, a file or a tensor, and choosing the frames that a critic is given."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from videogpa.critics.base import Critic, CriticInput
from videogpa.errors import InvalidInput
from videogpa.pixels import Frames, as_frames
from videogpa.records import Scene
from videogpa.text_files import plural
from videogpa.video import UnreadableVideo, probe, read_frames_at, sample_indices

MOST_ASPECT = 16
"""How many times as long as the short side of a frame its long side may be: critics enlarge by the short one."""

STEPS = 6
"""Steps of optical flow from a judged frame to the next: motion of a few pixels each is followed."""

Video = Path | Float[Tensor, "frames 3 height width"]
"""A file, or a tensor of RGB in [0, 1]."""

Given = str | Path | Frames
"""A video as users have it: a file, or frames as `videogpa.pixels.as_frames` takes them."""


def opened(video: Given) -> Video:
    """Return a path, or the frames as float32 RGB in [0, 1].

    Raises:
        TypeError: If it is neither a path nor frames.
        ValueError: If the frames cannot be used; see `videogpa.pixels.as_frames`.
    """
    return Path(video) if isinstance(video, str | Path) else as_frames(video, "the video")


def count_frames(video: Video, least: int) -> int:
    """Return how many frames a video has, after checking that they are enough.

    Raises:
        UnreadableVideo: If a file cannot be read, or has fewer than `least` frames.
        ValueError: If a tensor has fewer than `least` frames.
    """
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
    return read_frames_at(video, indices, scale_down=True) if isinstance(video, Path) else video[list(indices)]
