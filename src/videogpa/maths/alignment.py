"""Sim(3) alignment of two sets of corresponding points: the similarity that brings one onto the other.

Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", IEEE PAMI 13(4), eqs. 34-43.
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
