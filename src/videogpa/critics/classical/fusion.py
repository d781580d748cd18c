"""What the depth maps of a clip say of each other: which pixels others confirm, and what others know where a frame does not."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

Depths = Float32[np.ndarray, "frames height width"]


def confirmations(
    inverse_depth: Depths,
    known: Bool[np.ndarray, "frames height width"],
    intrinsics: Float64[np.ndarray, "3 3"],
    camera_from_world: Float64[np.ndarray, "frames 4 4"],
    tolerance: float,
) -> Int[np.ndarray, "frames height width"]:
    """Return how many other frames have, where the pixel's point falls in them, the point's own inverse depth +- tolerance."""
    frames, height, width = inverse_depth.shape
    counts = np.zeros((frames, height, width), np.int64)
    for one in range(frames):
        for other in range(frames):
            if one != other:
                pixel, near = _move(
                    inverse_depth[one], intrinsics, camera_from_world[other] @ np.linalg.inv(camera_from_world[one])
                )
                inside = pixel >= 0
                there = np.where(inside, pixel, 0)
                agrees = np.abs(inverse_depth[other].ravel()[there] - near) <= tolerance
                counts[one] += (agrees & inside & known[other].ravel()[there]).reshape(height, width)
    counts[~known] = 0
    return counts


def seen_by_others(
    inverse_depth: Depths,
    known: Bool[np.ndarray, "frames height width"],
    intrinsics: Float64[np.ndarray, "3 3"],
    camera_from_world: Float64[np.ndarray, "frames 4 4"],
) -> Depths:
    """Return the inverse depth of the nearest known point of the other frames that falls on each pixel; 0 where none does."""
    frames, height, width = inverse_depth.shape
    found = np.zeros((frames, height * width), np.float32)
    for one in range(frames):
        for other in range(frames):
            if one != other:
                pixel, near = _move(
                    inverse_depth[other], intrinsics, camera_from_world[one] @ np.linalg.inv(camera_from_world[other])
                )
                falls = (pixel >= 0) & known[other].ravel()
                np.maximum.at(found[one], pixel[falls], near[falls])
    return found.reshape(frames, height, width)


def _move(
    inverse_depth: Float32[np.ndarray, "height width"],
    intrinsics: Float64[np.ndarray, "3 3"],
    to_from_from: Float64[np.ndarray, "4 4"],
) -> tuple[Int[np.ndarray, " pixels"], Float[np.ndarray, " pixels"]]:
    """Return on which pixel of another frame each pixel's point falls (its number; -1: none), and its inverse depth there."""
    height, width = inverse_depth.shape
    rotation = intrinsics @ to_from_from[:3, :3] @ np.linalg.inv(intrinsics)
    shift = intrinsics @ to_from_from[:3, 3]
    near = inverse_depth.astype(np.float64)
    u, v = np.arange(width)[None, :], np.arange(height)[:, None]
    # Of the point divided by its depth here: the ray, turned, plus the translation times inverse depth.
    x, y, z = (row[0] * u + row[1] * v + row[2] + step * near for row, step in zip(rotation, shift, strict=True))
    safe = np.where(z > 1e-9, z, 1.0)
    column, line = np.rint(x / safe), np.rint(y / safe)
    inside = (z > 1e-9) & (near > 0) & (column >= 0) & (column < width) & (line >= 0) & (line < height)
    pixel = np.where(inside, line * width + column, -1).astype(np.int64)
    return pixel.ravel(), (near / safe).ravel().astype(np.float32)
