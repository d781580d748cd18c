"""Small copies of clips that a page can hold and a browser plays."""

from itertools import islice
from pathlib import Path

import torch
from torch.nn.functional import interpolate

from videogpa.storage.fingerprints import path_fingerprint
from videogpa.video import probe, read_frames_at, sample_indices, write_video

WIDTH = 320  # pixels
MOST_FRAMES = 120
_QUALITY = 30  # of x264: 49 frames of 320 pixels take about 0.1 MB
_AT_ONCE = 16  # frames in memory at their full size


def small_video(path: Path, folder: Path) -> bytes:
    """Return a small copy of a clip as MP4, which is kept in `folder`, so that it is made once.

    Args:
        path: The clip.
        folder: Where copies are kept, under the fingerprint of their clip.

    Returns:
        The bytes of an MP4 of at most `WIDTH` pixels and `MOST_FRAMES` frames, which takes as long as the clip.

    Raises:
        UnreadableVideo: If the clip cannot be read.
    """
    copy = folder / f"{path_fingerprint(path)}.mp4"
    if not copy.exists():
        info = probe(path)
        chosen = iter(sample_indices(info.frames, min(info.frames, MOST_FRAMES)))
        parts = []
        while block := list(islice(chosen, _AT_ONCE)):
            frames = read_frames_at(path, block, scale_down=True)
            scale = min(WIDTH / frames.shape[-1], 1.0)
            size = [max(round(side * scale), 2) for side in frames.shape[-2:]]
            parts.append(interpolate(frames, size, mode="area"))
        small = torch.cat(parts)
        write_video(copy, small, fps=info.fps * len(small) / info.frames, crf=_QUALITY)
    return copy.read_bytes()
