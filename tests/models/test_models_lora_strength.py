"""Adapters of other programs: how strong they are, and which are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_formats import (
    ALPHA,
    CLOSE,
    RANK,
    WANS,
    config,
    diffusers_file,
    forward,
    kohya,
    merged,
    named,
    network,
    peft,
    peft_of_original,
    pipeline,
    put,
    single,
    update,
)
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch.nn import Dropout
from torch.testing import assert_close

from videogpa.errors import UserError
from videogpa.models.adapters import CONFIG_FILE, WEIGHTS_FILE, adapted, adapter_fingerprint, warn_of_assumed_strength
from videogpa.models.exports import export_adapter
from videogpa.models.lora_names import original_name

# Strength.


def test_rslora_divides_alpha_by_the_root_of_the_rank_here_in_peft_and_in_the_exports(tmp_path: Path) -> None:
    transformer = network("wan2.1-t2v")
    settings = LoraConfig(r=RANK, lora_alpha=int(ALPHA), use_rslora=True, target_modules=["to_q"], init_lora_weights=False)
    adapter = get_peft_model(transformer, settings)
    expected = forward(transformer)
    adapter.save_pretrained(tmp_path)
    adapter.unload()
    export_adapter(tmp_path)
    for path in (tmp_path, tmp_path / "diffusers", tmp_path / "comfyui"):
        with adapted(transformer, path):
            assert_close(forward(transformer), expected, **CLOSE)
    pipe = pipeline("wan2.1-t2v")
    pipe.load_lora_weights(tmp_path / "diffusers")
    assert_close(forward(pipe.transformer), expected, **CLOSE)


def test_ranks_and_alphas_of_single_layers_are_those_of_peft(tmp_path: Path) -> None:
    transformer = network("cogvideox-t2v")
    layer = "transformer_blocks.1.attn1.to_q"
    settings = LoraConfig(
        r=RANK, lora_alpha=8, target_modules=["to_q", "to_k"], rank_pattern={layer: 2}, alpha_pattern={"attn1.to_k": 3},
        init_lora_weights=False,
    )  # fmt: skip
    adapter = get_peft_model(transformer, settings)
    expected = forward(transformer)
    adapter.save_pretrained(tmp_path)
    adapter.unload()
    with adapted(transformer, tmp_path):
        assert_close(forward(transformer), expected, **CLOSE)


PUBLISHED = {
    **{"alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None, "bias": "none", "corda_config": None},
    **{"auto_mapping": {"base_model_class": "CogVideoXTransformer3DModel", "parent_library": "diffusers"}, "eva_config": None},
    **{"base_model_name_or_path": None, "ensure_weight_tying": False, "exclude_modules": None, "fan_in_fan_out": False},
    **{"inference_mode": True, "init_lora_weights": True, "layer_replication": None, "layers_pattern": None},
    **{"layers_to_transform": None, "loftq_config": {}, "lora_alpha": 128.0, "lora_bias": False, "lora_dropout": 0.0},
    **{"megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None, "peft_type": "LORA"},
    **{"peft_version": "0.18.0", "qalora_group_size": 16, "r": 64, "rank_pattern": {}, "revision": None, "task_type": None},
    **{"target_modules": ["to_v", "to_q", "to_k", "to_out.0"], "target_parameters": None, "trainable_token_indices": None},
    **{"use_dora": False, "use_qalora": False, "use_rslora": False},
}
"""The config of VideoGPA's releases: every field that PEFT 0.18 wrote."""
RELEASES = {
    "T2V": ("cogvideox-t2v", True, 1.0, 2.0),
    "I2V": ("cogvideox-i2v", True, 1.0, 2.0),
    "I2V-1K, which has no config": ("cogvideox-i2v", False, 2.0, 2.0),
    "T2V1.5, an absolute 0.2": ("cogvideox1.5-t2v", True, 0.1, 0.2),
    "Wan2.2 TI2V, 0.2 of as trained": ("wan2.2-ti2v", True, 0.2, 0.4),
    "Wan2.2 TI2V without a config": ("wan2.2-ti2v", False, 0.4, 0.4),
}
"""Model, whether a config lies beside the weights, `adapter_scale` as the docs have it, the strength that it gives."""


@pytest.mark.parametrize(("family", "has_config", "scale", "strength"), RELEASES.values(), ids=RELEASES)
def test_the_releases_of_videogpa_have_the_strength_that_the_docs_give(
    family: str, has_config: bool, scale: float, strength: float, tmp_path: Path
) -> None:
    transformer = network(family)
    lora = {name: matrices for name, matrices in update(transformer, rank=64).items() if ".attn" in name}
    name = original_name if family in WANS else str
    targets = {"target_modules": ["q", "k", "v", "o"]} if family in WANS else {}
    weights = named(lora, lambda layer: f"base_model.model.{name(layer)}")
    path = put(tmp_path / "release", weights, {**PUBLISHED, **targets} if has_config else None)
    with adapted(transformer, path, scale=scale):
        assert_close(forward(transformer), forward(merged(network(family), lora, strength)), **CLOSE)


def test_an_alpha_that_is_assumed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    transformer = network("cogvideox-t2v")
    lora = update(transformer)
    with caplog.at_level("INFO"), adapted(transformer, peft(lora, tmp_path / "peft")):
        pass
    assert "rank 4, strength 1.5" in caplog.text
    for path in (tmp_path / "peft/a", kohya(lora, tmp_path / "kohya")):
        warn_of_assumed_strength(path)
    assert "is assumed" not in caplog.text
    path = diffusers_file(lora, tmp_path)
    warn_of_assumed_strength(path)
    assert f"adapter {path} does not say its alpha: alpha = rank (strength 1) is assumed" in caplog.text


def test_dropout_of_a_foreign_adapter_is_off(tmp_path: Path) -> None:
    """In training mode PEFT would drop a tenth of the inputs, and two calls would differ by 0.04."""
    transformer = network("cogvideox-t2v")
    adapter = get_peft_model(
        transformer, LoraConfig(r=8, lora_dropout=0.1, target_modules=["to_q", "to_v"], init_lora_weights=False)
    )
    adapter.save_pretrained(tmp_path)
    adapter.eval()
    expected = forward(transformer)
    adapter.unload()
    transformer.train()  # even then
    with adapted(transformer, tmp_path):
        assert torch.equal(forward(transformer), forward(transformer))
        assert_close(forward(transformer), expected, **CLOSE)
        assert not any(module.p for module in transformer.modules() if isinstance(module, Dropout) and module.training)


# What is refused.


def test_a_lora_of_another_model_is_refused_by_name(tmp_path: Path) -> None:
    lora = update(network("wan2.1-t2v"))
    transformer = network("cogvideox-t2v")
    before = forward(transformer)
    with pytest.raises(UserError, match="look like those of Wan"), adapted(transformer, kohya(lora, tmp_path)):
        pass
    assert torch.equal(forward(transformer), before)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("diffusion_model.blocks.0.self_attn.q.dora_scale", "DoRA"),
        ("base_model.model.blocks.0.attn1.to_q.lora_magnitude_vector", "DoRA"),
        ("lora_unet_blocks_0_self_attn_q.lokr_w1", "LoKr"),
        ("lora_unet_blocks_0_self_attn_q.hada_w1_a", "LoHa"),
        ("base_model.model.blocks.0.attn1.to_k.ia3_l", "IA3"),
        ("lora_unet_blocks_0_self_attn_q.lora_mid.weight", "convolutions"),
        ("diffusion_model.blocks.0.norm3.diff", r"\.diff"),
        ("diffusion_model.blocks.0.self_attn.q.diff_b", r"\.diff"),
        ("base_model.model.blocks.0.attn1.to_q.lora_B.bias", "biases"),
        ("base_model.model.proj_out.modules_to_save.weight", "modules_to_save"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "text encoder"),
        ("blocks.0.self_attn.q.weight", "other tensors beside it"),
    ],
)
def test_another_method_is_refused_by_its_kind(key: str, kind: str, tmp_path: Path) -> None:
    weights = named(update(network("wan2.1-t2v")), lambda layer: f"diffusion_model.{original_name(layer)}")
    path = single(tmp_path / "a.safetensors", {**weights, key: torch.ones(4)})
    with pytest.raises(UserError, match=kind):
        adapter_fingerprint(path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["proj_out"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"r": 10**9}, "r: "),
        ({"r": 0}, "r: "),
        ({"r": -1}, "r: "),
        ({"r": 8}, "rank 4, and its config says r 8"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"lora_alpha": float("nan")}, "lora_alpha"),
        ({"alpha_pattern": {"(a+)+$": 3}}, "regular expressions"),
    ],
)
def test_an_impossible_config_is_refused_by_its_field(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    transformer = network("cogvideox-t2v")
    path = peft(update(transformer), tmp_path)
    (path / CONFIG_FILE).write_text(json.dumps(config(**wrong)))
    with pytest.raises(UserError, match=said), adapted(transformer, path):
        pass


def test_a_regex_of_a_foreign_config_is_never_run(tmp_path: Path) -> None:
    """`(\\w+)*!` would take PEFT longer than the universe has existed."""
    transformer = network("cogvideox-t2v")
    lora = update(transformer)
    path = peft(lora, tmp_path)
    (path / CONFIG_FILE).write_text(json.dumps(config(target_modules=r"(\w+\.?)*!", task_type="CAUSAL_LM")))
    with adapted(transformer, path):
        assert_close(forward(transformer), forward(merged(network("cogvideox-t2v"), lora, ALPHA / RANK)), **CLOSE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_named_as_such(value: float, tmp_path: Path) -> None:
    transformer = network("cogvideox-t2v")
    path = peft(update(transformer), tmp_path)
    weights = load_file(path / WEIGHTS_FILE)
    name = sorted(weights)[0]
    weights[name][0, 0] = value
    save_file(weights, path / WEIGHTS_FILE)
    with pytest.raises(UserError, match=f"NaN or Inf in 1 tensors \\({name}"), adapted(transformer, path):
        pass


def test_blocks_that_a_config_adapts_and_the_file_lacks_are_missing(tmp_path: Path) -> None:
    """As of an adapter for a model with fewer blocks: half of it would be adapted."""
    transformer = network("wan2.1-t2v")
    half = {name: lora for name, lora in update(transformer).items() if name.startswith("blocks.0.")}
    path = peft_of_original(half, tmp_path)
    with pytest.raises(UserError, match=r"10 missing \(blocks\.1\.attn1"), adapted(transformer, path):
        pass
