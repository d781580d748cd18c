"""DPT head: maps at four scales, from four layers of a vision transformer, fused into one map of the image's size.

Ranftl et al. 2021, "Vision Transformers for Dense Prediction", https://arxiv.org/abs/2103.13413, in the form of VGGT
(https://arxiv.org/abs/2503.11651) and Depth Anything 3 (https://arxiv.org/abs/2511.10647): one norm for all layers, and sines
and cosines of the position in the image added to the maps. Attributes have the names of the published tensors.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

CODE_STRENGTH = 0.1  # of the added sines and cosines (VGGT's code)
CODE_BASE = 100.0  # ratio of their highest frequency to the lowest (VGGT's code)
HIDDEN = 32  # channels before the last layer, in all published heads


class DptHead(nn.Module):
    """Head that maps four layers to `outputs` channels per pixel, before any activation.

    `project` is a separate method, so that a network can call it as soon as a layer is computed: its result is three times
    smaller than the tokens, and the tokens need not be kept.

    `rectified_skips` sets whether the residual units add the rectified input to their result instead of the input itself. The
    code of VGGT rectifies in place, so that its weights need it; those of Depth Anything 3 do not.
    """

    def __init__(
        self, width: int, *, features: int, channels: Sequence[int], outputs: int, patch: int = 14, rectified_skips: bool
    ) -> None:
        super().__init__()
        self.patch = patch
        self.norm = nn.LayerNorm(width)
        self.projects = nn.ModuleList(nn.Conv2d(width, count, 1) for count in channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
            ]
        )
        self.scratch = _Pyramid(features, channels, outputs, rectified_skips)

    def project(
        self, stage: int, tokens: Float[Tensor, "images patches width"], rows: int, columns: int
    ) -> Float[Tensor, "images channels rows columns"]:
        """Return the projected map of one of the four layers, an input of `forward`.

        Args:
            stage: Position of the layer among the four, from 0.
            tokens: The patch tokens of the layer, row by row, without special tokens.
            rows: Rows of patches.
            columns: Columns of patches.
        """
        maps = self.norm(tokens).transpose(1, 2).unflatten(2, (rows, columns))
        projected: Tensor = self.projects[stage](maps)
        return add_place_code(projected, columns / rows)

    def forward(
        self, projected: Sequence[Float[Tensor, "images _ rows columns"]]
    ) -> Float[Tensor, "images outputs height width"]:
        """Return the fused map of the four projected layers, at the size of the image."""
        rows, columns = projected[0].shape[-2:]
        fused = self.scratch([resize(maps) for resize, maps in zip(self.resize_layers, projected, strict=True)])
        fused = _stretch(fused, (rows * self.patch, columns * self.patch))
        out: Tensor = self.scratch.output_conv2(add_place_code(fused, columns / rows))
        return out


class _Pyramid(nn.Module):
    """Fusion of four maps, from the coarsest to the finest."""

    def __init__(self, features: int, channels: Sequence[int], outputs: int, rectified_skips: bool) -> None:
        super().__init__()
        for i, count in enumerate(channels, start=1):
            self.add_module(f"layer{i}_rn", nn.Conv2d(count, features, 3, padding=1, bias=False))
            self.add_module(f"refinenet{i}", _Fusion(features, lateral=i < len(channels), rectified_skips=rectified_skips))
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, HIDDEN, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(HIDDEN, outputs, 1)
        )

    def forward(self, maps: Sequence[Float[Tensor, "images _ _ _"]]) -> Float[Tensor, "images _ height width"]:
        """Return the fused map, at twice the size of the finest."""
        finer = [self.get_submodule(f"layer{i}_rn")(level) for i, level in enumerate(maps, start=1)]
        coarse = None
        for i in range(len(finer), 0, -1):
            target = finer[i - 2].shape[-2:] if i > 1 else [2 * side for side in finer[0].shape[-2:]]
            coarse = self.get_submodule(f"refinenet{i}")(coarse, finer[i - 1], (target[0], target[1]))
        fused: Tensor = self.output_conv1(coarse)
        return fused


class _Fusion(nn.Module):
    """Fusion step that adds a finer map to the coarse one, and enlarges the sum."""

    def __init__(self, features: int, *, lateral: bool, rectified_skips: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        self.resConfUnit1 = _ResidualUnit(features, rectified_skips) if lateral else None
        self.resConfUnit2 = _ResidualUnit(features, rectified_skips)

    def forward(
        self,
        coarse: Float[Tensor, "images features height width"] | None,
        fine: Float[Tensor, "images features height width"],
        size: tuple[int, int],
    ) -> Float[Tensor, "images features new_height new_width"]:
        """Return the fused map at the given size; at the coarsest level `coarse` is None."""
        summed = fine if coarse is None or self.resConfUnit1 is None else coarse + self.resConfUnit1(fine)
        # The convolution of one pixel and the interpolation commute: convolving first costs a quarter.
        return _stretch(self.out_conv(self.resConfUnit2(summed)), size)


class _ResidualUnit(nn.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, features: int, rectified_skip: bool) -> None:
        super().__init__()
        self.rectified_skip = rectified_skip
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, maps: Float[Tensor, "images features height width"]) -> Float[Tensor, "images features height width"]:
        """Return the input plus its change."""
        rectified = functional.relu(maps)
        change: Tensor = self.conv2(functional.relu(self.conv1(rectified)))
        return change + (rectified if self.rectified_skip else maps)


def project_frames(
    head: DptHead,
    stage: int,
    halves: tuple[Float[Tensor, "batch frames tokens half"], Float[Tensor, "batch frames tokens half"]],
    grid: tuple[int, int],
    frames_per_chunk: int,
) -> Float[Tensor, "images channels rows columns"]:
    """Return one layer's maps from two token vectors per patch: after attention within frames, and across them.

    Args:
        head: The head to project for.
        stage: Position of the layer among the head's four, from 0.
        halves: Tokens after the block within frames, and after that across frames; a frame's patches are its last tokens.
        grid: Rows and columns of patches.
        frames_per_chunk: Number of images processed at once; it bounds the memory.
    """
    patches = grid[0] * grid[1]
    within, across = (torch.split(half.flatten(0, 1)[:, -patches:], frames_per_chunk) for half in halves)
    pairs = zip(within, across, strict=True)
    return torch.cat([head.project(stage, torch.cat(pair, dim=-1), *grid) for pair in pairs])


def fuse_frames(
    head: DptHead, projected: Sequence[Float[Tensor, "images _ rows columns"]], frames: torch.Size, frames_per_chunk: int
) -> Float[Tensor, "batch frames height width outputs"]:
    """Return a head's output for the projected layers; `frames` is the size [batch frames] to return them in."""
    chunks = zip(*(torch.split(stage, frames_per_chunk) for stage in projected), strict=True)
    maps = torch.cat([head(chunk) for chunk in chunks])
    return torch.unflatten(maps, 0, frames).movedim(2, -1)


def add_place_code(
    maps: Float[Tensor, "images channels height width"], aspect: float
) -> Float[Tensor, "images channels height width"]:
    """Add, in place, sines and cosines of x to the first half of the channels and of y to the second.

    `aspect` is width / height of the image. x and y are those of pixel centres, in an image whose half diagonal is 1.
    """
    channels, height, width = maps.shape[1:]
    diagonal = (aspect**2 + 1) ** 0.5
    half = channels // 2
    maps[:, :half] += _waves(width, aspect / diagonal, half).to(maps)[:, None, :]
    maps[:, half:] += _waves(height, 1 / diagonal, half).to(maps)[:, :, None]
    return maps


def _waves(count: int, reach: float, channels: int) -> Float[Tensor, "channels count"]:
    """Return sines, then cosines, at the centres of `count` cells between -reach and reach."""
    centres = torch.linspace(-1, 1, count, dtype=torch.float64) * (reach * (count - 1) / count)
    frequencies = CODE_BASE ** -(torch.arange(channels // 2, dtype=torch.float64) / (channels / 2))
    angles = frequencies[:, None] * centres
    return CODE_STRENGTH * torch.cat([angles.sin(), angles.cos()])


def _stretch(
    maps: Float[Tensor, "images channels height width"], size: tuple[int, int]
) -> Float[Tensor, "images channels new_height new_width"]:
    """Resize bilinearly with aligned corners."""
    return functional.interpolate(maps, size, mode="bilinear", align_corners=True)
