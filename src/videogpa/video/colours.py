"""Convert decoded frames to upright RGB by their tagged colour matrix, range and rotation, and RGB to yuv420p for H.264."""

from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from videogpa.video.files import UnreadableVideo

# These are SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_ACCURATE_RND, by value since PyAV 17 has no names
# for them. Without them swscale takes a fast path that is off by up to 3/255 and repeats chroma instead of interpolating it.
_SCALING = 4 | 1 << 13 | 1 << 14 | 1 << 18

# The colour matrices have the same numbers in a stream's tag (AVColorSpace) and in swscale (SWS_CS_*), except for BT.2020,
# which has two tags. An untagged file counts as BT.601, whatever its size: FFmpeg, OpenCV, decord and imageio read it so, and
# the untagged files of diffusers' `export_to_video` were written so.
BT709, BT601 = 1, 5
_MATRICES = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> Tensor:
    """Convert a decoded frame to RGB by the colour matrix and range that it is tagged with.

    Args:
        frame: The decoded frame, in any pixel format.
        reformatter: The converter; one serves for all frames of a video.

    Returns:
        The picture as stored, not yet upright: uint8, `[3 height width]`.
    """
    full_range = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    planar = reformatter.reformat(
        frame,
        format="gbrp",  # four times as fast as rgb24 at these flags
        src_colorspace=_MATRICES.get(int(frame.colorspace), BT601),
        src_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_SCALING,
    )
    green, blue, red = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in planar.planes
    )
    return torch.from_numpy(np.stack([red, green, blue]))


def orientation_of(path: Path, frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Return how to set a frame upright, from its display matrix.

    The display matrix (ISO/IEC 14496-12, 6.2.2) sends the stored (x, y) to (a x + c y, b x + d y).

    Args:
        path: The file, for error messages.
        frame: The decoded frame with its side data.

    Returns:
        Three flags for operations in this order: transpose, mirror left-right, mirror top-bottom.

    Raises:
        UnreadableVideo: If the rotation is not a multiple of 90 degrees.
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


def set_upright(picture: Tensor, orientation: tuple[bool, bool, bool]) -> Tensor:
    """Set a picture `[3 height width]` upright, given the flags that `orientation_of` returned for its frame."""
    transpose, mirror, flip = orientation
    picture = picture.transpose(-1, -2) if transpose else picture
    axes = [axis for axis, mirrored in ((-1, mirror), (-2, flip)) if mirrored]
    return picture.flip(axes) if axes else picture


def to_yuv(pixels: NDArray[np.uint8], reformatter: VideoReformatter) -> av.VideoFrame:
    """Convert RGB bytes `[height width 3]` to yuv420p, BT.709, limited range."""
    return reformatter.reformat(
        av.VideoFrame.from_ndarray(pixels, format="rgb24"),
        format="yuv420p",
        dst_colorspace=BT709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_SCALING,
    )
