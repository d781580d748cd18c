"""The settings of sampling that are not for every model: they do what diffusers does, and others refuse them by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, UniPCMultistepScheduler

from toys import toy_recipe
from videogpa.config import ModelConfig, Recipe
from videogpa.errors import InvalidInput, UserError
from videogpa.models.base import GenerationRequest, Sampling
from videogpa.models.loading import check_sampling
from videogpa.registry import MODELS, load
from videogpa.stages import evaluate, generate, prompts
from videogpa.storage.run_folder import RunFolder

TEXT, NEGATIVE = "A quiet room; the camera orbits the objects.", "still, blurred 静态"


def sample(model: Any, sampling: Sampling) -> torch.Tensor:
    [made] = model.generate([GenerationRequest(TEXT, None, seed=3)], sampling)
    video: torch.Tensor = made.video
    return video


def by_diffusers(pipeline: Any, **settings: Any) -> torch.Tensor:
    """A clip of 9 x 32 x 32 in three steps, by the raw pipeline called with plain strings."""
    pipeline.set_progress_bar_config(disable=True)
    video: torch.Tensor = pipeline(
        prompt=TEXT,
        height=32,
        width=32,
        num_frames=9,
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
        **settings,
    ).frames[0]
    return video


def test_a_negative_prompt_a_second_guidance_and_a_shift_are_diffusers_own(folder: Callable[[str], Path]) -> None:
    """Of Wan2.2 A14B in miniature, which takes all three; afterwards the scheduler is that of the folder again."""
    path = folder("wan2.2-t2v-a14b")
    model = load(MODELS, "wan-t2v").load(path, revision=None, device=torch.device("cpu"), dtype=torch.float32)
    model.cache_text_embeddings((TEXT, NEGATIVE))
    plain = Sampling(9, 32, 32, num_inference_steps=3, guidance_scale=4.0)
    changes = {"negative_prompt": NEGATIVE, "guidance_scale_2": 3.0, "flow_shift": 12.0}
    found, before = sample(model, replace(plain, **changes)), sample(model, plain)

    raw = DiffusionPipeline.from_pretrained(path)
    assert torch.equal(before, by_diffusers(raw, guidance_scale=4.0, negative_prompt=""))
    raw.scheduler = UniPCMultistepScheduler.from_config(raw.scheduler.config, flow_shift=12.0)
    assert torch.equal(found, by_diffusers(raw, guidance_scale=4.0, guidance_scale_2=3.0, negative_prompt=NEGATIVE))
    for name, value in changes.items():  # each alone has an effect
        assert not torch.equal(sample(model, replace(plain, **{name: value})), before)


def test_a_negative_prompt_of_cogvideox_is_diffusers_own(folder: Callable[[str], Path]) -> None:
    path = folder("cogvideox-t2v")
    model = load(MODELS, "cogvideox-t2v").load(path, revision=None, device=torch.device("cpu"), dtype=torch.float32)
    found = sample(model, Sampling(9, 32, 32, num_inference_steps=3, guidance_scale=6.0, negative_prompt=NEGATIVE))
    raw = DiffusionPipeline.from_pretrained(path)
    tokens = raw.transformer.config.max_text_seq_length
    expected = by_diffusers(raw, guidance_scale=6.0, negative_prompt=NEGATIVE, max_sequence_length=tokens)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("name", "toy", "setting"),
    [
        ("cogvideox-t2v", "cogvideox-t2v", {"flow_shift": 5.0}),
        ("cogvideox-i2v", "cogvideox-i2v", {"guidance_scale_2": 3.0}),
        ("wan-t2v", "wan2.1-t2v", {"guidance_scale_2": 3.0}),
        ("wan-ti2v", "wan2.2-ti2v", {"guidance_scale_2": 3.0}),
    ],
)
def test_a_setting_that_a_model_cannot_take_is_refused_by_name(
    name: str, toy: str, setting: dict[str, float], folder: Callable[[str], Path], tmp_path: Path
) -> None:
    config = ModelConfig(name=name, path=str(folder(toy)), device="cpu")
    size = Sampling(9, 64, 64, num_inference_steps=3, guidance_scale=4.0)
    check_sampling(config, RunFolder(tmp_path), size)
    [(given, value)] = setting.items()
    with pytest.raises(InvalidInput, match=f"generate.{given} is {value}.*{name}.*takes no such setting"):
        check_sampling(config, RunFolder(tmp_path), replace(size, **setting))


def test_a_model_that_says_nothing_of_them_takes_none_of_them(
    folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of another package, written before they were."""
    kind = load(MODELS, "cogvideox-t2v")
    monkeypatch.delattr(kind.__mro__[1], "sampling_settings")
    config = ModelConfig(name="cogvideox-t2v", path=str(folder("cogvideox-t2v")), device="cpu")
    with pytest.raises(InvalidInput, match=r"generate.negative_prompt is still, blurred"):
        check_sampling(config, RunFolder(tmp_path), Sampling(9, 64, 64, 3, 4.0, negative_prompt=NEGATIVE))


@pytest.mark.parametrize("stage", [generate, evaluate])
def test_stages_refuse_before_anything_is_loaded(stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = toy_recipe(generate={"flow_shift": 3.0})
    folder = RunFolder(tmp_path)
    prompts.run(recipe, folder)
    monkeypatch.setattr(generate, "load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    with pytest.raises(UserError, match=r"generate\.flow_shift is 3\.0"):
        stage.run(recipe, folder)


def test_clips_made_with_another_negative_prompt_are_other_clips(tmp_path: Path) -> None:
    """And those made without one keep the fingerprint that they had before there was such a setting."""
    plain = Sampling(9, 32, 32, 2, 6.0)
    assert generate.sampling_of(toy_recipe().generate) == plain
    other = generate.sampling_of(toy_recipe(generate={"negative_prompt": NEGATIVE}).generate)
    assert generate.fingerprint("clip", other) != generate.fingerprint("clip", plain)


def test_a_second_guidance_without_guidance_is_refused() -> None:
    with pytest.raises(ValueError, match="guidance_scale_2 has no effect where guidance_scale is 1"):
        Recipe.model_validate({**toy_recipe().model_dump(), "generate": {"guidance_scale": 1.0, "guidance_scale_2": 3.0}})
