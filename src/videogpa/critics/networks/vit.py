"""Vision transformer: the DINOv2 backbone, and the blocks that VGGT and Depth Anything 3 build on it.

Oquab et al. 2023, "DINOv2", https://arxiv.org/abs/2304.07193; register tokens: Darcet et al. 2023,
https://arxiv.org/abs/2309.16588; LayerScale: Touvron et al. 2021, https://arxiv.org/abs/2103.17239.

Attributes have the names of the published tensors. Under autocast the norms, the residual stream and the rotations of the
rotary embeddings stay in float32.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from videogpa.critics.networks.rotary import Rotary, rotate

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class Attention(nn.Module):
    """Self-attention over the tokens of a sequence, with normalised queries and keys if `qk_norm`."""

    def __init__(self, width: int, heads: int, *, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], turns: Rotary | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the result of attention of every token to all tokens of its sequence; `turns` rotate queries and keys."""
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if turns is not None:
            q, k = rotate(q, turns), rotate(k, turns)
        read = functional.scaled_dot_product_attention(q, k, v)
        mixed: Tensor = self.proj(read.transpose(1, 2).flatten(2))
        return mixed


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        """Apply both layers."""
        changed: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return changed


class GatedMlp(nn.Module):
    """SwiGLU, in place of the two layers in DINOv2's largest size: Shazeer 2020, https://arxiv.org/abs/2002.05202."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        hidden = -(-int(int(width * ratio) * 2 / 3) // 8) * 8  # as many weights as without a gate, in eights (DINOv2's code)
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Apply the layers."""
        gate, value = self.w12(tokens).chunk(2, dim=-1)
        changed: Tensor = self.w3(functional.silu(gate) * value)
        return changed


class LayerScale(nn.Module):
    """One learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Scale the channels."""
        return tokens * self.gamma


class Block(nn.Module):
    """A pre-norm transformer block with LayerScale."""

    def __init__(self, width: int, heads: int, *, mlp_ratio: float = 4.0, qk_norm: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qk_norm=qk_norm)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, int(width * mlp_ratio), width)
        self.ls2 = LayerScale(width)

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], turns: Rotary | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Apply attention, then the MLP to each token."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens), turns))
        changed: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return changed


def attend_within_frames(
    block: nn.Module, tokens: Float[Tensor, "batch frames tokens width"], turns: Rotary | None = None
) -> Float[Tensor, "batch frames tokens width"]:
    """Apply a `Block` to each frame separately."""
    return torch.unflatten(block(tokens.flatten(0, 1), turns), 0, tokens.shape[:2])


def attend_across_frames(
    block: nn.Module, tokens: Float[Tensor, "batch frames tokens width"], turns: Rotary | None = None
) -> Float[Tensor, "batch frames tokens width"]:
    """Apply a `Block` to the tokens of all frames together; `turns` are those of one frame."""
    return torch.unflatten(block(tokens.flatten(1, 2), turns), 1, tokens.shape[1:3])


class PatchEmbedding(nn.Module):
    """One token per patch of the image."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images patches channels"]:
        """Return the patches row by row."""
        maps: Tensor = self.proj(images)
        return maps.flatten(2).transpose(1, 2)


class DinoV2(nn.Module):
    """The DINOv2 transformer: class token, register tokens if it has them, then the patches row by row.

    Other networks use the parts `embed`, `blocks` and `norm`, with their own attention between them.

    `normed_from` is the first block whose queries and keys are normalised (none, if None). `antialias` and `offset` set how the
    position embeddings are resized: their values must be those that the weights were trained with.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        *,
        image_size: int = 518,
        patch: int = 14,
        registers: int = 0,
        mlp_ratio: float = 4.0,
        eps: float = 1e-6,
        normed_from: int | None = None,
        antialias: bool,
        offset: float,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.antialias = antialias
        self.offset = offset
        self.special = 1 + registers
        self.patch_embed = PatchEmbedding(width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch) ** 2, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        normed = depth if normed_from is None else normed_from
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio=mlp_ratio, qk_norm=i >= normed, eps=eps) for i in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=eps)

    def embed(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images tokens channels"]:
        """Return class token, registers and patches, with their position embeddings; images are normalised as ImageNet's.

        Raises:
            ValueError: If a side is not a multiple of the patch size.
        """
        rows, columns = patch_grid(images, self.patch)
        table = resized_positions(self.pos_embed, rows, columns, antialias=self.antialias, offset=self.offset)
        patches = self.patch_embed(images) + table[:, 1:]
        special = self.cls_token + table[:, :1]
        if self.register_tokens is not None:
            special = torch.cat([special, self.register_tokens], dim=1)
        return torch.cat([special.expand(len(images), -1, -1), patches], dim=1)

    def forward(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images patches channels"]:
        """Return the normed patch tokens."""
        tokens = self.embed(images)
        for block in self.blocks:
            tokens = block(tokens)
        patches: Tensor = self.norm(tokens[:, self.special :])
        return patches


def normalise(images: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch 3 height width"]:
    """Return RGB in [0, 1] normalised by ImageNet's mean and standard deviation, as in DINOv2's training."""
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return (images - mean) / deviation


def patch_grid(images: Float[Tensor, "*batch 3 height width"], patch: int) -> tuple[int, int]:
    """Return the numbers of rows and columns of patches, for patches of `patch` pixels.

    Raises:
        ValueError: If a side is not a multiple of the patch size.
    """
    height, width = images.shape[-2:]
    if height % patch or width % patch or not height or not width:
        raise ValueError(f"images of {height} x {width} pixels; both sides have to be multiples of {patch}")
    return height // patch, width // patch


def resized_positions(
    table: Float[Tensor, "1 entries width"], rows: int, columns: int, *, antialias: bool, offset: float
) -> Float[Tensor, "1 new_entries width"]:
    """Resize position embeddings, the class token's and those of a square of patches, to another number of patches.

    The interpolation is bicubic. A table that has the size already is returned unchanged.

    Args:
        table: Position embeddings: the class token's, then those of the patches row by row.
        rows: New number of rows of patches.
        columns: New number of columns.
        antialias: Whether the interpolation is antialiased.
        offset: If not 0, the scale is (patches + offset) / side, which older weights need: it shifts the samples by a fraction
            of a patch.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if rows == columns == side:
        return table
    square = torch.unflatten(table[:, 1:].float(), 1, (side, side)).permute(0, 3, 1, 2)
    size = {"scale_factor": ((rows + offset) / side, (columns + offset) / side)} if offset else {"size": (rows, columns)}
    resized = functional.interpolate(square, mode="bicubic", antialias=antialias, **size)
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)
