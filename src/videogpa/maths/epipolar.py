"""Epipolar geometry: how far matched pixels are from what one rigid motion between two views allows.

Hartley and Zisserman, "Multiple View Geometry in Computer Vision", 2nd edition: fundamental matrix of two cameras, eq. 9.2 and
table 9.1; normalised eight-point algorithm, algorithm 11.1; Sampson distance, eq. 11.9.

A fundamental matrix F maps a pixel x of the first view to its epipolar line F x in the second: x'^T F x = 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.maths.cameras import invert


def fundamental_from_cameras(
    intrinsics: Float[Tensor, "2 3 3"], camera_from_world: Float[Tensor, "2 4 4"]
) -> Float[Tensor, "3 3"]:
    """Return F from the first view to the second, of unit norm. nan where the cameras share their centre: there is none."""
    motion = camera_from_world[1] @ invert(camera_from_world[0])
    inverse: Tensor = torch.linalg.inv(intrinsics)
    essential = cross_matrix(motion[:3, 3]) @ motion[:3, :3]
    return _unit(inverse[1].T @ essential @ inverse[0])


def fundamental_from_matches(first: Float[Tensor, "matches 2"], second: Float[Tensor, "matches 2"]) -> Float[Tensor, "3 3"]:
    """Return F from the first view to the second that fits the matches best in the algebraic sense; rank 2, unit norm.

    Not robust: one gross outlier spoils it.

    Raises:
        ValueError: With fewer than eight matches.
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
    """Return the Sampson error of each match, in squared pixels.

    To first order, the least squared displacement of both pixels together that would satisfy the epipolar constraint. nan for
    a match of the two epipoles.
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
    """Return the points moved to their centroid, at mean distance sqrt(2), and the matrix that did it."""
    center = pixels.mean(0)
    scale = 2**0.5 / (pixels - center).square().sum(1).sqrt().mean()
    matrix = torch.diag(torch.stack([scale, scale, torch.ones_like(scale)]))
    matrix[:2, 2] = -scale * center
    return _homogeneous(pixels) @ matrix.T, matrix


def _unit(matrix: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
    return matrix / matrix.square().sum().sqrt()
