"""Epipolar geometry: the deviation of matched pixels from one rigid motion between two views.

The formulas are those of Hartley and Zisserman, "Multiple View Geometry in Computer Vision", 2nd edition: fundamental matrix of
two cameras, eq. 9.2 and table 9.1; normalised eight-point algorithm, algorithm 11.1; Sampson distance, eq. 11.9.

A fundamental matrix F maps a pixel x of the first view to its epipolar line F x in the second: x'^T F x = 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.maths.cameras import invert


def fundamental_from_cameras(
    intrinsics: Float[Tensor, "2 3 3"], camera_from_world: Float[Tensor, "2 4 4"]
) -> Float[Tensor, "3 3"]:
    """Return the fundamental matrix F from the first view to the second.

    Args:
        intrinsics: Camera matrices of the two views, in pixels.
        camera_from_world: Poses of the two views.

    Returns:
        F of unit norm; nan if the cameras have the same centre, since F is not defined then.
    """
    motion = camera_from_world[1] @ invert(camera_from_world[0])
    inverse: Tensor = torch.linalg.inv(intrinsics)
    essential = cross_matrix(motion[:3, 3]) @ motion[:3, :3]
    return _unit(inverse[1].T @ essential @ inverse[0])


def fundamental_from_matches(first: Float[Tensor, "matches 2"], second: Float[Tensor, "matches 2"]) -> Float[Tensor, "3 3"]:
    """Return the fundamental matrix F from the first view to the second with the least algebraic error.

    The estimate is not robust: one gross outlier ruins it.

    Args:
        first: Pixels of the first view, at least eight.
        second: The matched pixels of the second view, in the same order.

    Returns:
        F of rank 2 and unit norm.

    Raises:
        ValueError: If there are fewer than eight matches.
    """
    if len(first) < 8:
        raise ValueError(f"the eight-point algorithm needs 8 matches, got {len(first)}")
    (a, to_a), (b, to_b) = _normalised(first.double()), _normalised(second.double())
    products = (b[:, :, None] * a[:, None, :]).flatten(1)
    f = torch.linalg.svd(products, full_matrices=True).Vh[-1].view(3, 3)
    u, s, vh = torch.linalg.svd(f)
    s = s * s.new_tensor([1.0, 1.0, 0.0])
    return _unit(to_b.T @ (u * s) @ vh @ to_a).to(first.dtype)


def sampson_errors(
    fundamental: Float[Tensor, "3 3"], first: Float[Tensor, "matches 2"], second: Float[Tensor, "matches 2"]
) -> Float[Tensor, " matches"]:
    """Return the Sampson error of each match.

    To first order, this is the least squared displacement of both pixels together that satisfies the epipolar constraint.

    Args:
        fundamental: F from the first view to the second, of any norm above 0.
        first: Pixels of the first view.
        second: The matched pixels of the second view, in the same order.

    Returns:
        The errors, in squared pixels; nan for a match of the two epipoles.
    """
    a, b = _homogeneous(first), _homogeneous(second)
    line_b, line_a = a @ fundamental.T, b @ fundamental
    algebraic = (b * line_b).sum(1)
    return algebraic**2 / (line_b[:, :2].square().sum(1) + line_a[:, :2].square().sum(1))


def cross_matrix(vector: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Return the matrix M for which M x = vector x x (cross product)."""
    x, y, z = vector
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)


def _homogeneous(pixels: Float[Tensor, "matches 2"]) -> Float[Tensor, "matches 3"]:
    return torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)


def _normalised(pixels: Float[Tensor, "matches 2"]) -> tuple[Float[Tensor, "matches 3"], Float[Tensor, "3 3"]]:
    """Return the points with their centroid at 0 and mean distance sqrt(2) from it, and the matrix of this transform."""
    center = pixels.mean(0)
    scale = 2**0.5 / (pixels - center).square().sum(1).sqrt().mean()
    matrix = torch.diag(torch.stack([scale, scale, torch.ones_like(scale)]))
    matrix[:2, 2] = -scale * center
    return _homogeneous(pixels) @ matrix.T, matrix


def _unit(matrix: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
    return matrix / matrix.square().sum().sqrt()
