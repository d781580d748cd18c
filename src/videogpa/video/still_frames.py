"""Clips that FFmpeg does not read as one: folders of numbered pictures, and animated WebP files."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image
from torch import Tensor

from videogpa.pixels import DECODING, picture_pixels
from videogpa.text_files import cut
from videogpa.video.files import UnreadableVideo, require_file, require_frames, require_size
from videogpa.video.picture_names import NUMBERED, WEBP_HEADER, is_animated, is_frame_folder
from videogpa.video.pictures import UnreadableImage, read_image

RATE_OF_PICTURES = 25.0  # frames per second of pictures, which have none of their own


@dataclass(frozen=True)
class StillFrames:
    """Frames that are read one by one.

    `count` is their number, `rate` that per second. `read` yields the frames with the given ascending indices, RGB in [0, 1],
    `[3 height width]`.
    """

    count: int
    rate: float
    read: Callable[[Sequence[int]], Iterator[Tensor]]


def still_frames(path: Path) -> StillFrames | None:
    """Return the frames of a folder of pictures, or of an animated WebP file; None for a file that is for FFmpeg.

    Raises:
        UnreadableVideo: If the folder is no clip, or the WebP file is not animated, damaged, or larger than the budgets.
    """
    if path.is_dir():
        files = _frame_files(path)
        return StillFrames(len(files), RATE_OF_PICTURES, lambda indices: _read_files(path, [files[index] for index in indices]))
    require_file(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(WEBP_HEADER)
    except OSError as error:
        raise UnreadableVideo(path, f"may not be read ({(error.strerror or str(error)).lower()})") from None
    return _webp(path, start) if start[:4] == b"RIFF" and start[8:12] == b"WEBP" else None


def _frame_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder by their number; the numbers must go up by the same step."""
    try:
        names = [file.name for file in folder.iterdir() if not file.name.startswith(".")]
    except OSError as error:
        raise UnreadableVideo(folder, f"is a folder that may not be read ({error.strerror})") from None
    if not is_frame_folder(names):
        raise UnreadableVideo(folder, "is a folder, not a video, and not one of two or more pictures such as frame_0001.png")
    require_frames(folder, len(names))
    by_number = sorted((int(match["number"]), name) for name in names if (match := NUMBERED.fullmatch(name)))
    numbers = [number for number, _ in by_number]
    steps = Counter(after - before for before, after in pairwise(numbers))
    if len(steps) > 1 or 0 in steps:
        usual = steps.most_common(1)[0][0]
        odd = next(i for i in range(len(numbers) - 1) if numbers[i + 1] - numbers[i] != usual or usual == 0)
        raise UnreadableVideo(
            folder,
            f"has pictures numbered {numbers[odd]} and {numbers[odd + 1]} one after the other, where others are {usual} apart: "
            "a frame is missing, or there twice",
        )
    return [folder / name for _, name in by_number]


def _read_files(folder: Path, files: Sequence[Path]) -> Iterator[Tensor]:
    for file in files:
        try:
            yield read_image(file)
        except UnreadableImage as error:
            raise UnreadableVideo(folder, f"has a frame that cannot be read: {cut(error)}") from None


def _webp(path: Path, start: bytes) -> StillFrames:
    """Return the frames of a WebP file. Its header is looked at first, since its reader takes memory for the whole picture."""
    if not is_animated(start):
        raise UnreadableVideo(path, "is a still picture (WebP), not a video")
    width, height = (1 + int.from_bytes(start[at : at + 3], "little") for at in (24, 27))
    require_size(path, height, width)
    with _webp_opened(path) as image:
        count = int(getattr(image, "n_frames", 1))
        require_frames(path, count)
        _webp_frame(path, image, 0)
        milliseconds = image.info.get("duration", 0)  # known when the frame has been decoded

    def read(indices: Sequence[int]) -> Iterator[Tensor]:
        with _webp_opened(path) as image:
            for index in indices:
                yield _webp_frame(path, image, index)

    return StillFrames(count, 1000 / milliseconds if milliseconds else RATE_OF_PICTURES, read)


def _webp_opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below it
            return Image.open(path, formats=("WEBP",))
    except DECODING as error:
        raise UnreadableVideo(path, f"is a damaged WebP file ({cut(error)})") from None


def _webp_frame(path: Path, image: Image.Image, index: int) -> Tensor:
    try:
        image.seek(index)
        return picture_pixels(image)
    except DECODING as error:
        raise UnreadableVideo(path, f"is damaged: frame {index + 1} cannot be decoded ({cut(error)})") from None
