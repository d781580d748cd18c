"""Reading a clip, a file or a tensor, and choosing the frames that a critic is given."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from videogpa.critics.base import Critic, CriticInput
from videogpa.records import Scene
from videogpa.text_files import plural
from videogpa.video import UnreadableVideo, probe, read_frames_at, sample_indices

MOST_ASPECT = 16
"""How many times as long as the short side of a frame its long side may be: critics enlarge by the short one."""

Video = Path | Float[Tensor, "frames 3 height width"]
"""A file, or a tensor of RGB in [0, 1]."""


def count_frames(video: Video, least: int) -> int:
    """Return how many frames a video has, after checking that they are enough and, of a tensor, that they are RGB in [0, 1].

    Raises:
        UnreadableVideo: If a file cannot be read, or has fewer than `least` frames.
        ValueError: If a tensor has fewer than `least` frames, or values outside [0, 1].
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
        raise ValueError(f"the video has {len(video)} frames, fewer than the {least} to be judged")
    low, high = float(video.min()), float(video.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"expected RGB in [0, 1], got values from {low:.3g} to {high:.3g}")
    return len(video)


def read_clip(video: Video, total: int, count: int, critic: Critic, scene: Scene | None = None) -> CriticInput:
    """Read what a critic needs in order to reconstruct `count` frames, evenly spread over a video of `total`, in one pass.

    Raises:
        UnreadableVideo: If a file cannot be read.
    """
    given = min(total, max(count, critic.frames_to_read(count)))
    indices = sample_indices(total, given)
    return CriticInput(_read(video, indices), tuple(sample_indices(given, count)), scene, tuple(indices))


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
    return CriticInput(_read(video, indices), judged, scene, tuple(indices))


def _read(video: Video, indices: Sequence[int]) -> Float[Tensor, "chosen 3 height width"]:
    """Files of 4K and larger would take gigabytes: their frames are scaled down as they are decoded. Critics work at less."""
    return read_frames_at(video, indices, scale_down=True) if isinstance(video, Path) else video[list(indices)]
