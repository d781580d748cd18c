"""Depth Anything 3, any-view models: depth and cameras of one or more images in one pass of a transformer.

Lin et al. 2025, "Depth Anything 3: Recovering the Visual Space from Any Views", https://arxiv.org/abs/2511.10647; details
from the official code, https://github.com/ByteDance-Seed/Depth-Anything-3. The first blocks of a DINOv2 transformer
attend within one view; then odd blocks attend across all views, and camera tokens replace the class tokens, one for the
reference view and another for all others. A DPT head returns depth, a small decoder the cameras.

The module is for inference with the published weights. It omits the ray branch, Gaussians, and the encoder of known cameras.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from videogpa.critics.networks.depth_anything_config import DepthAnything3Config
from videogpa.critics.networks.dpt import DptHead, fuse_frames, project_frames
from videogpa.critics.networks.pose import decode_cameras
from videogpa.critics.networks.reference_view import choose_reference
from videogpa.critics.networks.rotary import Rotary, grid_positions, rotary
from videogpa.critics.networks.vit import DinoV2, GatedMlp, attend_across_frames, attend_within_frames, patch_grid
from videogpa.critics.networks.weights import find_weights, is_published, load_weights, read_config, reduce_precision
from videogpa.maths.cameras import invert

UNREAD = (
    "cam_enc.",  # of known cameras
    *(f"head.scratch.refinenet{level}_aux." for level in (1, 2, 3, 4)),  # rays; published files hold this branch in part
    "head.scratch.output_conv1_aux.",
    "head.scratch.output_conv2_aux.",
    "gs_head.",  # Gaussians, in the largest size only
    "gs_adapter.",
)
"""Prefixes of the names of tensors that are not loaded."""

PREFIX = "model."  # of all names in the published files
SPECIAL = 1  # number of tokens of a view before its patches: the class token, later the camera token
OFFSET = 0.1  # for resizing DINOv2's position embeddings (official code)


class Prediction(NamedTuple):
    """The network's outputs for every view, in the order of the input. The unit of length is the network's own.

    The confidence is 1 + exp(.): above 1, without a unit.
    """

    depth: Float[Tensor, "batch frames height width"]
    depth_conf: Float[Tensor, "batch frames height width"]
    extrinsics: Float[Tensor, "batch frames 3 4"]
    """Camera from world."""
    intrinsics: Float[Tensor, "batch frames 3 3"]
    """Camera matrices in pixels of the input images."""


class DepthAnything3(nn.Module):
    """The network. `from_folder` builds it with weights; `precision` applies to the trunk's matrices and matrix products."""

    def __init__(self, config: DepthAnything3Config, *, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.precision = precision
        width = 2 * config.embed_dim
        self.backbone = _Backbone(_trunk(config))
        self.cam_dec = _CameraDecoder(width)
        self.head = DptHead(
            width,
            features=config.dpt_features,
            channels=config.dpt_out_channels,
            outputs=2,
            patch=config.patch_size,
            rectified_skips=False,
        )

    @classmethod
    def from_folder(
        cls, path: str | Path, *, device: torch.device | str = "cpu", precision: torch.dtype = torch.float32
    ) -> "DepthAnything3":
        """Load published weights, from a folder with a config.json, a safetensors file beside one, or a hub id.

        A `precision` such as `bfloat16` applies to the trunk's matrices only: norms and heads stay in float32.

        Raises:
            UserError: If there are no weights, config.json describes another network, or tensors are missing, unexpected or of
                another shape, by name; those of `UNREAD` are not counted.
        """
        weights = find_weights(path)
        with torch.device("meta"):
            model = cls(read_config(weights, DepthAnything3Config), precision=precision)
        load_weights(model, weights, device=device, prefix=PREFIX, skip=UNREAD, published=is_published(path))
        reduce_precision(model.backbone, precision)
        return model.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "batch frames 3 height width"], *, frames_per_chunk: int = 8) -> Prediction:
        """Return depth and cameras of all views.

        Args:
            images: RGB normalised by ImageNet's mean and standard deviation; sides are multiples of the patch size.
            frames_per_chunk: Number of views processed at once by the per-view layers. It bounds their memory and changes the
                results by rounding only.

        Raises:
            ValueError: If a side is not a multiple of the patch size.
        """
        grid = patch_grid(images, self.config.patch_size)
        projected: list[Tensor] = []
        for within, across in self._layers(images, frames_per_chunk):
            camera_tokens = torch.cat([within[:, :, 0], across[:, :, 0]], dim=-1)  # those of the last layer read are used
            halves = within, self.backbone.pretrained.norm(across)
            projected.append(project_frames(self.head, len(projected), halves, grid, frames_per_chunk))
        maps = fuse_frames(self.head, projected, images.shape[:2], frames_per_chunk)
        extrinsics, intrinsics = _cameras(self.cam_dec(camera_tokens), *images.shape[-2:])
        return Prediction(maps[..., 0].exp(), 1 + maps[..., 1].exp(), extrinsics, intrinsics)

    def _layers(
        self, images: Float[Tensor, "batch frames 3 height width"], frames_per_chunk: int
    ) -> Iterator[tuple[Float[Tensor, "batch frames tokens width"], Float[Tensor, "batch frames tokens width"]]]:
        """Yield the head's input layers: the tokens after the last block within views, and after the last block of any kind."""
        config, trunk = self.config, self.backbone.pretrained
        own_place, no_place = self._turns(images)
        reference = images.new_zeros(len(images), dtype=torch.long)
        with self._reduced_precision(images):
            chunks = torch.split(images.flatten(0, 1), frames_per_chunk)
            tokens = torch.unflatten(torch.cat([trunk.embed(chunk) for chunk in chunks]), 0, images.shape[:2])
        for i, block in enumerate(trunk.blocks):
            if i == config.alt_start - 1:
                reference = choose_reference(tokens[:, :, 0])
            if i == config.alt_start:
                tokens = torch.cat([self._camera_tokens(reference, images.shape[1]), tokens[:, :, SPECIAL:]], dim=2)
            turned = i >= config.rope_start
            with self._reduced_precision(images):
                if i >= config.alt_start and i % 2:
                    tokens = attend_across_frames(block, tokens, no_place if turned else None)
                else:
                    tokens = within = attend_within_frames(block, tokens, own_place if turned else None)
            if i in config.out_layers:
                yield within, tokens

    def _turns(self, images: Float[Tensor, "batch frames 3 height width"]) -> tuple[Rotary, Rotary]:
        """Return the rotary embeddings of a view's tokens for blocks within views and for blocks across views.

        Across views patches have no position of their own: all are at (1, 1), the camera token at (0, 0).
        """
        places = grid_positions(*patch_grid(images, self.config.patch_size), SPECIAL, images.device)
        channels = self.config.embed_dim // self.config.num_heads
        own, none = (rotary(positions, channels, self.config.rope_freq) for positions in (places, places.clamp(max=1)))
        return own, none

    def _camera_tokens(self, reference: Int[Tensor, " batch"], views: int) -> Float[Tensor, "batch {views} 1 width"]:
        """Return the tokens that distinguish the reference view from the others.

        The official code also moves the reference view to the front. This is not needed: blocks across views treat the views
        as a set, so that only the token depends on their order.
        """
        of_reference, of_others = self.backbone.pretrained.get_parameter("camera_token")[0]
        chosen = torch.arange(views, device=reference.device) == reference[:, None]
        return torch.where(chosen[..., None], of_reference, of_others)[:, :, None]

    def _reduced_precision(self, images: Tensor) -> torch.autocast:
        return torch.autocast(images.device.type, self.precision, enabled=self.precision != torch.float32)


class _Backbone(nn.Module):
    """Wrapper that gives the trunk its name in the published files."""

    def __init__(self, trunk: DinoV2) -> None:
        super().__init__()
        self.pretrained = trunk


def _trunk(config: DepthAnything3Config) -> DinoV2:
    """Return DINOv2 in the form of these weights, in which the camera tokens are parameters of the trunk."""
    trunk = DinoV2(
        config.embed_dim,
        config.depth,
        config.num_heads,
        image_size=config.img_size,
        patch=config.patch_size,
        mlp_ratio=config.mlp_ratio,
        normed_from=config.qknorm_start,
        antialias=False,
        offset=OFFSET,
    )
    if config.gated_mlp:
        for block in trunk.blocks:
            block.mlp = GatedMlp(config.embed_dim, config.mlp_ratio)
    trunk.norm = nn.LayerNorm(config.embed_dim)
    trunk.register_parameter("camera_token", nn.Parameter(torch.zeros(1, 2, config.embed_dim)))
    return trunk


class _CameraDecoder(nn.Module):
    """Decoder of a view's camera from its two concatenated tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc_t = nn.Linear(width, 3)
        self.fc_qvec = nn.Linear(width, 4)
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def forward(self, tokens: Float[Tensor, "batch frames width"]) -> Float[Tensor, "batch frames 9"]:
        """Return the encoded cameras (networks/pose.py), which are world from camera here."""
        read = self.backbone(tokens)
        return torch.cat([self.fc_t(read), self.fc_qvec(read), self.fc_fov(read)], dim=-1)


def _cameras(
    encoding: Float[Tensor, "batch frames 9"], height: int, width: int
) -> tuple[Float[Tensor, "batch frames 3 4"], Float[Tensor, "batch frames 3 3"]]:
    """Return the camera-from-world transforms, and the intrinsics in pixels."""
    world_from_camera, intrinsics = decode_cameras(encoding, height, width)
    last_row = world_from_camera.new_tensor([0, 0, 0, 1]).expand(*encoding.shape[:-1], 1, 4)
    return invert(torch.cat([world_from_camera, last_row], dim=-2))[..., :3, :], intrinsics
