from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from miniatures.check import check
from miniatures.clips import plain_scene, render_clips, render_frames, training_clip
from miniatures.export import export
from miniatures.fit import Budget, averaged_into, fit
from miniatures.latents import encode_clips, read_latents
from miniatures.plan import CHECKED_SCENES, TRAINING_SCENES, Plan
from miniatures.prompts import texts, tokenizer
from miniatures.transformer import Course, load_untrained, train_transformer
from miniatures.vae import build_vae, to_vae, train_vae
from torch import Tensor
from torch.nn import Linear

from miniatures import vae
from videogpa.models.base import GenerationRequest
from videogpa.models.cogvideox import CogVideoXImageToVideo
from videogpa.world.paths import PATHS
from videogpa.world.prompts import HELD_OUT_SEED, view

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TINY = Plan(
    size=32,
    vae_widths=(6, 6, 8),
    clips=6,
    chunk=4,
    heads=2,
    head_width=16,
    layers=1,
    batch=4,
    checked_scenes=2,
    checked_seeds=1,
    sampling_steps=2,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vae, "SCALED_ON", 8)
        train_vae(TINY, out, Budget(steps=2), CPU)
    encode_clips(TINY, out, CPU)
    train_transformer(TINY, out, Budget(steps=2), CPU)
    export(out)
    return out


def test_all_stages_run_and_what_they_make_is_a_model_that_can_be_checked(made: Path) -> None:
    summary = check(TINY, made / "i2v", made, CPU)
    assert (made / "strips.jpg").exists()
    assert (made / "check.json").exists()
    assert all(torch.tensor(value).isfinite() for value in summary.values())
    assert not [file for file in (made / "i2v").rglob("*.json") if str(made) in file.read_text()]
    weights = (made / "i2v" / "transformer" / "diffusion_pytorch_model.safetensors").stat().st_size
    model = CogVideoXImageToVideo.load(made / "i2v", revision=None, device=CPU, dtype=torch.float32)
    assert weights == pytest.approx(2 * sum(p.numel() for p in model.transformer.parameters()), rel=0.1)  # float16


def test_latents_are_those_that_the_adapter_would_make(made: Path) -> None:
    data = read_latents(TINY, made, CPU)
    model = CogVideoXImageToVideo.load(made / "i2v", revision=None, device=CPU, dtype=torch.float32)
    scale = AutoencoderKLCogVideoX.load_config(made / "vae")["scaling_factor"]
    clips = render_clips(TINY, range(TINY.clips), CPU)
    assert len(data.video) == TINY.clips
    for number in (0, TINY.clips - 1):
        assert data.camera[number] == list(PATHS).index(training_clip(TINY, number).scene.camera)
        torch.testing.assert_close(scale * data.video[number].float(), model.encode_video(clips[number]), atol=0.02, rtol=0.02)
        request = GenerationRequest("A room.", clips[number, 0], seed=0)
        drawn = model.encode_condition(request, frames=9, height=32, width=32)["image"]
        deviation = (drawn - scale * data.image[number].float()) / (scale * data.image_std[number].float())
        assert 0.7 < float(deviation.square().mean().sqrt()) < 1.3  # float16 weights, 512 numbers


def test_what_is_made_is_kept(made: Path) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in made.rglob("*.safetensors") if "latents" in str(path) or "vae" in str(path)
    }
    train_vae(TINY, made, Budget(steps=5), CPU)
    encode_clips(TINY, made, CPU)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_transformer_starts_at_zero_so_that_the_first_loss_is_the_variance_of_v(made: Path) -> None:
    model = load_untrained(TINY, made, CPU)
    states = torch.zeros(len(PATHS), 2, TINY.text_tokens, TINY.text_width)
    scale = AutoencoderKLCogVideoX.load_config(made / "vae")["scaling_factor"]
    course = Course(replace(TINY, batch=64), read_latents(TINY, made, CPU), states, scale)
    assert float(course.loss(model, step=0)) == pytest.approx(1, abs=0.15)  # noise and scaled latents have unit variance


def _descent(stop: int | None = None) -> tuple[Linear, Callable[[int], Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Linear(3, 2)

    def loss(step: int) -> Tensor:
        if step == stop:
            raise KeyboardInterrupt
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        return (module(inputs) - 1).square().mean()

    return module, loss


def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    budget = Budget(steps=12)
    whole, loss = _descent()
    fit(whole, loss, tmp_path / "whole.pt", rate=0.1, budget=budget, checkpoint_seconds=1e9)
    killed, loss = _descent(stop=7)
    with pytest.raises(KeyboardInterrupt):
        fit(killed, loss, tmp_path / "killed.pt", rate=0.1, budget=budget, checkpoint_seconds=0.0)
    resumed, loss = _descent()
    fit(resumed, loss, tmp_path / "killed.pt", rate=0.1, budget=budget, checkpoint_seconds=0.0)
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)


def test_a_training_leaves_the_average_of_its_weights_and_lowers_the_loss(tmp_path: Path) -> None:
    module, loss = _descent()
    before = float(loss(1000).detach())
    fit(module, loss, tmp_path / "x.pt", rate=0.1, budget=Budget(steps=60), checkpoint_seconds=1e9)
    assert float(loss(1000).detach()) < 0.1 * before
    fresh, _ = _descent()
    assert averaged_into(fresh, tmp_path / "x.pt") == 60
    assert torch.equal(fresh.weight, module.weight)


def test_a_budget_of_minutes_ends_by_the_clock() -> None:
    budget = Budget(steps=100, minutes=2.0)
    assert budget.progress(step=50, seconds=30.0) == 0.5
    assert budget.progress(step=10, seconds=90.0) == 0.75
    assert budget.progress(step=10, seconds=600.0) == 1


def test_every_second_clip_fails_and_scenes_are_those_of_nobody_else() -> None:
    clips = [training_clip(TINY, number) for number in range(40)]
    assert [clip.failure is None for clip in clips] == [True, False] * 20
    assert all(clip.scene.seed >= TRAINING_SCENES > CHECKED_SCENES + 10_000 > HELD_OUT_SEED for clip in clips)
    assert len({clip.scene.camera for clip in clips}) > 5
    assert clips == [training_clip(TINY, number) for number in range(40)]
    assert all(TINY.weakest <= clip.failure.strength <= 1 for clip in clips if clip.failure is not None)
    still = view(clips[0].scene).images
    torch.testing.assert_close(render_clips(TINY, [0], CPU)[0], still)
    torch.testing.assert_close(render_frames(TINY, [0, 11], CPU)[0, 0], still[0])
    torch.testing.assert_close(render_frames(TINY, [11], CPU)[0, 0], view(clips[11].scene).images[2])


def test_the_autoencoder_starts_as_a_thumbnail_in_colour() -> None:
    plan = Plan()
    vae = build_vae(plan).eval()
    clips = render_clips(plan, range(4), CPU)
    with torch.no_grad():
        restored = vae.decode(vae.encode(to_vae(clips)).latent_dist.mode()).sample.clamp(-1, 1)
    error = ((restored - to_vae(clips)) / 2).square().mean()
    assert float(-10 * error.log10()) > 20  # decibels


def test_every_text_fits_and_no_two_read_the_same() -> None:
    words = tokenizer()
    ids = [tuple(words(text).input_ids) for camera in PATHS for text in texts(camera)]
    assert max(map(len, ids)) <= Plan().text_tokens
    assert len(set(ids)) == len(ids)
    assert words.unk_token_id not in {number for one in ids for number in one}


def test_scenes_are_drawn_at_the_plans_size_and_differ_by_seed_and_camera() -> None:
    clips = {
        (seed, camera): view(plain_scene(TINY, seed, camera)).images
        for seed in (3, 4)
        for camera in ("pan-left", "truck-right")
    }
    assert {clip.shape for clip in clips.values()} == {(9, 3, 32, 32)}
    moved = {key: float((clip[-1] - clip[0]).abs().mean()) for key, clip in clips.items()}
    assert min(moved.values()) > 0.01
    first, *others = clips.values()
    assert all(float((clip - first).abs().mean()) > 0.01 for clip in others)
