"""Training in float16: gradients neither vanish nor overflow unsaid. And nothing of accelerate's environment reaches them."""

import math
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch.nn import Linear
from torch.testing import assert_close

from toys import encoded_run, toy_recipe
from videogpa.config import TimestepsConfig, TrainConfig
from videogpa.errors import UserError
from videogpa.models.adapters import new_adapter
from videogpa.models.base import VideoModel
from videogpa.models.loading import load_model
from videogpa.stages import train
from videogpa.storage.run_folder import RunFolder
from videogpa.training import trainer
from videogpa.training.backward import joint, loser_first
from videogpa.training.data import Batch, Batches, read_pairs
from videogpa.training.distributed import new_accelerator
from videogpa.training.precision import Backpropagation, compute_dtype, loss_scale

CPU = torch.device("cpu")
RECIPE = toy_recipe(model={"path": "tiny:i2v"})
OF_A_CLIP = 1_123_200
"""Numbers of the latents of a clip of 49 x 480 x 720. A tiny clip in so many batches a step as make up for it has, number by
number, the gradients of such a clip."""
OF_A_LARGE_CLIP = 5_745_000  # 81 x 768 x 1360


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return encoded_run(tmp_path_factory.mktemp("precision") / "run", RECIPE)


@pytest.fixture(scope="module")
def models(run: RunFolder) -> dict[str, VideoModel]:
    """The trained miniature in two dtypes, each with an adapter that has an effect."""
    return {dtype: load_model(RECIPE.model.model_copy(update={"dtype": dtype}), run) for dtype in ("float32", "float16")}


def spoilt(model: VideoModel) -> PeftModel:
    adapter = new_adapter(model.transformer, targets=model.lora_targets, rank=4, alpha=8, seed=0)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    return adapter


def batch_of(run: RunFolder, model: VideoModel) -> Batch:
    return Batches(read_pairs(run), run, model, CPU, TimestepsConfig(), seed=0).at([0, 1])


def gradients(run: RunFolder, model: VideoModel, settings: TrainConfig, *, scaled: bool = True) -> torch.Tensor:
    """All gradients of the adapter in one vector, times the batches of the step: of a tiny clip that of one batch."""
    adapter, batch = spoilt(model), batch_of(run, model)
    trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    batches = settings.gradient_accumulation_steps
    scale = loss_scale(model.transformer.dtype, batch, settings) if scaled else 1.0
    backpropagate = Backpropagation(batches, scale)
    (joint if settings.joint_forward else loser_first)(model, adapter, batch, settings, backpropagate)
    backpropagate.finish(trained)
    found = torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None])
    adapter.unload()
    return batches * found


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize("joint_forward", [True, False])
@pytest.mark.parametrize("loss", ["sft", "dpo", "dpo+sft"])
def test_gradients_in_float16_are_those_of_float32_at_the_size_of_a_real_clip(
    loss: str, joint_forward: bool, run: RunFolder, models: dict[str, VideoModel]
) -> None:
    numbers = batch_of(run, models["float32"]).winner[0].numel()
    settings = TrainConfig(loss=loss, gradient_accumulation_steps=OF_A_CLIP // numbers, joint_forward=joint_forward)
    exact, found = (gradients(run, models[dtype], settings) for dtype in ("float32", "float16"))
    assert cosine(found, exact) > 0.995
    assert float(found.norm() / exact.norm()) == pytest.approx(1, abs=0.02)
    assert (found == 0).float().mean() < 0.01


def test_without_the_factor_they_vanish(run: RunFolder, models: dict[str, VideoModel]) -> None:
    """What the factor is for; with the paper's beta of 2 a preference fares no better than fine-tuning."""
    for settings in ({"loss": "sft"}, {"loss": "dpo", "beta": 2.0}):
        config = TrainConfig(**settings, gradient_accumulation_steps=OF_A_LARGE_CLIP // 1536)
        exact, found = (gradients(run, models[d], config, scaled=False) for d in ("float32", "float16"))
        assert cosine(found, exact) < 0.8
        assert (found == 0).float().mean() > 0.3
        assert cosine(gradients(run, models["float16"], config), exact) > 0.995


def test_the_factor_is_a_power_of_two_and_one_but_for_float16(run: RunFolder, models: dict[str, VideoModel]) -> None:
    batch = batch_of(run, models["float32"])
    settings = TrainConfig(loss="dpo", beta=500.0, gradient_accumulation_steps=16)
    scale = loss_scale(torch.float16, batch, settings)
    assert math.frexp(scale)[0] == 0.5
    assert scale == pytest.approx(2 * 1536 * 16 / 250, rel=0.42)  # the next power of two
    assert loss_scale(torch.float32, batch, settings) == loss_scale(torch.bfloat16, batch, settings) == 1


def test_division_by_the_factor_changes_no_digit() -> None:
    plain, scaled = Linear(8, 8), Linear(8, 8)
    scaled.load_state_dict(plain.state_dict())
    x = torch.randn(4, 8)
    for layer, scale in ((plain, 1.0), (scaled, 2.0**20)):
        backpropagate = Backpropagation(3, scale)
        for _ in range(3):
            backpropagate(layer(x).square().mean())
        backpropagate.finish(list(layer.parameters()))
    for name, parameter in plain.named_parameters():
        assert_close(scaled.get_parameter(name).grad, parameter.grad, rtol=0, atol=0)


def test_a_network_computes_in_the_dtype_of_most_of_its_numbers() -> None:
    few, many = Linear(2, 2).float(), Linear(9, 9).to(torch.bfloat16)
    assert compute_dtype([*few.parameters(), *many.parameters()]) == torch.bfloat16


def test_a_gradient_that_float16_does_not_hold_stops_the_training_with_the_dtype_to_take(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "loss_scale", lambda *_: 2.0**40)
    recipe = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"dtype": "float16", "steps": 1})})
    with pytest.raises(UserError, match=r"gradient is (inf|nan) at step 0.*float16.*train.dtype to bfloat16"):
        train.run(recipe, RunFolder(run.path))


def test_the_environment_of_accelerate_changes_no_byte_of_an_adapter(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's template or a shell may have set these for another program."""
    recipe = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"steps": 1, "warmup_steps": 0})})
    found = []
    for environment in ({}, {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "8", "ACCELERATE_MIXED_PRECISION": "no"}):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        adapter = train.run(recipe, run)
        found.append((adapter / "adapter_model.safetensors").read_bytes())
        adapter.rename(run / f"moved{len(found)}")
        (run / "train").rename(run / f"moved-train{len(found)}")
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", "mixed_precision fp16"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "mixed_precision bf16"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "true", "Megatron-LM"),
    ],
)
def test_what_would_change_gradients_is_refused_by_name(
    variable: str, value: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=f"{named}.* not supported"):
        new_accelerator(CPU, [], tmp_path)
