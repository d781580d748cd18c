"""The parts that the geometry networks share, against slow twins and laws."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.critics.networks.dpt import DptHead, add_place_code
from videogpa.critics.networks.pose import decode_cameras
from videogpa.critics.networks.rotary import grid_positions, rotary, rotate
from videogpa.critics.networks.vit import (
    Attention,
    Block,
    DinoV2,
    GatedMlp,
    attend_across_frames,
    attend_within_frames,
    resized_positions,
)


def test_positions_are_row_and_column_from_one_on_and_zero_for_special_tokens() -> None:
    assert grid_positions(2, 3, special=2).tolist() == [[0, 0], [0, 0], [1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]


def test_rotary_turns_pairs_of_channels_as_complex_numbers() -> None:
    positions = torch.tensor([[0, 0], [1, 2], [5, 3]])
    heads = torch.randn(1, 2, 3, 8, dtype=torch.float64)
    turned = rotate(heads, rotary(positions, 8, base=100.0))
    for token, (row, column) in enumerate(positions.tolist()):
        for axis, position in enumerate((row, column)):
            for pair in range(2):  # channels i and i + 2 of the four of an axis
                real, imaginary = 4 * axis + pair, 4 * axis + pair + 2
                angle = position * 100.0 ** (-2 * pair / 4)
                factor = complex(math.cos(angle), math.sin(angle))
                for head in range(2):
                    before, after = heads[0, head, token], turned[0, head, token]
                    expected = complex(before[real], before[imaginary]) * factor
                    assert complex(after[real], after[imaginary]) == pytest.approx(expected, abs=1e-6)


def test_rotary_makes_attention_depend_on_offsets_only() -> None:
    query, key = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64)

    def product(first: list[int], second: list[int]) -> float:
        turns = [rotary(torch.tensor([position]), 16, base=100.0) for position in (first, second)]
        return float((rotate(query, turns[0]) * rotate(key, turns[1])).sum())

    assert product([4, 7], [2, 1]) == pytest.approx(product([3, 8], [1, 2]), abs=1e-5)
    assert product([4, 7], [2, 1]) != pytest.approx(product([4, 7], [2, 2]), abs=1e-3)


def test_rotary_repeats_over_the_frames_of_a_sequence() -> None:
    turns = rotary(grid_positions(2, 2, special=1), 8, base=100.0)
    frames = torch.randn(2, 3, 4, 5, 8)  # [batch frames heads tokens channels]
    one_by_one = torch.stack([rotate(frames[:, i], turns) for i in range(3)], dim=1)
    together = rotate(frames.transpose(1, 2).flatten(2, 3), turns)
    assert torch.equal(together, one_by_one.transpose(1, 2).flatten(2, 3))
    with pytest.raises(ValueError, match="multiple of 4"):
        rotary(torch.tensor([[0, 0]]), 6, base=100.0)


def test_attention_is_the_softmax_of_the_products() -> None:
    attention = Attention(12, 3, qk_norm=True).double()
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    q, k, v = attention.qkv(tokens).chunk(3, dim=-1)
    read = torch.empty_like(tokens)
    for head in range(3):
        own = slice(4 * head, 4 * head + 4)
        products = attention.q_norm(q[..., own]) @ attention.k_norm(k[..., own]).transpose(1, 2)
        read[..., own] = (products / 2).softmax(-1) @ v[..., own]
    assert torch.allclose(attention(tokens), attention.proj(read))


def test_the_gated_mlp_is_dinov2_s() -> None:
    from transformers import Dinov2Config
    from transformers.models.dinov2.modeling_dinov2 import Dinov2SwiGLUFFN

    ours, theirs = GatedMlp(20, 4.0), Dinov2SwiGLUFFN(Dinov2Config(hidden_size=20, mlp_ratio=4))
    weights, biases = ours.w12.weight.chunk(2), ours.w12.bias.chunk(2)
    for layer, weight, bias in zip((theirs.gate_proj, theirs.up_proj), weights, biases, strict=True):
        layer.load_state_dict({"weight": weight, "bias": bias})
    theirs.down_proj.load_state_dict(ours.w3.state_dict())
    tokens = torch.randn(2, 3, 20)
    assert torch.allclose(ours(tokens), theirs(tokens), atol=1e-6)
    assert ours.w3.in_features == 56  # 80 * 2 / 3 = 53.3, rounded up to a multiple of 8


def test_blocks_see_one_frame_or_all() -> None:
    block = Block(8, 2)
    tokens = torch.randn(2, 3, 4, 8)
    changed = tokens.clone()
    changed[:, 2] = torch.randn(2, 4, 8)
    within = attend_within_frames(block, changed) - attend_within_frames(block, tokens)
    across = attend_across_frames(block, changed) - attend_across_frames(block, tokens)
    assert within[:, :2].abs().max() == 0
    assert across[:, :2].abs().max() > 1e-4


def test_positions_keep_their_own_size_and_follow_others() -> None:
    table = torch.randn(1, 1 + 16, 6)
    assert resized_positions(table, 4, 4, antialias=True, offset=0.0) is table
    wide = resized_positions(table, 3, 7, antialias=True, offset=0.0)
    square = table[:, 1:].reshape(1, 4, 4, 6).permute(0, 3, 1, 2)
    expected = interpolate(square, size=(3, 7), mode="bicubic", antialias=True)
    assert torch.equal(wide[:, 0], table[:, 0])
    assert torch.equal(wide[:, 1:].reshape(1, 3, 7, 6).permute(0, 3, 1, 2), expected)
    shifted = resized_positions(table, 3, 7, antialias=False, offset=0.1)
    assert shifted.shape == wide.shape
    assert not torch.allclose(shifted, resized_positions(table, 3, 7, antialias=False, offset=0.0))


def test_the_backbone_knows_where_a_patch_is_and_refuses_broken_patches() -> None:
    torch.manual_seed(0)
    backbone = DinoV2(16, 1, 2, image_size=28, registers=2, antialias=True, offset=0.0)
    torch.nn.init.normal_(backbone.pos_embed)
    grey = torch.full((1, 3, 42, 28), 0.5)
    tokens = backbone.embed(grey)
    assert tokens.shape == (1, 1 + 2 + 6, 16)
    assert backbone(grey).shape == (1, 6, 16)
    assert len({tuple(token.tolist()) for token in tokens[0, 3:]}) == 6
    with pytest.raises(ValueError, match=r"43 x 28 pixels.*multiples of 14"):
        backbone(torch.zeros(1, 3, 43, 28))


def place_code(height: int, width: int, aspect: float, channels: int) -> Tensor:
    """The same, number by number: sin and cos of x, then of y, over 100 ** (i / (channels / 4))."""
    code = torch.empty(channels, height, width, dtype=torch.float64)
    quarter = channels // 4
    diagonal = math.hypot(aspect, 1)
    for row in range(height):
        for column in range(width):
            x = ((column + 0.5) / width * 2 - 1) * aspect / diagonal
            y = ((row + 0.5) / height * 2 - 1) / diagonal
            for i in range(quarter):
                for axis, value in enumerate((x, y)):
                    angle = value / 100 ** (i / quarter)
                    code[2 * axis * quarter + i, row, column] = 0.1 * math.sin(angle)
                    code[(2 * axis + 1) * quarter + i, row, column] = 0.1 * math.cos(angle)
    return code


def test_place_codes_are_sines_and_cosines_of_pixel_centres() -> None:
    coded = add_place_code(torch.zeros(1, 8, 3, 5, dtype=torch.float64), aspect=2.0)
    assert torch.allclose(coded[0], place_code(3, 5, 2.0, 8), atol=1e-12)


@pytest.mark.parametrize("rectified", [True, False])
def test_the_dense_head_returns_the_size_of_the_image(rectified: bool) -> None:
    head = DptHead(12, features=8, channels=(4, 4, 8, 8), outputs=3, rectified_skips=rectified)
    maps = [head.project(stage, torch.randn(2, 15, 12), 3, 5) for stage in range(4)]
    assert head(maps).shape == (2, 3, 42, 70)


def test_cameras_are_decoded() -> None:
    half = math.sqrt(0.5)
    encoding = torch.tensor([1, 2, 3, 0, 0, half, half, math.pi / 2, 2 * math.atan(2)])
    extrinsic, intrinsic = decode_cameras(encoding, 40, 60)
    assert torch.allclose(extrinsic, torch.tensor([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]]), atol=1e-6)
    assert torch.allclose(intrinsic, torch.tensor([[15.0, 0, 30], [0, 20, 20], [0, 0, 1]]), atol=1e-5)
