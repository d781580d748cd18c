"""The contract of every video model: each entry of the registry, with each miniature that it loads.

A new family adds its miniatures to subjects.py, and its hooks to families.py; the tests stay as they are.
"""

import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from subjects import CASES, Subject, transformers_of
from torch import Tensor
from torch.testing import assert_close

from videogpa.errors import UserError
from videogpa.models import toys
from videogpa.models.base import GenerationRequest, Memory, VideoModel
from videogpa.registry import MODELS, load

pytestmark = pytest.mark.slow  # eleven models, twenty-eight tests of each


@pytest.fixture(scope="module", params=CASES)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    case, folder = CASES[request.param], tmp_path_factory.mktemp("model") / "toy"
    if case.pipeline is None:
        toys.build(request.param, folder)
    else:
        case.pipeline().save_pretrained(folder)
    return Subject(case, folder)


def test_every_miniature_and_every_entry_is_under_contract() -> None:
    assert set(toys.TOYS) <= set(CASES)
    assert {case.entry for case in CASES.values()} == set(MODELS)


def test_it_follows_the_protocol(subject: Subject) -> None:
    assert isinstance(subject.model, VideoModel)
    assert all(vars(published).values() for published in subject.model.published)
    assert subject.model.published


# Training sees what inference sees.


@contextmanager
def recorded(*transformers: torch.nn.Module) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each call of a transformer, by name."""
    calls: list[dict[str, Any]] = []

    def hook(_module: torch.nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert not positional
        calls.append(dict(named))

    handles = [transformer.register_forward_pre_hook(hook, with_kwargs=True) for transformer in transformers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def training_call(model: Any, *arguments: Any) -> dict[str, Any]:
    with recorded(model.transformer) as calls, torch.no_grad():
        model.prediction_and_target(*arguments)
    return calls[-1]


def mixed_to(noisy: Tensor, mix: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return (clean, noise) that `mix`, which is linear in both, makes `noisy` of."""
    zeros, ones = torch.zeros_like(noisy), torch.ones_like(noisy)
    alpha, sigma = mix(ones, zeros) - mix(zeros, zeros), mix(zeros, ones) - mix(zeros, zeros)
    norm = (alpha**2 + sigma**2).clamp(min=1e-12)  # zero where the mix is none: a frame that is given
    return alpha * noisy / norm, sigma * noisy / norm


def training_inputs_for(subject: Subject, model: Any, pipeline: Any, shown: Mapping[str, Any], request: Any) -> dict[str, Any]:
    """What the transformer is called with in training, for the latents, noise level and condition of a call in sampling."""
    family = subject.case.family
    timesteps, conditions = family.timesteps(shown), subject.condition(model, request)

    def mix(clean: Tensor, noise: Tensor) -> Tensor:
        return family.noisy(pipeline, training_call(model, clean, noise, timesteps, conditions)).float()

    clean, noise = mixed_to(family.noisy(pipeline, shown).float(), mix)
    return training_call(model, clean, noise, timesteps, conditions)


def differences(shown: Mapping[str, Any], inputs: Mapping[str, Any]) -> set[str]:
    """Names of the arguments that are not the same. The noisy latents may differ by the rounding of their mix."""
    different = set(shown) ^ set(inputs)
    for name in set(shown) & set(inputs):
        rounding = {"rtol": 0.0, "atol": 0.0}
        if name == "hidden_states":
            rounding = {"rtol": max(1e-6, torch.finfo(shown[name].dtype).eps), "atol": 1e-6}
        try:
            assert_close(inputs[name], shown[name], **rounding)
        except AssertionError:
            different.add(name)
    return different


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_training_sees_what_inference_sees(subject: Subject, dtype: torch.dtype) -> None:
    model, pipeline, request = subject.load(dtype), subject.judge(dtype), subject.request(7)
    with recorded(*transformers_of(pipeline)) as calls:
        subject.run(request, subject.sampling(guidance=1.0), pipeline)  # no guidance: one call a step
    assert len(calls) == 2
    for shown in calls:
        assert differences(shown, training_inputs_for(subject, model, pipeline, shown, request)) == set()


def test_a_training_that_sees_anything_else_is_noticed(subject: Subject) -> None:
    request = subject.request(7)
    with recorded(*transformers_of(subject.pipeline)) as calls:
        subject.run(request, subject.sampling(steps=1, guidance=1.0))
    [shown] = calls
    inputs = training_inputs_for(subject, subject.model, subject.pipeline, shown, request)
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor | tuple)}
    assert len(tensors) > 2
    for name, value in tensors.items():
        first = value[0] if isinstance(value, tuple) else value
        changed = first.clone()
        changed.view(-1)[-1] += 1
        faulty = [None, changed, first.double(), first[..., :-1]]
        for fault in faulty:
            wrong = (fault, *value[1:]) if isinstance(value, tuple) and fault is not None else fault
            assert differences(shown, {**inputs, name: wrong}) == {name}
    assert differences(shown, {name: value for name, value in inputs.items() if name != "timestep"}) == {"timestep"}


def test_a_training_that_forgets_an_argument_is_noticed(subject: Subject) -> None:
    """With the real transformer, called without it."""
    request = subject.request(7)
    with recorded(*transformers_of(subject.pipeline)) as calls:
        subject.run(request, subject.sampling(steps=1, guidance=1.0))
    for name in subject.case.family.forgettable:
        forget = subject.model.transformer.register_forward_pre_hook(
            lambda _module, positional, named, name=name: (positional, {**named, name: None}), with_kwargs=True
        )
        inputs = training_inputs_for(subject, subject.model, subject.pipeline, calls[0], request)
        forget.remove()
        assert differences(calls[0], inputs) == ({name} if calls[0][name] is not None else set())


# Targets.


def test_the_target_implies_the_clean_latent_at_every_timestep(subject: Subject) -> None:
    """By `clean_from_prediction`, and by the pipeline's own scheduler, told that the model predicted the target."""
    model, family = subject.model, subject.case.family
    shape = model.encode_video(torch.zeros(9, 3, subject.case.height, subject.case.width)).shape
    generator = torch.Generator().manual_seed(0)
    timesteps = model.timesteps_at((torch.arange(1000) + 0.5) / 1000)
    assert len(timesteps.unique()) == 1000
    condition = subject.condition(model, subject.request())
    for part in timesteps.split(250):
        clean, noise = torch.randn(2, len(part), *shape, generator=generator)
        conditions = {name: tensor.expand(len(part), *tensor.shape[1:]) for name, tensor in condition.items()}
        with recorded(model.transformer) as calls, torch.no_grad():
            prediction, target = model.prediction_and_target(clean, noise, part, conditions)
        assert prediction.shape == target.shape == clean.shape
        assert target.dtype == torch.float32
        assert_close(model.clean_from_prediction(target, clean, noise, part), clean, rtol=0, atol=2e-5)
        noisy = family.noisy(subject.pipeline, calls[0])
        assert_close(family.implied(subject.pipeline, target, part, noisy).float(), clean, rtol=0, atol=2e-5)


def test_timesteps_go_from_clean_to_noise(subject: Subject) -> None:
    """The later the timestep, the less a prediction says of the clean latent by what it is added to."""
    model = subject.model
    shape = model.encode_video(torch.zeros(9, 3, subject.case.height, subject.case.width)).shape
    timesteps = model.timesteps_at(torch.tensor([0.0, 0.3, 0.6, 1 - 2**-24]))
    ones = torch.ones(4, *shape)
    kept = model.clean_from_prediction(torch.zeros_like(ones), ones, torch.zeros_like(ones), timesteps)[:, -1].mean((1, 2, 3))
    assert (kept.diff() < 0).all()
    assert kept[0] > 0.9
    assert kept[-1] < 0.05


def test_a_penalty_on_the_implied_clip_has_gradients(subject: Subject) -> None:
    shape = subject.model.encode_video(torch.zeros(9, 3, subject.case.height, subject.case.width)).shape
    prediction, clean, noise = torch.randn(3, 1, *shape, generator=torch.Generator().manual_seed(0))
    implied = subject.model.clean_from_prediction(
        prediction.requires_grad_(), clean, noise, subject.model.timesteps_at(torch.tensor([0.5]))
    )
    implied.square().mean().backward()
    assert prediction.grad is not None
    assert prediction.grad[:, -1].abs().min() > 0


# The VAE.


def test_the_round_trip_costs_what_the_vae_costs(subject: Subject) -> None:
    video = torch.rand(9, 3, subject.case.height, subject.case.width, generator=torch.Generator().manual_seed(1))
    vae = subject.pipeline.vae
    with torch.no_grad():
        mean = vae.encode((2 * video - 1).transpose(0, 1)[None]).latent_dist.mode()
        own = (vae.decode(mean).sample[0].transpose(0, 1) / 2 + 0.5).clamp(0, 1)
    decoded = subject.model.decode_latents(subject.model.encode_video(video))
    assert_close(decoded, own, rtol=0, atol=1e-5)
    assert (decoded - video).square().mean() <= (own - video).square().mean() * (1 + 1e-4)


def test_a_clip_of_another_size_is_not_encoded(subject: Subject) -> None:
    with pytest.raises(UserError, match="frames 9"):
        subject.model.encode_video(torch.zeros(8, 3, subject.case.height, subject.case.width))


# Generation.


@pytest.mark.parametrize("guidance", [1.0, 6.0])
def test_clips_and_latents_are_the_pipelines_own(subject: Subject, guidance: float) -> None:
    request, sampling = subject.request(4), subject.sampling(guidance=guidance)
    [sample] = subject.model.generate([request], sampling)
    assert torch.equal(sample.video, subject.run(request, sampling))
    assert sample.video.shape == (9, 3, subject.case.height, subject.case.width)
    assert sample.video.dtype == torch.float32
    assert 0 <= sample.video.min() < sample.video.max() <= 1
    assert sample.latents.shape == subject.model.encode_video(sample.video).shape
    assert torch.equal(subject.model.decode_latents(sample.latents), sample.video)


def test_clips_follow_their_own_request_only(subject: Subject) -> None:
    model, sampling = subject.model, subject.sampling()
    a, b = subject.request(0), subject.request(1)
    torch.manual_seed(5)
    together = [sample.video for sample in model.generate([a, b], sampling)]
    torch.manual_seed(6)  # the global state has no say
    alone = [next(model.generate([request], sampling)).video for request in (b, a)]
    assert torch.equal(together[0], alone[1])
    assert torch.equal(together[1], alone[0])
    changes = [{"seed": 1}, {"text": "The camera sinks."}] + [{"image": b.image}] * model.needs_image
    for change in changes:
        assert not torch.equal(next(model.generate([replace(a, **change)], sampling)).video, together[0])


def test_a_missing_first_frame_is_refused(subject: Subject) -> None:
    if subject.model.needs_image:
        with pytest.raises(UserError, match="first frame"):
            list(subject.model.generate([GenerationRequest("a room", None, 0)], subject.sampling()))


def check(subject: Subject, frames: int, height: int, width: int) -> tuple[int, int, int] | None:
    """The nearest size that can be made, as the refusal names it; None if it is not refused."""
    entry = load(MODELS, subject.case.entry)
    try:
        entry.check_size(subject.folder, revision=None, frames=frames, height=height, width=width)
    except UserError as error:
        found = re.search(r"frames (\d+), height (\d+), width (\d+)", str(error))
        assert found is not None
        return tuple(int(number) for number in found.groups())  # type: ignore[return-value]
    return None


@pytest.mark.parametrize("frames", [2, 5, 8, 13, 17])
def test_frames_that_pass_are_made_and_others_refused(subject: Subject, frames: int) -> None:
    sampling = subject.sampling(frames=frames, steps=1, guidance=1.0)
    nearest = check(subject, frames, sampling.height, sampling.width)
    if nearest is None:
        assert len(subject.run(subject.request(), sampling)) == frames
    else:
        assert check(subject, *nearest) is None
        with pytest.raises(UserError, match=f"frames {nearest[0]}"):
            list(subject.model.generate([subject.request()], sampling))


@pytest.mark.parametrize("size", [(32, 32), (40, 48), (48, 36), (80, 64)])
def test_sizes_pass_if_the_pipeline_makes_them(subject: Subject, size: tuple[int, int]) -> None:
    sampling = replace(subject.sampling(steps=1, guidance=1.0), height=size[0], width=size[1])
    nearest = check(subject, 9, *size)
    try:
        made = subject.run(subject.request(), sampling).shape[2:]
    except (ValueError, RuntimeError):
        made = torch.Size()
    assert (nearest is None) == (made == size)
    assert nearest is None or check(subject, *nearest) is None


def test_what_is_not_a_number_is_refused(subject: Subject) -> None:
    model = subject.load()
    with torch.no_grad():
        next(model.transformer.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="not a number"):
        list(model.generate([subject.request()], subject.sampling()))


# Parts and memory.


def test_parts_alone_give_the_same(subject: Subject) -> None:
    model, request = subject.model, subject.request()
    conditions = subject.condition(model, request)
    latents = model.encode_video(torch.zeros(9, 3, subject.case.height, subject.case.width))
    clean, noise = torch.randn(2, 1, *latents.shape, generator=torch.Generator().manual_seed(0))
    arguments = (clean, noise, model.timesteps_at(torch.tensor([0.5])), conditions)
    alone, encoder = subject.load(parts=("transformer",)), subject.load(parts=("text", "vae"))
    with torch.no_grad():
        assert_close(alone.prediction_and_target(*arguments), model.prediction_and_target(*arguments), rtol=0, atol=0)
    assert_close(subject.condition(encoder, request), conditions, rtol=0, atol=0)
    assert torch.equal(encoder.encode_video(torch.zeros(9, 3, subject.case.height, subject.case.width)), latents)


def test_remembered_texts_give_the_same_and_free_the_encoder(subject: Subject) -> None:
    """With offload, too, whose hooks hold on to what they move."""
    model, request, sampling = subject.load(memory=Memory(offload=True)), subject.request(), subject.sampling()
    encoder = weakref.ref(model._pipeline.text_encoder)
    before, conditions = next(model.generate([request], sampling)), subject.condition(model, request)
    model.cache_text_embeddings([request.text])
    assert encoder() is None
    after = next(model.generate([request], sampling))
    assert torch.equal(after.video, before.video)
    assert_close(subject.condition(model, request), conditions, rtol=0, atol=0)
    model.cache_text_embeddings([request.text])
    unknown = replace(request, text="another")
    with pytest.raises(UserError, match="'another' is not among the cached ones"):
        list(model.generate([unknown], sampling))
    with pytest.raises(UserError, match="'another' is not among the cached ones"):
        model.cache_text_embeddings(["another"])


def test_offload_changes_no_number(subject: Subject) -> None:
    """On a CPU the hooks run as on a GPU, and move nothing; but weights at other addresses are summed in another order."""
    saving, request = subject.load(memory=Memory(offload=True)), subject.request()
    [sample], [expected] = saving.generate([request], subject.sampling()), subject.model.generate([request], subject.sampling())
    assert_close(sample.video, expected.video, rtol=0, atol=1e-4)
    assert_close(subject.condition(saving, request), subject.condition(subject.model, request), rtol=0, atol=1e-4)
    assert_close(saving.encode_video(sample.video), subject.model.encode_video(sample.video), rtol=0, atol=1e-4)


def test_tiling_stays_close(subject: Subject) -> None:
    """Nearer to the whole than another clip is: the tiles of a miniature are hardly larger than what one latent depends on."""
    tiled, whole = subject.load(memory=Memory(tiling=True), parts=("vae",)), subject.model
    video, other = torch.rand(2, 9, 3, *subject.case.tiled, generator=torch.Generator().manual_seed(2))
    latents, other_latents = whole.encode_video(video), whole.encode_video(other)
    decoded, other_decoded = whole.decode_latents(latents), whole.decode_latents(other_latents)
    for found, expected, unlike in (
        (tiled.encode_video(video), latents, other_latents),
        (tiled.decode_latents(latents), decoded, other_decoded),
    ):
        assert not torch.equal(found, expected)
        assert (found - expected).square().mean() < (unlike - expected).square().mean()


def test_checkpointed_gradients_are_the_same(subject: Subject) -> None:
    model = subject.load()
    named = [(name, weight) for name, weight in model.transformer.named_parameters() if f".{model.lora_targets[0]}." in name]
    weights = [weight.requires_grad_() for name, weight in named if name.endswith("weight")]
    clean = model.encode_video(torch.zeros(9, 3, subject.case.height, subject.case.width)).expand(2, -1, -1, -1, -1)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    timesteps = model.timesteps_at(torch.tensor([0.5, 0.95]))  # one for each expert, where there are two
    arguments = (clean, noise, timesteps, subject.condition(model, subject.request(0), subject.request(1)))

    def gradients() -> tuple[tuple[Tensor, ...], int]:
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(partial(_keep, kept), lambda tensor: tensor):
            prediction, target = model.prediction_and_target(*arguments)
            return torch.autograd.grad((prediction - target).square().mean(), weights), sum(kept)

    plain, much = gradients()
    model.enable_gradient_checkpointing()
    again, little = gradients()
    assert len(plain) > 1
    assert all(gradient.abs().max() > 0 for gradient in plain)
    assert_close(again, plain, rtol=0, atol=0)
    assert little < much


def _keep(kept: list[int], tensor: Tensor) -> Tensor:
    kept.append(tensor.numel())
    return tensor
