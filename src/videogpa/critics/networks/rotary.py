"""Rotary position embeddings on a grid: half of a head's channels rotate with a patch's row, the other half with its column.

Su et al. 2021, https://arxiv.org/abs/2104.09864, in the two-dimensional form of CroCo v2, https://arxiv.org/abs/2211.10408.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Rotary(NamedTuple):
    """The rotations of one frame's tokens. In a sequence of several frames they repeat, frame after frame."""

    cosine: Float[Tensor, "tokens channels"]
    sine: Float[Tensor, "tokens channels"]
    """The sines are negated for the first half of an axis's channels: a rotation is `x * cosine + swapped(x) * sine`."""


def grid_positions(rows: int, columns: int, special: int, device: torch.device | None = None) -> Int64[Tensor, "tokens 2"]:
    """Return (row, column) of the tokens of a frame: first the special ones, at (0, 0), then the patches, from (1, 1) on."""
    patches = torch.cartesian_prod(torch.arange(1, rows + 1, device=device), torch.arange(1, columns + 1, device=device))
    return torch.cat([torch.zeros(special, 2, dtype=torch.int64, device=device), patches])


def rotary(positions: Int64[Tensor, "tokens 2"], channels: int, base: float) -> Rotary:
    """Return the rotations for heads with `channels` channels; the angles are `position * base ** (-2 i / (channels / 2))`.

    Raises:
        ValueError: If `channels` is not a multiple of 4: there are two axes, and pairs of channels rotate together.
    """
    if channels % 4:
        raise ValueError(f"a head of {channels} channels cannot be turned along two axes: expected a multiple of 4")
    steps = torch.arange(0, channels // 2, 2, device=positions.device) / (channels / 2)
    angles = positions[..., None] / base**steps  # [tokens, axis, pair]
    cosine, sine = angles.cos(), angles.sin()
    return Rotary(torch.stack([cosine, cosine], dim=2).flatten(1), torch.stack([-sine, sine], dim=2).flatten(1))


def rotate(
    heads: Float[Tensor, "batch heads sequence channels"], turns: Rotary
) -> Float[Tensor, "batch heads sequence channels"]:
    """Return the rotated queries or keys of one frame, or of several frames in sequence."""
    frames = torch.unflatten(heads, 2, (-1, len(turns.cosine)))
    swapped = torch.unflatten(frames, -1, (2, 2, -1)).flip(-2).flatten(-3)
    turned: Tensor = frames * turns.cosine.to(heads.dtype) + swapped * turns.sine.to(heads.dtype)
    return turned.flatten(2, 3)
