"""Warm start from a lower-resolution model: its patch embedding and output layer are resized.

A room has the same place in the picture at every size, so that the weights of the blocks can stay as they are. Training
continues from there, several times faster than from random weights.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import interpolate

READING, WRITING = "patch_embed.proj.weight", "proj_out"  # of CogVideoX's transformer
FILTERS, PLACES = (f"aggregator.patch_embed.{name}" for name in ("patch_embed.proj.weight", "pos_embed"))  # of VGGT


def grow_transformer(transformer: Module, smaller: Mapping[str, Tensor]) -> None:
    """Initialise a transformer from one for clips of a fraction of the height and width, with as many, smaller patches.

    Its output for an enlarged clip (nearest neighbours) is then the enlarged output of the smaller transformer.

    Args:
        transformer: The transformer to initialise, in place.
        smaller: The weights of the smaller transformer.
    """
    reading, rows, bias = (smaller[name] for name in (READING, f"{WRITING}.weight", f"{WRITING}.bias"))
    channels, side = reading.shape[1] // 2, reading.shape[-1]  # the other half of the channels are the first frame's
    factor = transformer.state_dict()[READING].shape[-1] // side
    patch = (channels, side, side)
    stretched = {
        READING: _repeated(reading, factor) / factor**2,
        f"{WRITING}.weight": _repeated(torch.unflatten(rows.T, 1, patch), factor).flatten(1).T,
        f"{WRITING}.bias": _repeated(torch.unflatten(bias, 0, patch)[None], factor).flatten(),
    }
    transformer.load_state_dict({**smaller, **stretched})


def grow_geometry(model: Module, smaller: Mapping[str, Tensor]) -> None:
    """Initialise a VGGT network from one with coarser patches, resampling its patch filters and positional embeddings.

    Args:
        model: The network to initialise, in place.
        smaller: The weights of the network with coarser patches.
    """
    mine = model.state_dict()
    side, coarser = mine[FILTERS].shape[-1], smaller[FILTERS].shape[-1]
    grid, coarser_grid = (round((codes.shape[1] - 1) ** 0.5) for codes in (mine[PLACES], smaller[PLACES]))
    first, others = torch.split(smaller[PLACES], [1, coarser_grid**2], dim=1)  # the class token has an embedding of its own
    code = torch.unflatten(others.transpose(1, 2), 2, (coarser_grid, coarser_grid))
    stretched = {
        FILTERS: _resampled(smaller[FILTERS], side) * (coarser / side) ** 2,
        PLACES: torch.cat([first, _resampled(code, grid).flatten(2).transpose(1, 2)], dim=1),
    }
    model.load_state_dict({**smaller, **stretched})


def _repeated(
    maps: Float[Tensor, "any channels height width"], factor: int
) -> Float[Tensor, "any channels new_height new_width"]:
    return maps.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def _resampled(maps: Float[Tensor, "any channels height width"], side: int) -> Float[Tensor, "any channels side side"]:
    resampled: Tensor = interpolate(maps, (side, side), mode="bicubic", align_corners=False, antialias=True)
    return resampled
