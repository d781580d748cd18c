"""Read single pictures from files, and write them to files and to bytes."""

import stat
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.pixels import DECODING, picture_pixels
from videogpa.storage.files import atomic_path
from videogpa.text_files import cut, kind_of_bytes, path_errors, shown

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""The formats that are read, as Pillow calls them. Others may start programs, such as Ghostscript for EPS."""

MOST_PIXELS = 1 << 26
"""The most pixels of a picture: 8192 x 8192, which take 0.8 GB as float32."""

MOST_BYTES = 1 << 29
"""The most bytes of a picture file: `MOST_PIXELS` of 16-bit RGBA without compression."""

_TILE_WIDTH, _TILE_HEIGHT, _SUBFILE_TYPE = 322, 323, 254  # tags of TIFF
_HEIC = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
_OTHERS = (
    (b"%!PS", "a PostScript file (EPS)"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file (EPS)"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"<svg", "a vector graphic (SVG)"),
    (b"<?xml", "a file of XML, such as a vector graphic (SVG)"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 picture"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"II\x2a\x00", "a TIFF picture of an unusual kind or a raw photo"),
    (b"MM\x00\x2a", "a TIFF picture of an unusual kind or a raw photo"),
)
"""Beginnings of files that are taken for pictures, and what they are."""


class UnreadableImage(UserError):  # noqa: N818 - a finding about the file
    """A file cannot be used as a picture. The message names the file and the cause."""


def read_image(path: str | Path) -> Float[Tensor, "3 height width"]:
    """Read a picture as RGB in [0, 1], upright; of an animation or several pages the first one.

    Nothing but `FORMATS` is tried, whatever the file is called, and sizes are checked before anything is decoded.

    Args:
        path: A picture file. 16-bit grey keeps its precision; what is transparent is laid on white.

    Raises:
        UnreadableImage: If the file does not exist, is no regular file, cannot be read, is not a picture of `FORMATS`, or is
            damaged or larger than `MOST_PIXELS`.
    """
    path = Path(path)
    _refuse_other_files(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is an error below, or harmless
            return _decoded(path)
    except UnidentifiedImageError:
        raise UnreadableImage(f"{shown(path)}: {_kind(path)}") from None
    except Image.DecompressionBombError:
        raise UnreadableImage(f"{shown(path)}: has more pixels than {MOST_PIXELS:,}, the most: make it smaller") from None
    except InvalidInput as error:
        raise UnreadableImage(f"{shown(path)}: {error}") from None
    except DECODING as error:
        raise UnreadableImage(f"{shown(path)}: cannot be read, since it is damaged or truncated ({cut(error)})") from None


def _refuse_other_files(path: Path) -> None:
    try:
        with path_errors(path, missing=f"{shown(path)}: cannot be read (No such file or directory)"):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                path.open("rb").close()
    except (InvalidInput, MissingInput) as error:
        raise UnreadableImage(str(error)) from None
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImage(f"{shown(path)}: is a folder, not a picture")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage(f"{shown(path)}: is a pipe, a device or a socket, not a picture")
    if not status.st_size:
        raise UnreadableImage(f"{shown(path)}: is empty (0 bytes)")
    if status.st_size > MOST_BYTES:
        raise UnreadableImage(f"{shown(path)}: has {status.st_size:,} bytes, and a picture may have {MOST_BYTES:,}")


def _decoded(path: Path) -> Float[Tensor, "3 height width"]:
    Image.init()  # else Pillow knows some of its formats only after a failure
    with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as picture:
        width, height = picture.size
        tags = getattr(picture, "tag_v2", {})
        if max(width * height, tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0)) > MOST_PIXELS:
            raise InvalidInput(f"has {width} x {height} pixels, and {MOST_PIXELS:,} is the most: make it smaller")
        if tags.get(_SUBFILE_TYPE, 0) & 1:  # TIFF 6.0, section 8: "a reduced-resolution version of another image in this file"
            raise InvalidInput("is a raw photo of which only a preview could be read: export it as PNG or JPEG")
        return picture_pixels(picture)


def _kind(path: Path) -> str:
    """Return what a file is that is no picture of `FORMATS`, and what to do."""
    with path.open("rb") as stream:
        beginning = stream.read(64)
    if beginning[4:8] == b"ftyp" and beginning[8:12] in _HEIC:
        return "is a HEIC picture, which is not read: convert it, for instance with `heif-convert PHOTO.heic PHOTO.jpg`"
    for start, kind in _OTHERS:
        if beginning.lstrip().startswith(start):
            return f"is {kind}, which is not read: export it as PNG or JPEG"
    known = kind_of_bytes(beginning)
    if known is None:
        return f"is not a picture, or of an unknown format; {', '.join(FORMATS)} are read"
    if known.startswith("a picture"):
        return f"is {known} that is damaged, or of a kind that is not read"
    return f"is no picture but {known}"


def write_image(path: str | Path, image: Float[Tensor, "3 height width"]) -> None:
    """Write a picture as an 8-bit PNG; the file appears whole or not at all.

    Args:
        path: The file to write; an existing one is replaced.
        image: RGB in [0, 1].

    Raises:
        ValueError: If a value is outside [0, 1] by more than rounding, or NaN.
    """
    with atomic_path(Path(path)) as temporary:
        Image.fromarray(to_bytes(image)).save(temporary, format="PNG")


def jpeg_bytes(image: Float[Tensor, "3 height width"], quality: int = 85) -> bytes:
    """Encode a picture as a JPEG.

    Args:
        image: RGB in [0, 1].
        quality: Pillow's JPEG quality, 1 (worst) to 95 (best).

    Raises:
        ValueError: If a value is outside [0, 1] by more than rounding, or NaN.
    """
    buffer = BytesIO()
    Image.fromarray(to_bytes(image)).save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def to_bytes(picture: Float[Tensor, "3 height width"]) -> NDArray[np.uint8]:
    """Return a picture, RGB in [0, 1], as bytes `[height width 3]`.

    Raises:
        ValueError: If a value is outside [0, 1] by more than 0.001, or NaN.
    """
    low, high = picture.min().item(), picture.max().item()
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(f"expected RGB in [0, 1], got values from {low:.3g} to {high:.3g}")
    scaled = picture.detach().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy())
