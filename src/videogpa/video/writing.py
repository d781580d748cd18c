"""Write videos that browsers play. A file appears whole or not at all, with the same bytes for the same frames."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import torch
from av.video.reformatter import ColorRange, VideoReformatter
from jaxtyping import Float
from torch import Tensor

from videogpa.storage.files import atomic_path
from videogpa.video.colours import BT709, to_yuv
from videogpa.video.pictures import to_bytes

_CRF = 12
"""x264's constant rate factor, 0 (lossless) to 51. At this one, clips read back have a PSNR of 43 to 45 dB in RGB; most of
the loss is due to yuv420p."""


def write_video(path: str | Path, frames: Float[Tensor, "frames 3 height width"], fps: int | float, *, crf: int = _CRF) -> None:
    """Write frames as an MP4 (H.264, yuv420p, BT.709) that browsers play while it loads.

    The file appears whole or not at all, and is the same, byte for byte, for the same frames. H.264 needs even sizes: an odd
    height or width grows by one, and the last row or column is repeated.

    Args:
        path: The file to write; an existing one is replaced.
        frames: RGB in [0, 1], at least one frame.
        fps: Frames per second, above 0.
        crf: x264's constant rate factor, from 0 (lossless) to 51 (smallest).

    Raises:
        ValueError: If there are no frames, they are not RGB in [0, 1], or `fps` is not above 0.
    """
    if len(frames) == 0 or fps <= 0:
        raise ValueError(f"cannot write {len(frames)} frames at {fps} per second")
    write_frames(path, iter(frames), fps, crf=crf)


def write_frames(path: str | Path, frames: Iterator[Float[Tensor, "3 height width"]], fps: int | float, *, crf: int) -> None:
    """Write frames as `write_video` does, one after the other, so that memory holds no more of them than it must.

    Args:
        path: The file to write; an existing one is replaced.
        frames: RGB in [0, 1], all of one size, at least one frame.
        fps: Frames per second, above 0.
        crf: x264's constant rate factor, from 0 (lossless) to 51 (smallest).
    """
    first = next(frames)
    height, width = first.shape[-2:]
    padding = (0, width % 2, 0, height % 2)
    rate = Fraction(fps).limit_denominator(1001)
    muxer = {"movflags": "+faststart", "fflags": "+bitexact"}
    with atomic_path(Path(path)) as temporary, av.open(f"file:{temporary}", "w", format="mp4", options=muxer) as container:
        # The number of threads changes x264's output, so it is fixed and does not depend on the machine. The macroblock tree
        # gives different bytes from run to run below 128 pixels (up to ten different files in 40 writes of a 64 x 64 clip).
        options = {"crf": str(crf), "threads": "4", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width + padding[1], height + padding[3], "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        reformatter = VideoReformatter()
        for picture in chain([first], frames):
            pixels = torch.nn.functional.pad(picture[None], padding, mode="replicate")[0]
            container.mux(stream.encode(to_yuv(to_bytes(pixels), reformatter)))
        container.mux(stream.encode(None))
