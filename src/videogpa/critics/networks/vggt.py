"""VGGT: cameras, depth and world points of many frames in one pass of a transformer.

Wang et al. 2025, "VGGT: Visual Geometry Grounded Transformer", https://arxiv.org/abs/2503.11651. It is for inference with
the published weights: a DINOv2 backbone, 24 pairs of blocks that attend within frames and across them, and a head for each
output. The tracking head is left out.

It needs less memory than the published code, with the same numbers: only the requested heads are built and run; each takes
its layers as they are computed, so that none of the 24 is kept; dense heads process chunks of frames.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from videogpa.critics.networks import pose, sizes
from videogpa.critics.networks.dpt import DptHead, fuse_frames, project_frames
from videogpa.critics.networks.rotary import grid_positions, rotary
from videogpa.critics.networks.vit import Block, DinoV2, Mlp, attend_across_frames, attend_within_frames, normalise, patch_grid
from videogpa.critics.networks.weights import find_weights, is_published, load_weights, read_config, reduce_precision

Head = Literal["camera", "depth", "point"]
HEADS: tuple[Head, ...] = ("camera", "depth", "point")

REFINEMENTS = 4  # passes of the camera head's trunk (paper, appendix; the published code)


class VggtConfig(BaseModel):
    """Sizes of the network; the defaults are those of VGGT-1B. The names are those of the published config.json."""

    model_config = ConfigDict(frozen=True)

    embed_dim: sizes.Width = 1024
    vit_depth: sizes.Depth = 24
    depth: sizes.Depth = 24
    num_heads: sizes.Width = 16
    img_size: sizes.Pixels = 518
    patch_size: sizes.Pixels = 14
    num_register_tokens: Annotated[int, Field(ge=0, le=1024)] = 4
    dpt_layers: tuple[sizes.Block, ...] = (4, 11, 17, 23)
    dpt_features: sizes.Width = 256
    dpt_out_channels: tuple[sizes.Width, ...] = (256, 512, 1024, 1024)
    camera_trunk_depth: sizes.Depth = 4
    camera_heads: sizes.Width = 16
    qk_norm: bool = True
    rope_freq: sizes.Factor = 100.0
    mlp_ratio: sizes.Factor = 4.0

    @model_validator(mode="after")
    def _sizes_fit(self) -> "VggtConfig":
        sizes.check_transformer(self.embed_dim, self.num_heads, self.mlp_ratio, self.img_size, self.patch_size)
        sizes.check_head(self.dpt_layers, self.depth, self.dpt_out_channels, self.dpt_features)
        if 2 * self.embed_dim % self.camera_heads:
            raise ValueError(f"camera_heads is {self.camera_heads}, which does not divide twice embed_dim")
        return self


class Prediction(NamedTuple):
    """The network's outputs for every frame; None for heads that were not built. The first frame's camera is the reference.

    Depth and points are in the network's own unit. Confidences are 1 + exp(.): above 1, without a unit.
    """

    pose_enc: Float[Tensor, "batch frames 9"] | None = None
    """The camera encoding of networks/pose.py."""
    extrinsic: Float[Tensor, "batch frames 3 4"] | None = None
    """Camera from world."""
    intrinsic: Float[Tensor, "batch frames 3 3"] | None = None
    """Camera matrices in pixels of the input images."""
    depth: Float[Tensor, "batch frames height width 1"] | None = None
    depth_conf: Float[Tensor, "batch frames height width"] | None = None
    world_points: Float[Tensor, "batch frames height width 3"] | None = None
    world_points_conf: Float[Tensor, "batch frames height width"] | None = None


class Vggt(nn.Module):
    """The network. `from_folder` builds it with weights; `precision` applies to the trunk's matrices and matrix products."""

    def __init__(self, config: VggtConfig, heads: Collection[Head] = HEADS, *, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.aggregator = _Trunk(config, precision)
        width = 2 * config.embed_dim
        self.camera_head = _CameraHead(config, width) if "camera" in heads else None
        self.depth_head = _dense_head(config, width, outputs=2) if "depth" in heads else None
        self.point_head = _dense_head(config, width, outputs=4) if "point" in heads else None

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        *,
        heads: Collection[Head] = HEADS,
        device: torch.device | str = "cpu",
        precision: torch.dtype = torch.float32,
    ) -> "Vggt":
        """Load published weights, from a folder, a safetensors file, or a hub id.

        The sizes come from config.json beside the weights; those missing there are VGGT-1B's. The tracking head, and heads not
        in `heads`, are skipped. `precision` applies to the trunk's matrices only: norms and heads stay in float32.

        Raises:
            UserError: If there are no weights, or they differ from this network's in any other name or shape.
        """
        weights = find_weights(path)
        with torch.device("meta"):
            model = cls(read_config(weights, VggtConfig), heads, precision=precision)
        load_weights(model, weights, device=device, skip=unread(heads), published=is_published(path))
        reduce_precision(model.aggregator, precision)
        return model.eval().requires_grad_(False)

    def forward(self, images: Float[Tensor, "batch frames 3 height width"], *, frames_per_chunk: int = 8) -> Prediction:
        """Return cameras, depth and points of the frames.

        Args:
            images: RGB in [0, 1]; sides are multiples of the patch size (14 pixels).
            frames_per_chunk: Number of frames processed at once by the per-frame layers. It bounds their memory and changes the
                results by rounding only.

        Raises:
            ValueError: If a side is not a multiple of the patch size.
        """
        frames, size = images.shape[:2], images.shape[-2:]
        grid = patch_grid(images, self.config.patch_size)
        dense = {name: head for name, head in (("depth", self.depth_head), ("point", self.point_head)) if head is not None}
        projected: dict[str, list[Tensor]] = {name: [] for name in dense}
        said: dict[str, Tensor] = {}
        for layer, halves in self.aggregator.layers(images, frames_per_chunk):
            if layer in self.config.dpt_layers:
                for name, head in dense.items():
                    stage = len(projected[name])
                    projected[name].append(project_frames(head, stage, halves, grid, frames_per_chunk))
            if layer == self.config.depth - 1 and self.camera_head is not None:
                said["pose_enc"] = self.camera_head(torch.cat([half[:, :, 0] for half in halves], dim=-1))
                said["extrinsic"], said["intrinsic"] = pose.decode_cameras(said["pose_enc"], *size)
        maps = {name: fuse_frames(head, projected.pop(name), frames, frames_per_chunk) for name, head in dense.items()}
        if "depth" in maps:
            said["depth"], said["depth_conf"] = maps["depth"][..., :1].exp(), 1 + maps["depth"][..., 1].exp()
        if "point" in maps:
            points = maps["point"][..., :3]
            said["world_points"], said["world_points_conf"] = (
                points.sign() * points.abs().expm1(),
                1 + maps["point"][..., 3].exp(),
            )
        return Prediction(**said)


def unread(heads: Collection[Head]) -> tuple[str, ...]:
    """Return the prefixes of the names of tensors that a network with these heads does not load.

    The mask token belongs to DINOv2's training.
    """
    left_out = tuple(f"{head}_head." for head in HEADS if head not in heads)
    return ("track_head.", "aggregator.patch_embed.mask_token", *left_out)


class _Trunk(nn.Module):
    """The trunk: patch tokens of every frame, then pairs of blocks, within the frames and across them."""

    def __init__(self, config: VggtConfig, precision: torch.dtype) -> None:
        super().__init__()
        width, self.precision = config.embed_dim, precision
        self.read = {*config.dpt_layers, config.depth - 1}
        self.special = 1 + config.num_register_tokens
        self.channels, self.base = width // config.num_heads, config.rope_freq
        self.patch_embed = DinoV2(
            width,
            config.vit_depth,
            config.num_heads,
            image_size=config.img_size,
            patch=config.patch_size,
            registers=config.num_register_tokens,
            mlp_ratio=config.mlp_ratio,
            antialias=True,
            offset=0.0,
        )
        # Each token exists twice: for the first frame, and for all others.
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, width))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.num_register_tokens, width))
        self.frame_blocks = nn.ModuleList(self._block(config) for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(self._block(config) for _ in range(config.depth))

    @staticmethod
    def _block(config: VggtConfig) -> Block:
        return Block(config.embed_dim, config.num_heads, mlp_ratio=config.mlp_ratio, qk_norm=config.qk_norm)

    def layers(
        self, images: Float[Tensor, "batch frames 3 height width"], frames_per_chunk: int
    ) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
        """Yield the heads' input layers: number, and [batch frames tokens width] after each of the pair's blocks."""
        turns = rotary(
            grid_positions(*patch_grid(images, self.patch_embed.patch), self.special, images.device), self.channels, self.base
        )
        with self._reduced_precision(images):
            tokens = self._embed(images, frames_per_chunk)
        for layer, (frame_block, global_block) in enumerate(zip(self.frame_blocks, self.global_blocks, strict=True)):
            with self._reduced_precision(images):
                within = attend_within_frames(frame_block, tokens, turns)
                tokens = attend_across_frames(global_block, within, turns)
            if layer in self.read:
                yield layer, (within, tokens)

    def _reduced_precision(self, images: Tensor) -> torch.autocast:
        return torch.autocast(images.device.type, self.precision, enabled=self.precision != torch.float32)

    def _embed(self, images: Float[Tensor, "batch frames 3 height width"], frames_per_chunk: int) -> Tensor:
        """Return camera token, registers and patches of every frame."""
        chunks = torch.split(images.flatten(0, 1), frames_per_chunk)
        patches = torch.cat([self.patch_embed(normalise(chunk)) for chunk in chunks])
        patches = torch.unflatten(patches, 0, images.shape[:2])
        own = torch.cat([self.camera_token, self.register_token], dim=2)
        first, others = own[:, :1], own[:, 1:].expand(-1, images.shape[1] - 1, -1, -1)
        return torch.cat([torch.cat([first, others], dim=1).expand(len(images), -1, -1, -1), patches], dim=2)


class _CameraHead(nn.Module):
    """Head that refines the cameras iteratively: the last estimate scales and shifts the camera tokens of the next pass."""

    def __init__(self, config: VggtConfig, width: int) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(width)
        blocks = [Block(width, config.camera_heads, mlp_ratio=config.mlp_ratio) for _ in range(config.camera_trunk_depth)]
        self.trunk = nn.Sequential(*blocks)
        self.trunk_norm = nn.LayerNorm(width)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, pose.LENGTH))
        self.embed_pose = nn.Linear(pose.LENGTH, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.pose_branch = Mlp(width, width // 2, pose.LENGTH)

    def forward(self, tokens: Float[Tensor, "batch frames width"]) -> Float[Tensor, "batch frames 9"]:
        """Return the encoded cameras; fields of view are clamped to 0 or more."""
        tokens = self.token_norm(tokens)
        plain = functional.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)  # without weights of its own (published code)
        seen = self.empty_pose_tokens.expand(*tokens.shape[:2], -1)
        guess = torch.zeros_like(seen)
        for _ in range(REFINEMENTS):
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(seen)).chunk(3, dim=-1)
            change = self.pose_branch(self.trunk_norm(self.trunk(gate * (plain * (1 + scale) + shift) + tokens)))
            seen = guess = guess + change
        return torch.cat([guess[..., :7], guess[..., 7:].relu()], dim=-1)


def _dense_head(config: VggtConfig, width: int, *, outputs: int) -> DptHead:
    return DptHead(
        width,
        features=config.dpt_features,
        channels=config.dpt_out_channels,
        outputs=outputs,
        patch=config.patch_size,
        rectified_skips=True,
    )
