"""Frames and pictures in memory, in any common form, as float32 RGB in [0, 1], upright, `[... 3 height width]`.

This is the one border for them: pictures that were read from files, and what users hand to the Python API. Layouts are told by
shapes and ranges by types, never by values: bytes are divided by 255, floats must be in [0, 1]. What is transparent is laid on
white.
"""

import struct
import warnings
import zlib
from collections.abc import Iterable, Sequence, Sized
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from videogpa.errors import InvalidInput, WrongType
from videogpa.text_files import cut

Frames = Tensor | np.ndarray | Iterable[Any]
"""Frames as users have them: `as_frames` says which forms are taken."""

FORMS = "[frames, 3, height, width] or [frames, height, width, 3] (or 1 or 4 channels), or [frames, height, width] of grey"

MOST_FRAMES = 100_000
MOST_PIXELS = 1 << 30
"""Of frames that are handed over one by one, which may never end: 12 GiB as float32."""

DECODING = (
    *(OSError, EOFError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError),
    *(MemoryError, AssertionError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow raises for pictures that are damaged or hostile."""

_CHANNELS = (1, 3, 4)  # grey, RGB, and RGB with alpha
_ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4: tag 274
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what sets the picture upright."""
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF
_WHITE_IS_ZERO = 0


def as_frames(frames: Frames, name: str = "frames", *, keep_gradient: bool = False) -> Float[Tensor, "frames 3 height width"]:
    """Return the frames of a clip as float32 RGB in [0, 1].

    Args:
        frames: A tensor or a NumPy array, `[frames, 3, height, width]` or `[frames, height, width, 3]`, with 1 (grey) or 4
            channels (alpha) in place of 3, or grey `[frames, height, width]`; or a list, a tuple or a generator of frames, each
            a picture of Pillow, a tensor or an array, all of one size. Bytes in 0 to 255, or floats of any precision in [0, 1].
        name: What they are called in messages.
        keep_gradient: Whether the result is differentiable in `frames`; else it is detached.

    Returns:
        The frames, on their own device. Grey is repeated, and what is transparent is laid on white.

    Raises:
        TypeError: If they are no frames, or their numbers are neither bytes nor floats.
        ValueError: If their shape is none of these or could be two of them, there are none, their sizes differ, or a value is
            NaN, infinite or outside [0, 1].
    """
    if isinstance(frames, Tensor | np.ndarray):
        given = _tensor(frames, name)
        if given.ndim not in (3, 4) or 0 in given.shape:
            raise InvalidInput(f"{name}: expected {FORMS}, and got {shape_text(given.shape)}")
        if given.ndim == 3 and (given.shape[0] in _CHANNELS or given.shape[2] in _CHANNELS):
            raise InvalidInput(
                f"{name}: {shape_text(given.shape)} could be one picture or grey frames: expected [frames, 3, height, width], "
                "or, of grey, [frames, 1, height, width]"
            )
    else:
        given = _stacked(_listed(frames, name), name)
    given = given if keep_gradient else given.detach()
    return _rgb(_in_range(_channels_first(given, name), name))


def picture_pixels(picture: Image.Image) -> Float[Tensor, "3 height width"]:
    """Return a picture of Pillow as float32 RGB in [0, 1], upright.

    Palettes, grey, 1 bit, CMYK and 16 bits are converted; colour profiles are not applied. What is transparent is laid on
    white.

    Raises:
        ValueError: If the range of its numbers is unknown, or its EXIF data is too damaged to tell which way is up.
        Exception: One of `DECODING`, if Pillow cannot decode it.
    """
    picture = _upright(picture)
    if picture.mode.startswith("I;16"):
        return _grey_of_16_bits(picture)
    if picture.mode == "F":
        return _grey_of_floats(np.array(picture))
    if picture.mode == "I":
        raise InvalidInput("holds integers of 32 bits, whose range is unknown: save it with 8 or 16 bits")
    if picture.mode == "La":  # Pillow has no way from it to RGBA
        picture = picture.convert("LA")
    values = torch.from_numpy(np.array(picture.convert("RGBA" if picture.has_transparency_data else "RGB")))
    return _rgb(_in_range(values.permute(2, 0, 1)[None]))[0]


def _listed(frames: object, name: str) -> list[Any]:
    """Return frames that are handed over one by one as a list; what is no frame, or never ends, is refused."""
    expected = "expected a tensor, a NumPy array, or a list of pictures or arrays"
    if isinstance(frames, Image.Image):
        raise WrongType(f"{name}: {expected}, and got a single picture")
    if not isinstance(frames, Iterable) or isinstance(frames, str | bytes | dict | set | frozenset):
        raise WrongType(f"{name}: {expected}, and got {type(frames).__name__}")
    found: list[Any] = []
    pixels = 0
    for frame in frames if isinstance(frames, Sized) else islice(frames, MOST_FRAMES + 1):
        if not isinstance(frame, Image.Image | Tensor | np.ndarray):
            raise WrongType(f"{name}: {expected}; number {len(found)} of the list is of the type {type(frame).__name__}")
        found.append(frame)
        pixels += frame.width * frame.height if isinstance(frame, Image.Image) else _count(frame) // 3
        if not isinstance(frames, Sized) and (pixels > MOST_PIXELS or len(found) > MOST_FRAMES):
            raise InvalidInput(f"{name}: after {len(found):,} frames with {pixels:,} pixels there is still more; cut the clip")
    if not found:
        raise InvalidInput(f"{name}: expected {FORMS}, and got no frame")
    return found


def _stacked(frames: Sequence[Any], name: str) -> Tensor:
    """Return single frames, pictures or arrays, as one tensor."""
    tensors = []
    for number, frame in enumerate(frames):
        if isinstance(frame, Image.Image):
            try:
                tensors.append(picture_pixels(frame))
            except DECODING as error:
                raise InvalidInput(f"{name}: the picture number {number} cannot be used: {cut(error)}") from None
        else:
            tensors.append(_tensor(frame, name))
    kinds = sorted({f"{shape_text(tensor.shape)} {_type(tensor)} on {tensor.device.type}" for tensor in tensors})
    if len(kinds) > 1:
        raise InvalidInput(f"{name}: expected frames of one shape, type and device, and got {', '.join(kinds[:4])}")
    if tensors[0].ndim not in (2, 3) or 0 in tensors[0].shape:
        raise InvalidInput(
            f"{name}: expected a list of [3, height, width] or [height, width, 3] (or 1 or 4 channels), or [height, width] of "
            f"grey, and got one of {shape_text(tensors[0].shape)}"
        )
    return torch.stack(tensors) if tensors[0].ndim == 3 else torch.stack(tensors)[:, None]


def _tensor(array: Tensor | np.ndarray, name: str) -> Tensor:
    """Return an array as a plain tensor of bytes or floats."""
    if isinstance(array, np.ma.MaskedArray):
        raise WrongType(f"{name}: expected plain numbers, and got a masked array: fill what is masked")
    if isinstance(array, np.ndarray):
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            raise WrongType(f"{name}: {_expected_numbers(str(array.dtype))}")
        native = np.ascontiguousarray(array, np.float64 if array.itemsize > 8 else array.dtype.newbyteorder("="))
        return torch.from_numpy(native if native.flags.writeable else native.copy())
    if array.layout != torch.strided or array.is_meta or array.is_nested:
        raise WrongType(f"{name}: expected a dense tensor, and got one without values or of the layout {array.layout}")
    if array.dtype != torch.uint8 and not array.dtype.is_floating_point:
        raise WrongType(f"{name}: {_expected_numbers(_type(array))}")
    return array


def _expected_numbers(got: str) -> str:
    return f"expected bytes (uint8) or floats in [0, 1], and got {got}: divide by the largest value that it can have"


def _channels_first(given: Tensor, name: str) -> Tensor:
    """Return `[frames, channels, height, width]` of 1, 3 or 4 channels."""
    if given.ndim == 3:
        return given[:, None]
    first, last = given.shape[1] in _CHANNELS, given.shape[3] in _CHANNELS
    if not first and not last:
        raise InvalidInput(f"{name}: expected {FORMS}, and got {shape_text(given.shape)}")
    if first and last:
        raise InvalidInput(
            f"{name}: the channels of {shape_text(given.shape)} could be first or last; expected {FORMS}, and no side of 1, 3 "
            "or 4 pixels"
        )
    return given if first else given.movedim(-1, 1)


def _in_range(values: Tensor, name: str = "frames") -> Tensor:
    """Return bytes and floats as float32 in [0, 1]."""
    if values.dtype == torch.uint8:
        return values.contiguous().float() / 255
    values = values.float().contiguous()
    low, high = (float(bound) for bound in values.detach().aminmax())
    if not (low >= 0 and high <= 1):  # also of NaN
        got = "NaN" if low != low or high != high else f"values from {low:.3g} to {high:.3g}"
        hint = "" if got == "NaN" else ": divide by 255" if low >= 0 and 1 < high <= 255 else ": scale them"
        raise InvalidInput(f"{name}: expected RGB in [0, 1], got {got}{hint}")
    return values


def _rgb(values: Tensor) -> Tensor:
    """Return RGB of grey, RGB, or RGB with alpha, `[frames channels height width]` in [0, 1]."""
    if values.shape[1] == 1:
        return values.expand(-1, 3, -1, -1).contiguous()
    if values.shape[1] == 4:
        color, alpha = values[:, :3], values[:, 3:]
        return color * alpha + (1 - alpha)
    return values


def _upright(picture: Image.Image) -> Image.Image:
    """Return a decoded picture, turned as its EXIF data says. Of a TIFF, Pillow has obeyed it while decoding."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        picture.load()
        try:
            orientation = picture.getexif().get(_ORIENTATION)
        except DECODING as error:
            raise InvalidInput(f"its EXIF data is damaged ({cut(error, 80)}), {_NO_WAY_UP}") from None
    if orientation is None and any("orrupt EXIF" in str(each.message) for each in told):
        raise InvalidInput(f"its EXIF data is damaged, {_NO_WAY_UP}")
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(turn)


_NO_WAY_UP = "so that nobody knows which way is up: save it again without it"


def _grey_of_16_bits(picture: Image.Image) -> Tensor:
    tags = getattr(picture, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]  # 12 in some TIFFs
    values = np.array(picture)
    grey = torch.from_numpy(values.astype(np.float32) / (2**bits - 1))
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 1 - grey
    if isinstance(see_through := picture.info.get("transparency"), int):
        grey[torch.from_numpy(values == see_through)] = 1.0
    return _rgb(grey[None, None])[0]


def _grey_of_floats(values: np.ndarray) -> Tensor:
    if not (values.min() >= 0 and values.max() <= 1):  # also of NaN
        raise InvalidInput(
            f"holds floats from {values.min():.3g} to {values.max():.3g}, whose range is unknown: save it with 8 or 16 bits"
        )
    return _rgb(torch.from_numpy(values)[None, None])[0]


def _count(array: Tensor | np.ndarray) -> int:
    return array.numel() if isinstance(array, Tensor) else array.size


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def shape_text(shape: Sequence[int | str]) -> str:
    """Return a shape for a message, such as `[9, 3, 64, 64]`."""
    return "[" + ", ".join(map(str, shape)) + "]"
