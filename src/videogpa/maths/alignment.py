"""Sim(3) alignment: estimate the similarity that maps one set of points onto a set of corresponding points.

The least-squares estimate follows Umeyama 1991, "Least-squares estimation of transformation parameters between two point
patterns", IEEE PAMI 13(4), eqs. 34-43. The robust one adds iterated reweighting (Geman and McClure 1987, "Statistical methods
for tomographic image reconstruction").
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Similarity(NamedTuple):
    """The similarity transform target = scale * rotation @ source + translation."""

    scale: Float[Tensor, ""]
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]

    def __call__(self, points: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 3"]:
        """Return the transformed points."""
        return self.scale * points @ self.rotation.T + self.translation

    def cameras(self, camera_from_world: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
        """Return the cameras whose images of the transformed world equal those of the old one, at `scale` times the depth."""
        rotation = camera_from_world[..., :3, :3] @ self.rotation.T
        moved = torch.zeros_like(camera_from_world)
        moved[..., :3, :3] = rotation
        moved[..., :3, 3] = self.scale * camera_from_world[..., :3, 3] - rotation @ self.translation
        moved[..., 3, 3] = 1
        return moved


def umeyama(
    source: Float[Tensor, "points 3"],
    target: Float[Tensor, "points 3"],
    weights: Float[Tensor, " points"] | None = None,
) -> Similarity:
    """Return the similarity that minimises the (weighted) mean squared distance from the transformed source to the target.

    The rotation is proper (never a reflection).

    Args:
        source: The points to transform.
        target: The corresponding points, in the same order.
        weights: Weights >= 0, of which only the ratios matter; None weighs all points alike.

    Raises:
        ValueError: If fewer than three points have a weight above 0, or all of them are on one line.
    """
    source64, target64 = source.double(), target.double()
    share = torch.ones_like(source64[:, 0]) if weights is None else weights.double()
    share = share / share.sum()
    mean_source, mean_target = share @ source64, share @ target64
    a, b = source64 - mean_source, target64 - mean_target
    variance = (share * a.square().sum(1)).sum()
    u, s, vh = torch.linalg.svd((share[:, None] * b).T @ a)
    if not bool(s[1] > 1e-9 * s[0]):  # also true for nan, which weights with the sum 0 give
        raise ValueError("the points do not determine an alignment: at least three are needed, not all on one line")
    sign = torch.ones_like(s)
    sign[2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vh))
    rotation = (u * sign) @ vh
    scale = (s * sign).sum() / variance
    translation = mean_target - scale * rotation @ mean_source
    return Similarity(*(x.to(source.dtype) for x in (scale, rotation, translation)))


ITERATIONS = 20  # number of reweightings; with 40 % gross outliers the estimate converges within ten
NORMAL_SIGMA = 1.4826  # standard deviations of a normal distribution per median absolute deviation


def robust_similarity(
    source: Float[Tensor, "points 3"],
    target: Float[Tensor, "points 3"],
    weights: Float[Tensor, " points"],
    unit: Float[Tensor, " points"],
) -> tuple[Similarity, Float[Tensor, " points"]]:
    """Return a similarity from source to target that is robust to gross outliers, and the residual of each point.

    Args:
        source: The points to transform.
        target: The corresponding points, in the same order.
        weights: Weights >= 0, of which only the ratios matter.
        unit: The unit of each point's residual, above 0. One choice is the depth at which the point was observed, since the
            error of a depth grows with the depth.

    Returns:
        The similarity, and the distance of each transformed point from its target, in multiples of `unit`.

    Raises:
        ValueError: If fewer than three points have a weight above 0, or all of them are on one line.
    """
    given = weights / unit.square()
    similarity = umeyama(source, target, given)
    for _ in range(ITERATIONS):
        residual = (similarity(source) - target).norm(dim=-1) / unit
        sigma = NORMAL_SIGMA * residual[weights > 0].median().clamp(min=torch.finfo(residual.dtype).eps)
        similarity = umeyama(source, target, given / (1 + (residual / sigma).square()).square())
    return similarity, (similarity(source) - target).norm(dim=-1) / unit
