"""Cross-checks of a clip's depth maps: which pixels other frames confirm, and the depth that other frames give for a pixel."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from videogpa.parallel import parallel_map

Depths = Float32[np.ndarray, "frames height width"]


def confirmations(
    inverse_depth: Depths,
    known: Bool[np.ndarray, "frames height width"],
    intrinsics: Float64[np.ndarray, "3 3"],
    camera_from_world: Float64[np.ndarray, "frames 4 4"],
    tolerance: float,
) -> Int[np.ndarray, "frames height width"]:
    """Return for each pixel how many other frames agree with its depth.

    A frame agrees if its inverse depth, where the pixel's point projects to, is that of the point within the tolerance.

    Args:
        inverse_depth: Inverse depth of each pixel.
        known: Where the inverse depth may be used; elsewhere the count is 0.
        intrinsics: Camera matrix, in pixels, of all frames.
        camera_from_world: Pose of each frame.
        tolerance: Largest difference in inverse depth.
    """
    frames, height, width = inverse_depth.shape

    def count(one: int) -> Int[np.ndarray, "height width"]:
        total = np.zeros(height * width, np.int64)
        for other in range(frames):
            if one != other:
                pixel, near = _move(
                    inverse_depth[one], intrinsics, camera_from_world[other] @ np.linalg.inv(camera_from_world[one])
                )
                inside = pixel >= 0
                there = np.where(inside, pixel, 0)
                agrees = np.abs(inverse_depth[other].ravel()[there] - near) <= tolerance
                total += agrees & inside & known[other].ravel()[there]
        return np.where(known[one], total.reshape(height, width), 0)

    return np.stack(parallel_map(count, range(frames)))


def seen_by_others(
    inverse_depth: Depths,
    known: Bool[np.ndarray, "frames height width"],
    intrinsics: Float64[np.ndarray, "3 3"],
    camera_from_world: Float64[np.ndarray, "frames 4 4"],
) -> Depths:
    """Return the inverse depth of the nearest known point of the other frames that projects onto each pixel; 0 if none does."""
    frames, height, width = inverse_depth.shape

    def seen(one: int) -> Float32[np.ndarray, " pixels"]:
        found = np.zeros(height * width, np.float32)
        for other in range(frames):
            if one != other:
                pixel, near = _move(
                    inverse_depth[other], intrinsics, camera_from_world[one] @ np.linalg.inv(camera_from_world[other])
                )
                falls = (pixel >= 0) & known[other].ravel()
                np.maximum.at(found, pixel[falls], near[falls])
        return found

    return np.stack(parallel_map(seen, range(frames))).reshape(frames, height, width)


def _move(
    inverse_depth: Float32[np.ndarray, "height width"],
    intrinsics: Float64[np.ndarray, "3 3"],
    to_from_from: Float64[np.ndarray, "4 4"],
) -> tuple[Int[np.ndarray, " pixels"], Float[np.ndarray, " pixels"]]:
    """Return the flat index of the pixel of another frame onto which each point projects (-1: none), and its inverse depth."""
    height, width = inverse_depth.shape
    rotation = intrinsics @ to_from_from[:3, :3] @ np.linalg.inv(intrinsics)
    shift = intrinsics @ to_from_from[:3, 3]
    near = inverse_depth.astype(np.float64)
    u, v = np.arange(width)[None, :], np.arange(height)[:, None]
    # Projection of the point divided by its depth in this frame: the rotated ray plus the translation times inverse depth.
    x, y, z = (row[0] * u + row[1] * v + row[2] + step * near for row, step in zip(rotation, shift, strict=True))
    safe = np.where(z > 1e-9, z, 1.0)
    column, line = np.rint(x / safe), np.rint(y / safe)
    inside = (z > 1e-9) & (near > 0) & (column >= 0) & (column < width) & (line >= 0) & (line < height)
    pixel = np.where(inside, line * width + column, -1).astype(np.int64)
    return pixel.ravel(), (near / safe).ravel().astype(np.float32)
