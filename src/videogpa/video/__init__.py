"""Read and write videos and pictures. Only this package uses codecs.

Frames are RGB in [0, 1], float32, `[frames 3 height width]`, upright (rotation metadata is applied) and numbered in order of
presentation. Sampling is uniform in the frame's number, as in the paper (arXiv 2601.23286, 10 frames, first and last
included), also where the frame rate varies. Pixels are taken as stored: a non-square pixel aspect is not stretched.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videogpa.video.files import UnreadableVideo as UnreadableVideo
    from videogpa.video.pictures import UnreadableImage as UnreadableImage
    from videogpa.video.pictures import jpeg_bytes as jpeg_bytes
    from videogpa.video.pictures import read_image as read_image
    from videogpa.video.pictures import write_image as write_image
    from videogpa.video.reading import VideoInfo as VideoInfo
    from videogpa.video.reading import probe as probe
    from videogpa.video.reading import read_frames as read_frames
    from videogpa.video.reading import read_frames_at as read_frames_at
    from videogpa.video.reading import to_long_side as to_long_side
    from videogpa.video.sampling import sample_indices as sample_indices
    from videogpa.video.writing import write_video as write_video

_HOMES = {
    "UnreadableImage": "pictures",
    "UnreadableVideo": "files",
    "VideoInfo": "reading",
    "jpeg_bytes": "pictures",
    "probe": "reading",
    "read_frames": "reading",
    "read_frames_at": "reading",
    "read_image": "pictures",
    "sample_indices": "sampling",
    "to_long_side": "reading",
    "write_image": "pictures",
    "write_video": "writing",
}
"""Every name of this package and the module that holds it. Codecs are loaded when a name is first used."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name in _HOMES:
        return getattr(import_module(f"videogpa.video.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
