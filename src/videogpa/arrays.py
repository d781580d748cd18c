"""Check and convert the arrays that users pass in. Every error message states what was expected and what was given."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.errors import InvalidInput, WrongType
from videogpa.pixels import Frames, as_frames, shape_text

Array = Tensor | np.ndarray | Sequence[Any]
"""An array that a user passes in. A NumPy array becomes a float32 tensor on the CPU, a tensor one on its own device; a list is
one of arrays, or of numbers in lists."""

RIGID_TOLERANCE = 1e-3  # largest deviation of a rotation from orthonormal: float16 rounds by half of that


def as_floats(name: str, array: Array, shape: tuple[int | None, ...], *, low: float | None = None) -> Tensor:
    """Return an array as a float32 tensor, after checking its type, its shape and its values.

    Args:
        name: The array's name in error messages.
        array: A NumPy array or a tensor of floats of any precision, or a list of such or of numbers.
        shape: The expected shape; None stands for an axis of any length.
        low: The least value allowed; None allows all finite values.

    Raises:
        TypeError: If the argument is not an array of floats.
        ValueError: If the shape differs from the expected one, or a value is not finite or is below `low`.
    """
    tensor = _as_tensor(name, array)
    if not tensor.is_floating_point():
        raise WrongType(f"{name}: expected floats, got {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, tensor.shape, strict=True)):
        raise InvalidInput(f"{name}: expected shape {_shape(shape)}, got {_shape(tuple(tensor.shape))}")
    tensor = tensor.detach().float()
    if not bool(tensor.isfinite().all()):
        raise InvalidInput(f"{name}: expected finite numbers, got NaN or Inf; an unknown depth is 0")
    if low is not None and tensor.numel() and float(tensor.min()) < low:
        raise InvalidInput(f"{name}: expected values of {low:g} or more, got {float(tensor.min()):.3g}")
    return tensor


def as_images(array: Frames) -> Float[Tensor, "frames 3 height width"]:
    """Return images as `pixels.as_frames` does; they are called "images" in messages."""
    return as_frames(array, "images")


def as_maps(name: str, array: Array, shape: tuple[int, int, int]) -> Tensor:
    """Return one number of 0 or more for each pixel, float32 `[frames height width]`. An axis of one channel is dropped.

    Raises:
        TypeError: If the values are not floats.
        ValueError: If the shape differs from the expected one, or a value is negative or not finite.
    """
    tensor = _as_tensor(name, array)
    frames, height, width = shape
    if tuple(tensor.shape) in ((frames, 1, height, width), (frames, height, width, 1)):
        tensor = tensor.reshape(shape)
    return as_floats(name, tensor, shape, low=0.0)


def as_intrinsics(array: Array, frames: int) -> Float[Tensor, "frames 3 3"]:
    """Return camera matrices as a float32 tensor.

    Args:
        array: The matrices [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels, `[frames 3 3]`.
        frames: The expected number of matrices.

    Raises:
        TypeError: If the values are not floats.
        ValueError: If the shape differs from the expected one, or a matrix has fx or fy not above 0 or another last row.
    """
    matrices = as_floats("intrinsics", array, (frames, 3, 3))
    focal = matrices[:, (0, 1), (0, 1)]
    last = matrices.new_tensor([0.0, 0.0, 1.0])
    if not bool((focal > 0).all()) or not bool((matrices[:, 2] == last).all()):
        raise InvalidInput("intrinsics: expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels, with fx and fy above 0")
    return matrices


def as_poses(array: Array, frames: int) -> Float[Tensor, "frames 4 4"]:
    """Return rigid transforms as a float32 tensor.

    Args:
        array: `camera_from_world` of every frame, `[frames 4 4]`.
        frames: The expected number of transforms.

    Raises:
        TypeError: If the values are not floats.
        ValueError: If the shape differs from the expected one, or a matrix is not a rotation (orthonormal within
            `RIGID_TOLERANCE`, determinant 1) and a translation with the last row [0, 0, 0, 1].
    """
    poses = as_floats("camera_from_world", array, (frames, 4, 4))
    rotation, last = poses[:, :3, :3], poses.new_tensor([0.0, 0.0, 0.0, 1.0])
    if not frames:
        return poses
    error = float((rotation @ rotation.mT - torch.eye(3).to(poses)).abs().max())
    determinant = float(torch.linalg.det(rotation).min())
    if error > RIGID_TOLERANCE or determinant < 0 or not bool((poses[:, 3] == last).all()):
        raise InvalidInput(
            "camera_from_world: expected a rotation (determinant 1), a translation and the last row [0, 0, 0, 1]; "
            f"got a matrix {error:.2g} off orthonormal, with determinant {determinant:.3g}"
        )
    return poses


def require_tensors(parts: Mapping[str, Any]) -> None:
    """Refuse parts of a reconstruction, by name, that are not float32 tensors or do not fit its images.

    Raises:
        TypeError: If one is something else. `points` may be None.
        ValueError: If one has another shape.
    """
    images = parts["images"]
    frames, _, height, width = images.shape if getattr(images, "ndim", 0) == 4 else (0, 0, 0, 0)
    maps = frames, height, width
    shapes = {
        "images": (frames, 3, height, width),
        "depth": maps,
        "confidence": maps,
        "intrinsics": (frames, 3, 3),
        "camera_from_world": (frames, 4, 4),
        "points": (*maps, 3),
    }
    for name, shape in shapes.items():
        value = parts[name]
        if name == "points" and value is None:
            continue
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
            raise WrongType(
                f"{name}: expected a tensor of float32, got {kind}; Reconstruction.from_arrays converts what can be"
            )
        if tuple(value.shape) != shape:
            raise InvalidInput(f"{name}: expected shape {_shape(shape)}, got {_shape(tuple(value.shape))}")


def _as_tensor(name: str, array: Array) -> Tensor:
    """Return an array, or a list of arrays or numbers, as a tensor of its own type."""
    if isinstance(array, list | tuple):
        array = _joined(name, array)
    if isinstance(array, Tensor) and array.layout == torch.strided and not array.is_meta:
        return array
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise WrongType(f"{name}: expected a NumPy array, a dense tensor or lists of numbers, got {type(array).__name__}")
    if array.dtype.kind not in "fiub":
        raise WrongType(f"{name}: expected floats, got {array.dtype}")
    wide = array.dtype.kind == "f" and array.itemsize > 8
    native = np.ascontiguousarray(array, np.float64 if wide else array.dtype.newbyteorder("="))
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def _joined(name: str, parts: Sequence[Any]) -> Tensor | np.ndarray:
    """Return a list of arrays as one array, or lists of numbers as one of float64."""
    if not parts:
        raise InvalidInput(f"{name}: expected an array, and got an empty list")
    if any(isinstance(part, Tensor | np.ndarray) for part in parts):
        tensors = [_as_tensor(f"{name}[{number}]", part) for number, part in enumerate(parts)]
        if len({(tensor.shape, tensor.dtype, tensor.device) for tensor in tensors}) > 1:
            raise InvalidInput(f"{name}: expected arrays of one shape, type and device in the list")
        return torch.stack(tensors)
    try:
        return np.array(parts, np.float64)
    except (TypeError, ValueError):
        raise InvalidInput(f"{name}: expected numbers in lists of equal length") from None


def _shape(shape: tuple[int | None, ...]) -> str:
    return shape_text(["any" if n is None else n for n in shape])
