"""Check and convert the arrays that users pass in. Every error message states what was expected and what was given."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Array = Tensor | np.ndarray
"""An array that a user passes in. A NumPy array becomes a float32 tensor on the CPU, a tensor one on its own device."""

RIGID_TOLERANCE = 1e-3  # largest deviation of a rotation from orthonormal: float16 rounds by half of that


def as_floats(name: str, array: Array, shape: tuple[int | None, ...], *, low: float | None = None) -> Tensor:
    """Return an array as a float32 tensor, after checking its type, its shape and its values.

    Args:
        name: The array's name in error messages.
        array: A NumPy array or a tensor of floats.
        shape: The expected shape; None stands for an axis of any length.
        low: The least value allowed; None allows all finite values.

    Raises:
        TypeError: If the argument is not an array of floats.
        ValueError: If the shape differs from the expected one, or a value is not finite or is below `low`.
    """
    if not isinstance(array, Tensor | np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array or a tensor, got {type(array).__name__}")
    tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))
    if not tensor.is_floating_point():
        raise TypeError(f"{name}: expected floats, got {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, tensor.shape, strict=True)):
        raise ValueError(f"{name}: expected shape {_shape(shape)}, got {_shape(tuple(tensor.shape))}")
    tensor = tensor.detach().float()
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers, got NaN or Inf; an unknown depth is 0")
    if low is not None and tensor.numel() and float(tensor.min()) < low:
        raise ValueError(f"{name}: expected values of {low:g} or more, got {float(tensor.min()):.3g}")
    return tensor


def as_images(array: Array) -> Float[Tensor, "frames 3 height width"]:
    """Return images as a float32 tensor.

    Args:
        array: RGB in [0, 1], `[frames 3 height width]`.

    Raises:
        TypeError: If the values are not floats, for instance bytes.
        ValueError: If the shape differs from the expected one, or a value is outside [0, 1].
    """
    images = as_floats("images", array, (None, 3, None, None))
    low, high = (float(images.min()), float(images.max())) if images.numel() else (0.0, 1.0)
    if low < 0 or high > 1:
        raise ValueError(f"images: expected RGB in [0, 1], got values from {low:.3g} to {high:.3g}")
    return images


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
        raise ValueError("intrinsics: expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels, with fx and fy above 0")
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
        raise ValueError(
            "camera_from_world: expected a rotation (determinant 1), a translation and the last row [0, 0, 0, 1]; "
            f"got a matrix {error:.2g} off orthonormal, with determinant {determinant:.3g}"
        )
    return poses


def _shape(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
