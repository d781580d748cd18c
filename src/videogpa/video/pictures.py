"""Read single pictures from files, and write them to files and to bytes."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from videogpa.errors import UserError
from videogpa.storage.files import atomic_path


class UnreadableImage(UserError):  # noqa: N818 - a finding about the file
    """A file cannot be used as a picture. The message names the file and the cause."""


def read_image(path: str | Path) -> Float[Tensor, "3 height width"]:
    """Read a picture as RGB in [0, 1], upright. Transparency is dropped.

    Args:
        path: A picture file in any format that Pillow reads; 16-bit grey keeps its precision.

    Raises:
        UnreadableImage: If the file does not exist, cannot be read, or is not a picture.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):  # Pillow's conversion to RGB would clip 16-bit grey to 8 bits
                grey = torch.from_numpy(np.asarray(upright).astype(np.float32) / 65535)
                return grey.expand(3, -1, -1).contiguous()
            pixels = torch.from_numpy(np.array(upright.convert("RGB")))
    except UnidentifiedImageError:
        raise UnreadableImage(f"{path}: is not a picture, or of an unknown format") from None
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read ({error.strerror or error})") from error
    return pixels.permute(2, 0, 1).float() / 255


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
