"""Adapters of other programs: every format, on the real classes at toy size, against merged weights and diffusers' loader."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_formats import (
    ALPHA,
    CLOSE,
    FORMATS,
    PIPELINES,
    RANK,
    WANS,
    comfyui,
    comfyui_down_up,
    diffusers_file,
    diffusers_with_metadata,
    forward,
    kohya,
    merged,
    network,
    peft,
    pipeline,
    update,
)
from torch import Tensor
from torch.nn import Linear, ModuleDict
from torch.testing import assert_close

from videogpa.errors import UserError
from videogpa.models.adapters import adapted, new_adapter, save_adapter
from videogpa.models.exports import export_adapter
from videogpa.models.lora_names import known_names, original_name
from videogpa.models.toys import wan


@pytest.mark.parametrize("family", PIPELINES)
def test_every_format_equals_merged_weights(family: str, tmp_path: Path) -> None:
    transformer = network(family)
    base, lora = forward(transformer), update(transformer)
    weak = 0.2 * ALPHA / RANK
    expected = {strength: forward(merged(network(family), lora, strength)) for strength in (1.0, ALPHA / RANK, weak)}
    assert (expected[1.0] - base).abs().max() > 1e-3
    for write, strength in FORMATS.items():
        path = write(lora, tmp_path / write.__name__)
        with adapted(transformer, path):
            assert_close(forward(transformer), expected[strength], **CLOSE, msg=lambda text, w=write: f"{w.__name__}: {text}")
        assert torch.equal(forward(transformer), base)
    with adapted(transformer, path, scale=weak):  # its own strength is 1
        assert_close(forward(transformer), expected[weak], **CLOSE)


@pytest.mark.parametrize("family", PIPELINES)
def test_diffusers_itself_gives_the_same_output(family: str, tmp_path: Path) -> None:
    own = network(family)
    lora = update(own)
    formats = [diffusers_file, diffusers_with_metadata] + ([comfyui, kohya, comfyui_down_up] if family in WANS else [])
    for write in formats:
        path = write(lora, tmp_path / write.__name__)
        pipe = pipeline(family)
        pipe.load_lora_weights(path)
        with adapted(own, path):
            assert_close(forward(own), forward(pipe.transformer), **CLOSE, msg=lambda text, w=write: f"{w.__name__}: {text}")


EXPERTS: dict[str, Callable[[], Any]] = {
    "wan2.2-t2v-a14b": wan.two_expert_text_to_video,
    "wan2.2-i2v-a14b": wan.two_expert_image_to_video,
}


def experts(build: Callable[[], Any]) -> ModuleDict:
    pipe = build()
    return ModuleDict({"transformer": pipe.transformer, "transformer_2": pipe.transformer_2}).requires_grad_(False).eval()


def outputs(pair: ModuleDict) -> list[Tensor]:
    return [forward(transformer) for transformer in pair.values()]


@pytest.mark.parametrize("build", EXPERTS.values(), ids=EXPERTS)
def test_two_experts_take_two_files(build: Callable[[], Any], tmp_path: Path) -> None:
    pair = experts(build)
    base = outputs(pair)
    high, low = update(pair["transformer"], seed=1), update(pair["transformer_2"], seed=2)
    strong = experts(build)
    expected = [
        forward(merged(strong[name], lora, ALPHA / RANK)) for name, lora in (("transformer", high), ("transformer_2", low))
    ]

    kohya(high, tmp_path / "k").rename(tmp_path / "k/wan22_HIGH_noise.safetensors")
    kohya(low, tmp_path / "k").rename(tmp_path / "k/wan22_LOW_noise.safetensors")
    comfyui(high, tmp_path / "c").rename(tmp_path / "c/transformer.safetensors")
    comfyui(low, tmp_path / "c").rename(tmp_path / "c/transformer_2.safetensors")
    strong_up = {name: (down, ALPHA / RANK * up) for name, (down, up) in high.items()}
    diffusers_file(strong_up, tmp_path / "d")
    diffusers_file({name: (down, ALPHA / RANK * up) for name, (down, up) in low.items()}, tmp_path / "d/transformer_2")
    both = {f"transformer.{name}": pair_ for name, pair_ in high.items()} | {
        f"transformer_2.{name}": p for name, p in low.items()
    }
    for folder in (tmp_path / "k", tmp_path / "c", tmp_path / "d", peft(both, tmp_path / "p")):
        with adapted(pair, folder):
            for output, wanted in zip(outputs(pair), expected, strict=True):
                assert_close(output, wanted, **CLOSE)
    with adapted(pair, tmp_path / "k/wan22_LOW_noise.safetensors"):
        assert torch.equal(outputs(pair)[0], base[0])
        assert_close(outputs(pair)[1], expected[1], **CLOSE)


def test_a_file_that_does_not_say_its_expert_is_refused(tmp_path: Path) -> None:
    pair = experts(wan.two_expert_text_to_video)
    path = kohya(update(pair["transformer"]), tmp_path)
    with pytest.raises(UserError, match="`high` or `low` in its name"), adapted(pair, path):
        pass


def test_two_files_for_one_transformer_are_refused(tmp_path: Path) -> None:
    transformer = network("wan2.1-t2v")
    for name in ("high", "low"):
        kohya(update(transformer), tmp_path).rename(tmp_path / f"{name}.safetensors")
    with pytest.raises(UserError, match="2 files, and the model one transformer"), adapted(transformer, tmp_path):
        pass


def test_our_own_exports_come_back(tmp_path: Path) -> None:
    transformer = network("wan2.1-t2v")
    adapter = new_adapter(transformer, targets=("to_q", "to_out.0"), rank=RANK, alpha=int(ALPHA), seed=0)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    save_adapter(adapter, tmp_path)
    export_adapter(tmp_path)
    expected = forward(transformer)
    adapter.unload()
    for path in (tmp_path, tmp_path / "diffusers", tmp_path / "comfyui", tmp_path / "comfyui/transformer.safetensors"):
        with adapted(transformer, path):
            assert_close(forward(transformer), expected, **CLOSE)


def test_names_are_unambiguous() -> None:
    for family in PIPELINES:
        transformer = network(family)
        layers = [name for name, module in transformer.named_modules() if isinstance(module, Linear)]
        flattened = {original_name(layer).replace(".", "_") for layer in layers}
        assert len(flattened) == len(layers)
        assert set(known_names(transformer).values()) == set(layers)
