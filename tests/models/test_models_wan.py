"""Wan, beside what every video model is under contract for: noise levels, first frames, experts."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler, WanImageToVideoPipeline, WanPipeline
from torch import Tensor
from torch.nn import Module
from torch.testing import assert_close

from videogpa.errors import UserError
from videogpa.models.adapters import new_adapter
from videogpa.models.base import GenerationRequest, Sampling
from videogpa.models.toys import wan as toy_wan
from videogpa.models.wan import WanImageToVideo, WanTextImageToVideo, WanTextToVideo
from videogpa.models.wan.family import Wan
from videogpa.models.wan.first_frame import first_picture
from videogpa.models.wan.schedule import FlowSchedule

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TEXT = "A quiet room; the camera orbits the objects."


@dataclass(frozen=True)
class Case:
    toy: str
    adapter: type[Wan]
    image: bool
    size: int

    def sampling(self, steps: int = 1, guidance: float = 5.0) -> Sampling:
        return Sampling(frames=9, height=self.size, width=self.size, num_inference_steps=steps, guidance_scale=guidance)

    def request(self, seed: int = 0) -> GenerationRequest:
        generator = torch.Generator().manual_seed(100 + seed)
        image = torch.rand(3, self.size, self.size, generator=generator) if self.image else None
        return GenerationRequest(TEXT, image, seed)


CASES = {
    "t2v": Case("wan2.1-t2v", WanTextToVideo, False, 32),
    "i2v": Case("wan2.1-i2v", WanImageToVideo, True, 32),
    "ti2v-with-image": Case("wan2.2-ti2v", WanTextImageToVideo, True, 64),
    "ti2v-text-only": Case("wan2.2-ti2v", WanTextImageToVideo, False, 64),
    "t2v-a14b": Case("wan2.2-t2v-a14b", WanTextToVideo, False, 32),
    "i2v-a14b": Case("wan2.2-i2v-a14b", WanImageToVideo, True, 32),
}


def load(case: Case, folder: Callable[[str], Path], dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    return case.adapter.load(folder(case.toy), revision=None, device=CPU, dtype=dtype, **options)


def networks(model: Any) -> list[Module]:
    pipeline = model._pipeline
    return [network for network in (pipeline.transformer, pipeline.transformer_2) if network is not None]


def recorded(model: Any, act: Callable[[], object]) -> list[tuple[int, dict[str, Any]]]:
    """Which transformer was called with what, in order."""
    calls: list[tuple[int, dict[str, Any]]] = []
    hooks = [
        network.register_forward_pre_hook(lambda _m, _p, named, i=i: calls.append((i, dict(named))), with_kwargs=True)
        for i, network in enumerate(networks(model))
    ]
    try:
        act()
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def batched(condition: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor[None] for name, tensor in condition.items()}


@pytest.mark.parametrize(("dtype", "step"), [(torch.float32, 2), (torch.bfloat16, 0)], ids=["float32", "bfloat16"])
def test_training_sees_what_inference_sees_of_a_first_frame_that_is_kept(
    folder: Callable[[str], Path], dtype: torch.dtype, step: int
) -> None:
    case = CASES["ti2v-with-image"]
    model = load(case, folder, dtype)
    request, sampling = case.request(7), case.sampling(steps=4)
    calls = recorded(model, lambda: list(model.generate([request], sampling)))
    _, shown = calls[2 * step]  # of two calls a step, the first is conditional
    condition = model.encode_condition(request, frames=9, height=case.size, width=case.size)
    channels = model._pipeline.vae.config.z_dim
    latents = shown["hidden_states"][:, :channels].transpose(1, 2).float()
    timesteps = shown["timestep"].amax(1).long()
    assert (shown["timestep"][:, :4] == 0).all()  # the tokens of the first latent frame
    if step == 0:  # all is noise
        clean, noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3)), latents
    else:  # with no noise, the mix is what was shown
        clean, noise = latents / (1 - model._schedule.sigma_at(timesteps)), torch.zeros_like(latents)
    [(_, inputs)] = recorded(model, lambda: model.prediction_and_target(clean, noise, timesteps, batched(condition)))
    assert shown.pop("encoder_hidden_states_image") is None  # the same as none
    assert inputs.keys() == shown.keys()
    for name, value in shown.items():
        rounded = step > 0 and name == "hidden_states"  # divided by 1 - sigma, and multiplied again
        tolerance = torch.finfo(dtype).eps if rounded else 0
        assert_close(inputs[name], value, rtol=tolerance, atol=0, msg=lambda message, name=name: f"{name}: {message}")


@pytest.mark.parametrize("scheduler", ["UniPC", "Euler"])
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_noise_levels_are_the_schedulers_own(scheduler: str, steps: int) -> None:
    """What the transformer is called with at inference stands, in training, for the noise level that it stands for there."""
    own = toy_wan.text_to_video().scheduler if scheduler == "UniPC" else FlowMatchEulerDiscreteScheduler(shift=3.0)
    schedule = FlowSchedule(own, origin="here")
    own.set_timesteps(steps)
    assert own.timesteps.dtype == schedule.dtype
    sigma = schedule.sigma_at(own.timesteps.long())
    within = 1 / 1000 + 1e-6  # UniPC, and we, cut timesteps to integers
    assert_close(sigma, own.sigmas[:-1], rtol=0, atol=within)
    assert sigma[0] == 1
    assert schedule.sigma_at(torch.tensor(schedule.timesteps)).unique().numel() == 1000
    assert schedule.sigma_at(torch.tensor(schedule.timesteps)).min() == pytest.approx(0.001)
    assert schedule.timesteps == (range(1000) if scheduler == "UniPC" else range(1, 1001))


def test_other_schedulers_are_refused() -> None:
    for scheduler in (UniPCMultistepScheduler(), UniPCMultistepScheduler(prediction_type="flow_prediction")):
        with pytest.raises(UserError, match="flow matching"):
            FlowSchedule(scheduler, origin="here")


def test_a_folder_with_an_euler_scheduler_is_trained_as_it_is_used(folder: Callable[[str], Path], tmp_path: Path) -> None:
    case = CASES["ti2v-with-image"]
    pipeline = toy_wan.text_image_to_video()
    pipeline.register_modules(scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0))
    pipeline.save_pretrained(tmp_path)
    model = WanTextImageToVideo.load(tmp_path, revision=None, device=CPU, dtype=torch.float32)
    [(_, shown), _] = recorded(model, lambda: list(model.generate([case.request()], case.sampling())))
    assert shown["timestep"].max() == 1000
    noise = shown["hidden_states"].transpose(1, 2)
    condition = batched(model.encode_condition(case.request(), frames=9, height=64, width=64))
    [(_, inputs)] = recorded(
        model, lambda: model.prediction_and_target(torch.zeros_like(noise), noise, torch.tensor([1000]), condition)
    )
    assert shown.pop("encoder_hidden_states_image") is None  # the same as none
    assert_close(inputs, shown, rtol=0, atol=0)


def test_clips_with_a_first_frame_that_is_kept_are_the_pipelines_own(folder: Callable[[str], Path]) -> None:
    case = CASES["ti2v-with-image"]
    model, request, sampling = load(case, folder), case.request(4), case.sampling(steps=2)
    [sample] = model.generate([request], sampling)
    pipeline = WanImageToVideoPipeline.from_pretrained(folder(case.toy))
    pipeline.set_progress_bar_config(disable=True)
    states = [model._texts(text)[None] for text in (TEXT, "")]
    frames = pipeline(
        image=first_picture(request, case.size, case.size),
        prompt_embeds=states[0],
        negative_prompt_embeds=states[1],
        height=case.size,
        width=case.size,
        num_frames=9,
        num_inference_steps=2,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(4),
        output_type="pt",
    ).frames[0]
    assert torch.equal(sample.video, frames)
    assert torch.equal(model.decode_latents(sample.latents), sample.video)
    assert sample.latents.shape == model.encode_video(sample.video).shape


def test_texts_are_encoded_as_the_pipeline_does(folder: Callable[[str], Path]) -> None:
    model = load(CASES["i2v"], folder)
    pipeline = WanPipeline.from_pretrained(folder("wan2.1-t2v"), text_encoder=model._pipeline.text_encoder)
    expected, _ = pipeline.encode_prompt(TEXT, do_classifier_free_guidance=False, max_sequence_length=512)
    states = model._texts(TEXT)
    assert torch.equal(states, expected[0])
    used = len(pipeline.tokenizer(TEXT).input_ids)
    assert states.shape == (512, 32)
    assert (states[used:] == 0).all()
    assert (states[:used].abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", ["t2v", "ti2v-text-only"])
def test_latents_are_normalised_channel_by_channel(folder: Callable[[str], Path], name: str) -> None:
    case = CASES[name]
    model = load(case, folder, dtype=torch.bfloat16)
    vae = model._pipeline.vae
    assert vae.dtype == torch.float32  # whatever the transformer's
    video = torch.rand(9, 3, case.size, case.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mean = vae.encode((2 * video - 1).transpose(0, 1)[None]).latent_dist.mode()
    latents = model.encode_video(video)
    for channel, (centre, spread) in enumerate(zip(vae.config.latents_mean, vae.config.latents_std, strict=True)):
        assert_close(latents[:, channel], (mean[0, channel] - centre) / spread)


def test_a_given_first_frame_is_that_of_its_clip(folder: Callable[[str], Path]) -> None:
    """Wan2.2 TI2V-5B: its latents are those of a clip that begins with it, and the sampler leaves them alone."""
    case = CASES["ti2v-with-image"]
    model, request = load(case, folder), case.request(1)
    image = model.encode_condition(request, frames=9, height=64, width=64)["image"]
    eight_bit = (request.image * 255).round() / 255
    video = torch.cat([eight_bit[None], torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))])
    assert_close(model.encode_video(video)[:1], image, rtol=0, atol=1e-5)
    [sample] = model.generate([request], case.sampling(steps=2))
    assert torch.equal(sample.latents[:1], image)


def test_prompts_with_and_without_a_first_frame_share_a_batch(folder: Callable[[str], Path]) -> None:
    model = load(CASES["ti2v-with-image"], folder)
    given = model.encode_condition(CASES["ti2v-with-image"].request(), frames=9, height=64, width=64)
    none = model.encode_condition(CASES["ti2v-text-only"].request(), frames=9, height=64, width=64)
    clean, noise = torch.randn(2, 2, 3, 48, 4, 4, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([300, 700])
    with torch.no_grad():
        together = model.prediction_and_target(
            clean, noise, timesteps, {name: torch.stack([given[name], none[name]]) for name in given}
        )
        alone = [
            model.prediction_and_target(clean[i, None], noise[i, None], timesteps[i, None], batched(condition))
            for i, condition in enumerate((given, none))
        ]
    for i in range(2):
        assert_close(together[i], torch.cat([pair[i] for pair in alone]), rtol=0, atol=1e-5)
    error = (together[0] - together[1]).square().mean((2, 3, 4))
    assert error[0, 0] == 0  # what is given is not to be learnt
    assert (error.flatten()[1:] > 0).all()


@pytest.mark.parametrize(("name", "boundary"), [("t2v-a14b", 875), ("i2v-a14b", 900)])
def test_each_expert_gets_its_samples(folder: Callable[[str], Path], name: str, boundary: int) -> None:
    case = CASES[name]
    model = load(case, folder)
    condition = model.encode_condition(case.request(), frames=9, height=32, width=32)
    timesteps = torch.tensor([boundary, boundary - 1, 0, 999])
    conditions = {key: torch.stack([tensor] * 4) for key, tensor in condition.items()}
    clean, noise = torch.randn(2, 4, 3, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    calls = recorded(model, lambda: model.prediction_and_target(clean, noise, timesteps, conditions))
    assert [(network, inputs["timestep"].tolist()) for network, inputs in calls] == [
        (0, [boundary, 999]),
        (1, [boundary - 1, 0]),
    ]
    with torch.no_grad():
        together, _ = model.prediction_and_target(clean, noise, timesteps, conditions)
        for i in range(4):
            alone, _ = model.prediction_and_target(clean[i, None], noise[i, None], timesteps[i, None], batched(condition))
            assert_close(together[i], alone[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("expert", "timesteps"), [("high", range(875, 1000)), ("low", range(875)), ("both", range(1000))])
def test_a_chosen_expert_is_trained_alone(folder: Callable[[str], Path], expert: str, timesteps: range) -> None:
    case = CASES["t2v-a14b"]
    model = load(case, folder, parts=("transformer",), expert=expert)
    quantiles = (torch.arange(len(timesteps)) + 0.5) / len(timesteps)
    assert model.timesteps_at(quantiles).tolist() == list(timesteps)
    assert model.timesteps_at(torch.tensor([0.0, 1 - 2**-24])).tolist() == [timesteps[0], timesteps[-1]]
    names = {"high": ["transformer"], "low": ["transformer_2"], "both": ["transformer", "transformer_2"]}[expert]
    assert [name for name, _ in model.transformer.named_children()] == names
    assert len(networks(model)) == len(names)  # the other is not even loaded


def test_a_chosen_expert_samples_with_the_other(folder: Callable[[str], Path]) -> None:
    case = CASES["t2v-a14b"]
    [expected] = load(case, folder).generate([case.request()], case.sampling(steps=4))
    [sample] = load(case, folder, expert="low").generate([case.request()], case.sampling(steps=4))
    assert torch.equal(sample.video, expected.video)


def test_an_adapter_of_the_experts_changes_what_the_pipeline_makes(folder: Callable[[str], Path]) -> None:
    case = CASES["t2v-a14b"]
    model = load(case, folder)
    [before] = model.generate([case.request()], case.sampling(steps=4))
    adapter = new_adapter(model.transformer, targets=model.lora_targets, rank=2, alpha=4, seed=0)
    trained = [name for name, parameter in adapter.named_parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 2 * 2 * 4 * 2  # experts, blocks, self and cross attention, q k v out, A and B
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "transformer_2" in name and "lora_B" in name:
                parameter.fill_(0.1)
    [after] = model.generate([case.request()], case.sampling(steps=4))
    assert not torch.equal(before.video, after.video)


def edited(folder: Path, to: Path, file: str, **changes: object) -> Path:
    shutil.copytree(folder, to)
    content = json.loads((to / file).read_text())
    (to / file).write_text(json.dumps({**content, **changes}))
    return to


@pytest.mark.parametrize(
    ("toy", "file", "changes", "message"),
    [
        ("wan2.1-i2v", "transformer/config.json", {"pos_embed_seq_len": 514}, "not supported"),
        ("wan2.1-t2v", "transformer/config.json", {"_class_name": "WanVACETransformer3DModel"}, "not supported"),
        ("wan2.1-t2v", "transformer/config.json", {"in_channels": 20}, "not supported"),
        ("wan2.1-i2v", "model_index.json", {}, "model.name wan-i2v, not wan-t2v"),
        ("wan2.2-ti2v", "model_index.json", {}, "model.name wan-ti2v, not wan-t2v"),
        ("wan2.2-t2v-a14b", "model_index.json", {"boundary_ratio": None}, "no boundary_ratio"),
        ("wan2.1-t2v", "scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "flow matching"),
    ],
)
def test_other_kinds_of_model_are_refused(
    folder: Callable[[str], Path], tmp_path: Path, toy: str, file: str, changes: dict[str, object], message: str
) -> None:
    path = edited(folder(toy), tmp_path / "model", file, **changes)
    with pytest.raises(UserError, match=message):
        WanTextToVideo.load(path, revision=None, device=CPU, dtype=torch.float32)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Wan model in diffusers' format"):
        WanTextToVideo.load(tmp_path, revision=None, device=CPU, dtype=torch.float32)


def test_there_is_no_expert_to_choose(folder: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="one transformer"):
        load(CASES["t2v"], folder, expert="high")
