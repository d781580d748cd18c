"""Read and write videos and pictures. Only this package uses codecs.

Frames are RGB in [0, 1], float32, `[frames 3 height width]`, upright (rotation metadata is applied) and numbered in order of
presentation. Sampling is uniform in the frame's number, as in the paper (arXiv 2601.23286, 10 frames, first and last
included), also where the frame rate varies. Pixels are taken as stored: a non-square pixel aspect is not stretched.
"""

from videogpa.video.files import UnreadableVideo
from videogpa.video.pictures import UnreadableImage, jpeg_bytes, read_image, write_image
from videogpa.video.reading import VideoInfo, probe, read_frames, read_frames_at, sample_indices
from videogpa.video.writing import write_video

__all__ = [
    "UnreadableImage",
    "UnreadableVideo",
    "VideoInfo",
    "jpeg_bytes",
    "probe",
    "read_frames",
    "read_frames_at",
    "read_image",
    "sample_indices",
    "write_image",
    "write_video",
]
