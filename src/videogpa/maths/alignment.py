"""Sim(3) alignment of two sets of corresponding points: the similarity that brings one onto the other.

Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", IEEE PAMI 13(4), eqs. 34-43;
made robust by iterated reweighting (Geman and McClure 1987, "Statistical methods for tomographic image reconstruction").
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Similarity(NamedTuple):
    """target = scale * rotation @ source + translation."""

    scale: Float[Tensor, ""]
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]

    def __call__(self, points: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 3"]:
        """Return the points, moved."""
        return self.scale * points @ self.rotation.T + self.translation

    def cameras(self, camera_from_world: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
        """Return the cameras that see the moved world as they saw the old one, at depths `scale` times as large."""
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
    """Return the similarity that minimises the (weighted) mean squared distance from the moved source to the target.

    The rotation is proper (never a reflection). `weights` are >= 0; only their ratios matter.

    Raises:
        ValueError: If the points do not determine it: fewer than three that count, or all on one line.
    """
    source64, target64 = source.double(), target.double()
    share = torch.ones_like(source64[:, 0]) if weights is None else weights.double()
    share = share / share.sum()
    mean_source, mean_target = share @ source64, share @ target64
    a, b = source64 - mean_source, target64 - mean_target
    variance = (share * a.square().sum(1)).sum()
    u, s, vh = torch.linalg.svd((share[:, None] * b).T @ a)
    if not bool(s[1] > 1e-9 * s[0]):  # also with nan, from weights that add up to 0
        raise ValueError("the points do not determine an alignment: at least three are needed, not all on one line")
    sign = torch.ones_like(s)
    sign[2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vh))
    rotation = (u * sign) @ vh
    scale = (s * sign).sum() / variance
    translation = mean_target - scale * rotation @ mean_source
    return Similarity(*(x.to(source.dtype) for x in (scale, rotation, translation)))


ITERATIONS = 20  # of reweighting; with 40 % gross outliers it settles within ten
NORMAL_SIGMA = 1.4826  # standard deviations of a normal distribution per median absolute deviation


def robust_similarity(
    source: Float[Tensor, "points 3"],
    target: Float[Tensor, "points 3"],
    weights: Float[Tensor, " points"],
    unit: Float[Tensor, " points"],
) -> tuple[Similarity, Float[Tensor, " points"]]:
    """Return the similarity from source to target that gross outliers do not bend, and each point's residual after it.

    Residuals are distances in units of `unit`, for instance of the depth at which a point was seen, since the error of a depth
    grows with it. `weights` are >= 0; only their ratios matter.

    Raises:
        ValueError: If the points do not determine it.
    """
    given = weights / unit.square()
    similarity = umeyama(source, target, given)
    for _ in range(ITERATIONS):
        residual = (similarity(source) - target).norm(dim=-1) / unit
        sigma = NORMAL_SIGMA * residual[weights > 0].median().clamp(min=torch.finfo(residual.dtype).eps)
        similarity = umeyama(source, target, given / (1 + (residual / sigma).square()).square())
    return similarity, (similarity(source) - target).norm(dim=-1) / unit
