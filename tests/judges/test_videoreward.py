"""The judge videoreward against what the original returned (golden/README.md), and each of its steps by number."""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from judge_toys import GOLDEN, reward_folder, reward_weights
from PIL import Image
from safetensors.torch import save_file
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from golden_networks import draw
from videogpa.convert import convert
from videogpa.errors import UserError
from videogpa.judges import videoreward
from videogpa.judges.base import CannotJudge, JudgedClip, of_frames
from videogpa.judges.videoreward.checkpoint import Lora, Norm, merged, own_name
from videogpa.judges.videoreward.inputs import TOKENS, chosen_frames, patches, question, resized, size_for_network
from videogpa.judges.videoreward.judge import VideoRewardJudge

EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text())
RAW = dict(zip(("VQ", "MQ", "TA"), EXPECTED["logits"]["1"], strict=True))
MEANS = {"VQ": (3.6757, 2.2476), "MQ": (1.1646, 1.3811), "TA": (2.8105, 2.5121)}


@pytest.fixture(scope="module")
def clip() -> JudgedClip:
    """The clip of the golden data."""
    frames = (255 * draw("frames", 25, 3, 40, 60)).round() / 255
    return of_frames(frames, fps=8.0, text=EXPECTED["text"])


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> VideoRewardJudge:
    return VideoRewardJudge(reward_folder(tmp_path_factory.mktemp("reward")), device="cpu")


def test_the_rewards_are_those_of_the_original(judge: VideoRewardJudge, clip: JudgedClip) -> None:
    """Which has the LoRA apart, runs in transformers 4.45.2, and numbers the tokens of clip and text one after the other."""
    normal = {name: (RAW[name] - mean) / std for name, (mean, std) in MEANS.items()}
    found = judge.judge(clip)
    assert found == {
        "vq": pytest.approx(normal["VQ"], abs=2e-5),
        "mq": pytest.approx(normal["MQ"], abs=2e-5),
        "ta": pytest.approx(normal["TA"], abs=2e-5),
        "ovl": pytest.approx(sum(normal.values()), abs=6e-5),
    }
    assert judge.details | {"weights": "", "sha256": ""} == {
        "weights": "", "sha256": "", "fps": "2", "pixels": "200704", "dtype": "float32",
    }  # fmt: skip


def test_a_head_of_three_outputs_is_read_on_its_diagonal(tmp_path: Path, clip: JudgedClip) -> None:
    found = VideoRewardJudge(reward_folder(tmp_path, reward_weights(outputs=3)), device="cpu").judge(clip)
    assert [found[key] * std + mean for key, (mean, std) in zip(("vq", "mq", "ta"), MEANS.values(), strict=True)] == (
        pytest.approx(EXPECTED["logits"]["3"], abs=5e-5)
    )


def test_pixels_and_tokens_are_those_of_the_original(judge: VideoRewardJudge, clip: JudgedClip) -> None:
    cut, grid = patches(resized(clip.read(chosen_frames(25, 8.0))))
    assert list(grid) == EXPECTED["grid"]
    pixels = EXPECTED["pixels"]
    assert [float(cut.double().mean()), float(cut.double().std())] == pytest.approx([pixels["mean"], pixels["std"]], abs=1e-6)
    torch.testing.assert_close(cut[0, :5], torch.tensor(pixels["first"]))
    torch.testing.assert_close(cut[1000, 700:705], torch.tensor(pixels["at_1000"]))
    ids = judge._tokenizer.encode(question(EXPECTED["text"], math.prod(grid) // 4), add_special_tokens=False).ids
    assert len(ids) == EXPECTED["tokens"]
    assert zlib.crc32(np.array(ids, dtype="<i4").tobytes()) == EXPECTED["ids_crc32"]


def test_patches_are_those_of_transformers_own_processor() -> None:
    """Of a picture, which it takes for two equal frames."""
    picture = np.random.default_rng(0).integers(0, 256, (84, 112, 3), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(min_pixels=784, max_pixels=84 * 112)
    theirs = processor(Image.fromarray(picture), return_tensors="pt")
    frames = torch.from_numpy(picture).permute(2, 0, 1)[None].repeat(2, 1, 1, 1) / 255
    cut, grid = patches(frames)
    assert list(grid) == theirs["image_grid_thw"][0].tolist()
    torch.testing.assert_close(cut, theirs["pixel_values"], atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("total", "fps", "indices"),
    [
        (25, 8.0, [0, 5, 10, 14, 19, 24]),  # 3.125 s: 6.25 frames, rounded to an even number
        (81, 16.0, [0, 9, 18, 27, 36, 44, 53, 62, 71, 80]),  # 5.06 s
        (9, 8.0, [0, 3, 5, 8]),  # four at least
        (3, 8.0, [0, 2]),  # and an even number of those that there are
        (2, 1000.0, [0, 1]),
    ],
)
def test_two_frames_a_second_are_read_evenly_spread(total: int, fps: float, indices: list[int]) -> None:
    assert chosen_frames(total, fps) == indices


def test_no_more_than_768_frames_are_read_and_no_fewer_than_two() -> None:
    assert len(chosen_frames(100_000, 24.0)) == 768
    with pytest.raises(CannotJudge, match="one frame"):
        chosen_frames(1, 8.0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 720), (364, 532)),
        ((720, 1280), (336, 588)),
        ((40, 60), (280, 392)),
        ((336, 588), (336, 588)),
        ((1280, 720), (588, 336)),
    ],
)
def test_sides_are_multiples_of_28_with_as_many_pixels_as_the_network_was_trained_on(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    """The expected sizes by hand: floor(side / sqrt(pixels / 200704) / 28) * 28 of what is larger."""
    assert size_for_network(*size) == expected
    assert 100_352 <= expected[0] * expected[1] <= 200_704


def test_the_question_is_the_one_the_weights_were_trained_with() -> None:
    asked = question("a {cat}", 3)
    assert asked.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>")
    assert asked.count("<|video_pad|>") == 3
    assert "\nTextual prompt - a {cat}\nPlease provide the ratings of Text Alignment: <|TA_reward|>\nEND\n<|im_end|>" in asked
    assert [asked.count(token) for token in TOKENS] == [1, 1, 1]
    template = Path(videoreward.__file__).with_name("detailed_special.txt").read_bytes()
    assert (len(template), zlib.crc32(template)) == (3997, 1577175740)


def test_rewards_are_normalised_by_the_published_mean_and_deviation() -> None:
    norm = Norm(VQ_mean=3.6757, VQ_std=2.2476, MQ_mean=1.1646, MQ_std=1.3811, TA_mean=2.8105, TA_std=2.5121)
    found = norm.of({"VQ": 3.6757 + 2.2476, "MQ": 1.1646 - 2 * 1.3811, "TA": 2.8105})
    assert [round(found[name], 12) for name in ("VQ", "MQ", "TA", "Overall")] == [1, -2, 0, -1]


def later(name: str) -> str:
    """The name that transformers 4.52 and later give to a tensor of 4.45."""
    bare = name.removeprefix("base_model.model.")
    if bare.startswith("model."):
        return f"base_model.model.model.language_model.{bare.removeprefix('model.')}"
    return f"base_model.model.model.{bare}" if bare.startswith("visual.") else name


def test_names_of_three_versions_of_transformers_are_brought_to_one(judge: VideoRewardJudge) -> None:
    names = list(reward_weights())
    own = {own_name(name) for name in names}
    assert own == {own_name(later(name)) for name in names} == {own_name(own_name(name)) for name in names}
    expected = set(judge._network.network.state_dict())
    assert {name for name in own if ".lora_" not in name} - {"lm_head.weight", "rm_head.weight"} == expected
    assert (
        own_name("base_model.model.model.layers.3.mlp.up_proj.base_layer.weight")
        == "language_model.layers.3.mlp.up_proj.weight"
    )


def test_a_file_of_a_later_transformers_without_the_tied_matrix_gives_the_same_numbers(
    tmp_path: Path, judge: VideoRewardJudge, clip: JudgedClip
) -> None:
    tensors = {later(name): tensor for name, tensor in reward_weights().items() if not name.endswith("lm_head.weight")}
    assert VideoRewardJudge(reward_folder(tmp_path, tensors), device="cpu").judge(clip) == pytest.approx(
        judge.judge(clip), abs=1e-6
    )


def test_the_lora_is_added_with_its_strength() -> None:
    base = {"base_model.model.rm_head.weight": torch.zeros(1, 2)}
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    base |= {f"{layer}.base_layer.weight": torch.eye(2), f"{layer}.lora_A.default.weight": torch.tensor([[1.0, 2.0]])}
    base |= {f"{layer}.lora_B.default.weight": torch.tensor([[3.0], [4.0]])}
    found = merged(base, Lora(lora_r=1, lora_alpha=0.5), Path("f")).network["language_model.layers.0.self_attn.q_proj.weight"]
    assert found.tolist() == [[1 + 0.5 * 3, 0.5 * 6], [0.5 * 4, 1 + 0.5 * 8]]
    four = {
        name: tensor.repeat(4, 1) if "lora_A" in name else tensor.repeat(1, 4) if "lora_B" in name else tensor
        for name, tensor in base.items()
    }
    rooted = merged(four, Lora(lora_r=4, lora_alpha=0.5, use_rslora=True), Path("f"))
    assert rooted.network["language_model.layers.0.self_attn.q_proj.weight"].tolist() == [[1 + 3, 6], [4, 1 + 8]]  # 0.5 / 2 x 4


def test_a_clip_without_a_text_or_with_the_networks_own_tokens_in_it_is_declined(
    judge: VideoRewardJudge, clip: JudgedClip
) -> None:
    frames = clip.read(range(9))
    for text, says in (
        (None, "has none"),
        ("", "has none"),
        ("a <|TA_reward|>", "keeps for itself"),
        ("<|video_pad|>", "keeps for itself"),
    ):
        with pytest.raises(CannotJudge, match=says):
            judge.judge(of_frames(frames, fps=8.0, text=text))
    with pytest.raises(CannotJudge, match="tokens, and the network reads 32,768"):
        judge.judge(of_frames(frames, fps=8.0, text="long " * 7000))


def test_what_is_published_is_converted_and_then_read(tmp_path: Path, clip: JudgedClip, judge: VideoRewardJudge) -> None:
    folder = reward_folder(tmp_path)
    (folder / "checkpoint-7/model.safetensors").unlink()
    torch.save(reward_weights(), folder / "checkpoint-7/model.pth")
    with pytest.raises(UserError, match=r"checkpoint-7/model\.pth is a pickle .*python -m videogpa\.convert "):
        VideoRewardJudge(folder)
    convert(folder / "checkpoint-7/model.pth")
    assert VideoRewardJudge(folder, device="cpu").judge(clip) == pytest.approx(judge.judge(clip), abs=1e-6)


def without(end: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in reward_weights().items() if not name.endswith(end)}


@pytest.mark.parametrize(
    ("files", "tensors", "says"),
    [
        ({"tokenizer.json": None}, None, "lacks tokenizer.json of Qwen2-VL"),
        ({"tokenizer.json": "{}"}, None, "its tokenizer cannot be loaded"),
        ({"model_config.json": None}, None, "model_config.json does not exist"),
        ({"model_config.json": {"inference_config": {"VQ_std": 0}}}, None, "inference_config.VQ_std"),
        ({"model_config.json": {"data_config": {"prompt_template_type": "simple"}}}, None, "only the template"),
        ({"config.json": {"num_hidden_layers": 3}}, None, "missing: language_model.layers.2"),
        ({"config.json": {"hidden_size": 60_000, "num_attention_heads": 1000}}, None, "does not fit text_config"),
        ({}, without("rm_head.weight"), "holds no rm_head.weight"),
        ({}, without("layers.0.mlp.up_proj.lora_A.default.weight"), "is not whole"),
        ({}, without("embed_tokens.weight"), "missing: language_model.embed_tokens"),
        ({"model_config.json": {"peft_lora_config": {"lora_r": 8}}}, None, "with the rank 8 of model_config.json"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(
    files: dict[str, Any], tensors: dict[str, torch.Tensor] | None, says: str, tmp_path: Path
) -> None:
    folder = reward_folder(tmp_path / "reward", tensors)
    for name, content in files.items():
        if content is None:
            (folder / name).unlink()
        elif isinstance(content, str):
            (folder / name).write_text(content)
        else:
            before = json.loads((folder / name).read_text())
            mixed = {key: {**before[key], **value} if isinstance(value, dict) else value for key, value in content.items()}
            (folder / name).write_text(json.dumps({**before, **mixed}))
    with pytest.raises(UserError, match=says):
        VideoRewardJudge(folder)


def test_of_several_checkpoints_the_newest_is_read(tmp_path: Path) -> None:
    folder = reward_folder(tmp_path)
    (folder / "checkpoint-11").mkdir()
    save_file({"a": torch.zeros(1)}, folder / "checkpoint-11/model.safetensors")
    with pytest.raises(UserError, match=r"checkpoint-11/model\.safetensors holds no rm_head"):
        VideoRewardJudge(folder)
