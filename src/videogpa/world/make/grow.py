"""Models to start from that were made for smaller pictures: finer patches of the same rooms, seen with what is known already.

A room keeps its place in the picture whatever the size, so that all that is within the blocks fits; what reads patches and
what writes them is stretched. Training goes on from there, several times faster than from random weights.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import interpolate


def grow_transformer(transformer: Module, smaller: Mapping[str, Tensor]) -> None:
    """Start a transformer as one for clips of a fraction of the height and width, that saw as many, smaller patches.

    It then says of an enlarged clip (nearest neighbours) what the smaller one says of the clip, enlarged.
    """
    mine = transformer.state_dict()
    channels, side = mine["patch_embed.proj.weight"].shape[1:3]
    factor = side // smaller["patch_embed.proj.weight"].shape[-1]
    reading = smaller["patch_embed.proj.weight"]
    rows, bias = (smaller[f"proj_out.{part}"] for part in ("weight", "bias"))
    patches = (channels // 2, side // factor, side // factor)  # half of the channels are those of the first frame
    stretched = {
        "patch_embed.proj.weight": _repeated(reading, factor) / factor**2,
        "proj_out.weight": _repeated(rows.T.unflatten(1, patches), factor).flatten(1).T,
        "proj_out.bias": _repeated(bias.unflatten(0, patches)[None], factor).flatten(),
    }
    transformer.load_state_dict({**smaller, **stretched})


def grow_geometry(model: Module, smaller: Mapping[str, Tensor]) -> None:
    """Start a network of VGGT's class as one with coarser patches: its filters and the codes of its places are resampled."""
    mine = model.state_dict()
    filters, places = (f"aggregator.patch_embed.{name}" for name in ("patch_embed.proj.weight", "pos_embed"))
    side, grid = mine[filters].shape[-1], round((mine[places].shape[1] - 1) ** 0.5)
    coarser = smaller[filters].shape[-1]
    code = smaller[places][:, 1:].unflatten(1, (-1, round((smaller[places].shape[1] - 1) ** 0.5))).permute(0, 3, 1, 2)
    stretched = {
        filters: _resampled(smaller[filters], side) * (coarser / side) ** 2,
        places: torch.cat([smaller[places][:, :1], _resampled(code, grid).flatten(2).transpose(1, 2)], dim=1),
    }
    model.load_state_dict({**smaller, **stretched})


def _repeated(
    maps: Float[Tensor, "any channels height width"], factor: int
) -> Float[Tensor, "any channels new_height new_width"]:
    return maps.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def _resampled(maps: Float[Tensor, "any channels height width"], side: int) -> Float[Tensor, "any channels side side"]:
    return interpolate(maps, (side, side), mode="bicubic", align_corners=False, antialias=True)
