"""CogVideoX image-to-video: training sees what inference sees, its targets obey their law, clips follow their seeds."""

import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXImageToVideoPipeline
from torch.testing import assert_close

from videogpa.errors import UserError
from videogpa.models import toys
from videogpa.models.base import GenerationRequest, Sampling
from videogpa.models.cogvideox import CogVideoXImageToVideo
from videogpa.models.toys import cogvideox as toy_cogvideox

CPU = torch.device("cpu")
SMALL = Sampling(frames=9, height=32, width=32, steps=2, guidance=6.0)


def load(path: Path, dtype: torch.dtype = torch.float32, **parts: Any) -> CogVideoXImageToVideo:
    return CogVideoXImageToVideo.load(path, revision=None, device=CPU, dtype=dtype, **parts)


def request_of_text(text: str) -> GenerationRequest:
    return GenerationRequest(text, request_of().image, 0)


def request_of(seed: int = 0, height: int = 32, width: int = 32) -> GenerationRequest:
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(100 + seed))
    return GenerationRequest("A quiet room; the camera orbits the objects.", image, seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "model"
    toys.build("cogvideox-i2v", path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> CogVideoXImageToVideo:
    return load(folder)


def record_calls(model: CogVideoXImageToVideo, request: GenerationRequest, sampling: Sampling) -> list[dict[str, Any]]:
    """Run the real pipeline; return the arguments of each call of its real transformer."""
    calls: list[dict[str, Any]] = []

    def hook(_module: torch.nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert not positional
        calls.append(dict(named))

    handle = model.transformer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        list(model.generate([request], sampling))
    finally:
        handle.remove()
    return calls


VARIANTS = {
    "as-5b-i2v": {"learned_positions": True},
    "rotary": {},
    "no-rotary": {"rotary": False},
    "ofs": {"ofs_embedding": True},
    "inverted-scale": {"invert_scale_latents": True},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_training_sees_what_inference_sees(variant: str, dtype: torch.dtype, tmp_path: Path) -> None:
    toy_cogvideox.image_to_video(**VARIANTS[variant]).save_pretrained(tmp_path)
    model = load(tmp_path, dtype)
    size = 64 if variant == "as-5b-i2v" else 32  # learned positions fix the size
    sampling = Sampling(frames=9, height=size, width=size, steps=1, guidance=6.0)
    request = request_of(7, size, size)
    [shown] = record_calls(model, request, sampling)
    condition = model.encode_condition(request, frames=9, height=size, width=size)

    # The pipeline's first step is at the last timestep, where all is noise. Of its two halves the second is conditional.
    noise = shown["hidden_states"][1:, :, :16].float()
    seen: list[dict[str, Any]] = []
    hook = model.transformer.register_forward_pre_hook(lambda _m, _p, named: seen.append(dict(named)), with_kwargs=True)
    clean = torch.randn(noise.shape, generator=torch.Generator().manual_seed(3))
    timesteps = shown["timestep"][1:]
    model.prediction_and_target(clean, noise, timesteps, {name: tensor[None] for name, tensor in condition.items()})
    hook.remove()

    [inputs] = seen
    assert inputs.keys() == shown.keys()
    for name, value in shown.items():
        expected = value[1:] if name in ("hidden_states", "encoder_hidden_states", "timestep") else value
        assert_close(inputs[name], expected, rtol=0, atol=0, msg=lambda message, name=name: f"{name}: {message}")
    assert (shown["image_rotary_emb"] is None) == (variant == "no-rotary")
    assert (shown["ofs"] is None) == (variant != "ofs")


def test_training_sees_what_inference_sees_at_a_later_step(model: CogVideoXImageToVideo) -> None:
    request = request_of(8)
    shown = record_calls(model, request, SMALL)[1]
    condition = model.encode_condition(request, frames=9, height=32, width=32)
    alpha_bar = model._pipeline.scheduler.alphas_cumprod[int(shown["timestep"][1])]
    clean = shown["hidden_states"][1:, :, :16] / alpha_bar.sqrt().float()  # with no noise, the mix is what was shown
    inputs: dict[str, Any] = {}
    hook = model.transformer.register_forward_pre_hook(lambda _m, _p, named: inputs.update(named), with_kwargs=True)
    conditions = {name: tensor[None] for name, tensor in condition.items()}
    model.prediction_and_target(clean, torch.zeros_like(clean), shown["timestep"][1:], conditions)
    hook.remove()
    assert_close(inputs["hidden_states"], shown["hidden_states"][1:], rtol=1e-6, atol=1e-6)
    assert_close(inputs["timestep"], shown["timestep"][1:])


def test_the_target_implies_the_clean_latent_at_every_timestep(model: CogVideoXImageToVideo) -> None:
    """Diffusers' scheduler, told that the model predicted the target, finds the clean latent."""
    scheduler = toy_cogvideox.image_to_video().scheduler
    scheduler.set_timesteps(1000)
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(100, 1, 16, 2, 2, generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    conditions = {"text": torch.zeros(100, 4, 32), "image": torch.zeros(100, 1, 16, 2, 2)}
    inputs: dict[str, Any] = {}
    hook = model.transformer.register_forward_pre_hook(lambda _m, _p, named: inputs.update(named), with_kwargs=True)
    for first in range(0, 1000, 100):
        timesteps = torch.arange(first, first + 100)
        with torch.no_grad():
            prediction, target = model.prediction_and_target(clean, noise, timesteps, conditions)
        assert prediction.shape == target.shape
        noisy = inputs["hidden_states"][:, :, :16]
        for i, timestep in enumerate(timesteps):
            _, implied = scheduler.step(target[i], None, timestep, None, noisy[i], return_dict=False)
            assert_close(implied.float(), clean[i], rtol=0, atol=1e-5)
        assert_close(model.clean_from_prediction(target, clean, noise, timesteps), clean, rtol=0, atol=1e-5)
    hook.remove()


def test_every_timestep_is_drawn_alike(model: CogVideoXImageToVideo) -> None:
    quantiles = (torch.arange(1000) + 0.5) / 1000
    assert model.timesteps_at(quantiles).tolist() == list(range(1000))
    assert model.timesteps_at(torch.tensor([0.0, 1 - 2**-24])).tolist() == [0, 999]


def test_encoding_is_the_vaes_own_scaled(model: CogVideoXImageToVideo) -> None:
    video = torch.rand(9, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    vae = model._pipeline.vae
    with torch.no_grad():
        mean = vae.encode((2 * video - 1).transpose(0, 1)[None]).latent_dist.mode()
        own = (vae.decode(mean).sample[0].transpose(0, 1) / 2 + 0.5).clamp(0, 1)
    latents = model.encode_video(video)
    assert latents.shape == (3, 16, 4, 4)
    assert_close(latents, 0.7 * mean[0].transpose(0, 1))
    decoded = model.decode_latents(latents)
    assert_close(decoded, own, rtol=0, atol=1e-5)
    assert (decoded - video).square().mean() <= (own - video).square().mean() * (1 + 1e-4)


def test_a_clip_and_its_latents_are_the_pipelines_own(model: CogVideoXImageToVideo, folder: Path) -> None:
    """The clip equals what diffusers' pipeline returns for the same arguments, and its latents decode to it."""
    request = request_of(4)
    [sample] = model.generate([request], SMALL)
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    frames = pipeline(
        image=request.image[None],
        prompt=request.text,
        height=32,
        width=32,
        num_frames=9,
        num_inference_steps=2,
        guidance_scale=6.0,
        generator=torch.Generator().manual_seed(4),
        max_sequence_length=48,
        output_type="pt",
    ).frames[0]
    assert torch.equal(sample.video, frames)
    assert sample.latents.shape == model.encode_video(sample.video).shape
    assert torch.equal(model.decode_latents(sample.latents), sample.video)


def test_remembered_texts_give_the_same_numbers_and_free_the_encoder(folder: Path) -> None:
    model = load(folder)
    request = request_of()
    encoder = weakref.ref(model._pipeline.text_encoder)
    [before] = model.generate([request], SMALL)
    condition = model.encode_condition(request, frames=9, height=32, width=32)
    model.remember_texts([request.text])
    gc.collect()
    assert encoder() is None
    [after] = model.generate([request], SMALL)
    assert torch.equal(before.video, after.video)
    assert_close(model.encode_condition(request, frames=9, height=32, width=32), condition, rtol=0, atol=0)
    model.remember_texts([request.text])
    for unknown in (lambda: model.remember_texts(["another"]), lambda: list(model.generate([request_of_text("other")], SMALL))):
        with pytest.raises(UserError, match="not among those remembered"):
            unknown()


def test_checkpointed_gradients_are_the_same(folder: Path) -> None:
    found = []
    for checkpointed in (False, True):
        model = load(folder)
        if checkpointed:
            model.checkpoint_gradients()
        weight = next(p for name, p in model.transformer.named_parameters() if "to_q.weight" in name).requires_grad_()
        condition = {name: t[None] for name, t in model.encode_condition(request_of(), frames=9, height=32, width=32).items()}
        clean, noise = torch.randn(2, 1, 3, 16, 4, 4, generator=torch.Generator().manual_seed(0))
        prediction, target = model.prediction_and_target(clean, noise, torch.tensor([500]), condition)
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t.numel()) or t, lambda t: t):
            model.prediction_and_target(clean, noise, torch.tensor([500]), condition)
        (prediction - target).square().mean().backward()
        assert weight.grad is not None
        found.append((weight.grad, sum(saved)))
    assert_close(found[0][0], found[1][0], rtol=0, atol=0)
    assert found[1][1] < found[0][1] / 2


def test_clips_follow_their_seeds(model: CogVideoXImageToVideo) -> None:
    a, b = request_of(0), request_of(1)
    torch.manual_seed(5)
    together = [sample.video for sample in model.generate([a, b], SMALL)]
    torch.manual_seed(6)  # the global state has no say
    alone = [next(model.generate([request], SMALL)).video for request in (b, a)]
    assert torch.equal(together[0], alone[1])
    assert torch.equal(together[1], alone[0])
    assert together[0].shape == (9, 3, 32, 32)
    assert together[0].dtype == torch.float32
    assert 0 <= together[0].min() < together[0].max() <= 1
    other_seed = GenerationRequest(a.text, a.image, 1)
    other_image = GenerationRequest(a.text, b.image, 0)
    other_text = GenerationRequest("The camera sinks.", a.image, 0)
    for changed in (other_seed, other_image, other_text):
        assert not torch.equal(next(model.generate([changed], SMALL)).video, together[0])


def test_the_transformer_alone_predicts_the_same(model: CogVideoXImageToVideo, folder: Path) -> None:
    condition = {name: t[None] for name, t in model.encode_condition(request_of(), frames=9, height=32, width=32).items()}
    clean, noise = torch.randn(2, 1, 3, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([500])
    alone = load(folder, parts=("transformer",))
    with torch.no_grad():
        expected = model.prediction_and_target(clean, noise, timesteps, condition)
        assert_close(alone.prediction_and_target(clean, noise, timesteps, condition), expected, rtol=0, atol=0)
    encoder = load(folder, parts=("text", "vae"))
    again = encoder.encode_condition(request_of(), frames=9, height=32, width=32)
    assert_close(again, {name: tensor[0] for name, tensor in condition.items()}, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ((48, 64, 64), "frames 49, height 64, width 64"),
        ((5, 64, 64), "frames 9, height 64, width 64"),
        ((13, 64, 64), "frames 17, height 64, width 64"),
        ((1, 60, 90), "frames 9, height 64, width 96"),
        ((9, 4, 64), "frames 9, height 16, width 64"),
    ],
)
def test_impossible_sizes_are_refused(folder: Path, asked: tuple[int, int, int], nearest: str) -> None:
    frames, height, width = asked
    with pytest.raises(UserError, match=nearest):
        CogVideoXImageToVideo.check_size(folder, revision=None, frames=frames, height=height, width=width)


@pytest.mark.parametrize(("frames", "height", "width"), [(9, 64, 64), (17, 32, 48), (49, 480, 720)])
def test_possible_sizes_pass(folder: Path, frames: int, height: int, width: int) -> None:
    CogVideoXImageToVideo.check_size(folder, revision=None, frames=frames, height=height, width=width)


@pytest.mark.parametrize(("asked", "made"), [(5, 8), (9, 9), (13, 16), (17, 17)])
def test_why_frames_must_be_8k_plus_1(model: CogVideoXImageToVideo, asked: int, made: int) -> None:
    """The pipeline takes 4 k + 1, but returns another number where k is odd."""
    [sample] = model.generate([request_of()], Sampling(asked, 32, 32, steps=1, guidance=1.0))
    assert len(sample.video) == made


def test_learned_positions_fix_the_size(tmp_path: Path) -> None:
    toy_cogvideox.image_to_video(learned_positions=True).save_pretrained(tmp_path)
    CogVideoXImageToVideo.check_size(tmp_path, revision=None, frames=9, height=64, width=64)
    with pytest.raises(UserError, match=r"learned positions.*frames 9, height 64, width 64"):
        CogVideoXImageToVideo.check_size(tmp_path, revision=None, frames=9, height=32, width=32)


def edited(folder: Path, to: Path, file: str, **changes: object) -> Path:
    shutil.copytree(folder, to)
    content = json.loads((to / file).read_text())
    (to / file).write_text(json.dumps({**content, **changes}))
    return to


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("transformer/config.json", {"in_channels": 16}, "no image-to-video model"),
        ("transformer/config.json", {"patch_size_t": 2}, "CogVideoX1.5"),
        ("scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "epsilon"),
    ],
)
def test_other_kinds_of_model_are_refused(
    folder: Path, tmp_path: Path, file: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(edited(folder, tmp_path / "model", file, **changes))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no CogVideoX model at"):
        load(tmp_path)


def test_a_missing_first_frame_is_refused(model: CogVideoXImageToVideo) -> None:
    with pytest.raises(UserError, match="needs a first frame"):
        list(model.generate([GenerationRequest("a room", None, 0)], SMALL))


def test_what_is_not_a_number_is_refused(folder: Path) -> None:
    model = load(folder)
    with torch.no_grad():
        next(model.transformer.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="not a number"):
        list(model.generate([request_of()], SMALL))


def test_there_is_no_expert_to_choose(folder: Path) -> None:
    with pytest.raises(UserError, match="one transformer"):
        load(folder, expert="high")
