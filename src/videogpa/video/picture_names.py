"""Which folders and files of pictures are clips, by their names and first bytes. Nothing here decodes a picture."""

import re
from collections.abc import Sequence
from pathlib import Path

NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>[0-9]{1,18})\.(?P<suffix>png|jpe?g)", re.IGNORECASE | re.DOTALL)
"""Names of pictures that are frames of a clip: frame_0001.png."""

_A_PICTURE = re.compile(r".*\.(png|jpe?g)", re.IGNORECASE | re.DOTALL)
WEBP_HEADER, _ANIMATED = 30, 2  # bytes of a WebP file's header, and a bit of its flags


def is_frame_folder(names: Sequence[str]) -> bool:
    """Return whether a folder whose files have these names, none of them a video, is a clip of pictures.

    It is if it has two or more PNG or JPEG files, all of them named alike but for their number.
    """
    pictures = [name for name in names if _A_PICTURE.fullmatch(name)]
    numbered = [match for name in pictures if (match := NUMBERED.fullmatch(name))]
    return 2 <= len(pictures) == len(numbered) and len({match["before"] for match in numbered}) == 1


def is_still_picture(path: Path) -> bool:
    """Return whether a WebP or AVIF file holds a single picture, by its first bytes. Other files do not; no pipe is opened."""
    if path.suffix.lower() not in (".webp", ".avif") or not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError:  # its row says so
        return False
    if start[8:12] == b"WEBP":
        return not is_animated(start)
    return start[4:8] == b"ftyp" and b"avif" in start and b"avis" not in start


def is_picture(path: Path) -> bool:
    """Return whether a file is a single picture, by its ending, and of WebP and AVIF by its first bytes."""
    return path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff") or is_still_picture(path)


def is_animated(start: bytes) -> bool:
    """Return whether a WebP file, given its first bytes, says that it has several frames."""
    return start[12:16] == b"VP8X" and len(start) >= WEBP_HEADER and bool(start[20] & _ANIMATED)
