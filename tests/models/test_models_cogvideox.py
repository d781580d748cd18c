"""CogVideoX: what is its own. What every model must do is proved in tests/contracts/test_models.py."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
from torch.testing import assert_close

from videogpa.errors import UserError
from videogpa.models import toys
from videogpa.models.base import PLENTY, GenerationRequest, Sampling
from videogpa.models.cogvideox import CogVideoXImageToVideo, CogVideoXTextToVideo
from videogpa.models.sizes import SizeRule
from videogpa.models.toys import cogvideox as toy_cogvideox

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def load(path: Path, kind: Any = CogVideoXImageToVideo) -> Any:
    return kind.load(path, revision=None, device=CPU, dtype=torch.float32)


def request_of(seed: int = 0) -> GenerationRequest:
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(100 + seed))
    return GenerationRequest("A quiet room; the camera orbits the objects.", image, seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "model"
    toys.build("cogvideox-i2v", path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load(folder)


def test_every_timestep_is_drawn_alike(model: Any) -> None:
    quantiles = (torch.arange(1000) + 0.5) / 1000
    assert model.timesteps_at(quantiles).tolist() == list(range(1000))
    assert model.timesteps_at(torch.tensor([0.0, 1 - 2**-24])).tolist() == [0, 999]


def test_latents_are_the_vaes_scaled(model: Any) -> None:
    video = torch.rand(9, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mean = model._pipeline.vae.encode((2 * video - 1).transpose(0, 1)[None]).latent_dist.mode()
    assert_close(model.encode_video(video), 0.7 * mean[0].transpose(0, 1))


@pytest.mark.parametrize(("inverted", "factor"), [(False, 0.7), (True, 1 / 0.7)])
def test_the_first_frame_is_scaled_as_the_weights_know_it(tmp_path: Path, inverted: bool, factor: float) -> None:
    toy_cogvideox.image_to_video(invert_scale_latents=inverted).save_pretrained(tmp_path)
    model, request = load(tmp_path), request_of(3)
    frame = (2 * request.image - 1)[None, :, None]
    with torch.no_grad():
        drawn = model._pipeline.vae.encode(frame).latent_dist.sample(torch.Generator().manual_seed(3))
    assert_close(model.encode_condition(request, frames=9, height=32, width=32)["image"], factor * drawn[0].transpose(0, 1))


_1_5 = {"patch_size_t": 2, "patch_bias": False, "sample_height": 96, "sample_width": 170}
PUBLISHED: dict[str, tuple[Any, dict[str, Any], tuple[int, int, int]]] = {
    "2b": (CogVideoXTextToVideo, {"num_attention_heads": 30, "rotary": False}, (13, 60, 90)),
    "5b": (CogVideoXTextToVideo, {}, (13, 60, 90)),
    "5b-i2v": (CogVideoXImageToVideo, {"use_learned_positional_embeddings": True}, (13, 60, 90)),
    "1.5-5b": (CogVideoXTextToVideo, _1_5, (22, 96, 170)),
    "1.5-5b-i2v": (CogVideoXImageToVideo, {**_1_5, "ofs_embed_dim": 512}, (22, 96, 170)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_positions_and_latents_fit_the_published_architectures(name: str) -> None:
    """Two blocks of the published width and a clip of the published size, on the device that computes shapes only."""
    kind, architecture, (frames, h, w) = PUBLISHED[name]
    settings = {"num_attention_heads": 48, **architecture, "num_layers": 2}
    rotary = settings.pop("rotary", True)
    meta = torch.device("meta")
    with meta:
        transformer = CogVideoXTransformer3DModel(
            in_channels=32 if kind.needs_image else 16, use_rotary_positional_embeddings=rotary, **settings
        )
    absent = {"tokenizer": None, "text_encoder": None, "vae": None}
    pipeline = kind._pipeline_class(transformer=transformer, scheduler=toy_cogvideox.text_to_video().scheduler, **absent)
    model = kind(pipeline, sizes=SizeRule(8, 16), text_tokens=226, padding=0, device=meta, memory=PLENTY)
    noisy = torch.zeros(1, frames, 16, h, w, device=meta)
    conditions = {"text": torch.zeros(1, 226, 4096, device=meta), "image": torch.zeros(1, 1, 16, h, w, device=meta)}
    inputs = model.transformer_inputs(noisy, torch.tensor([500], device=meta), conditions)
    assert model.transformer(**inputs)[0].shape == noisy.shape


def test_version_1_5_keeps_the_frame_put_before_the_others(tmp_path: Path) -> None:
    """Of an encoded clip it is a copy of the first; decoding drops it; the first frame's latents stand beside it."""
    toys.build("cogvideox1.5-i2v", tmp_path / "model")
    model = load(tmp_path / "model")
    latents = model.encode_video(torch.rand(9, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    assert len(latents) == 4
    assert torch.equal(latents[0], latents[1])
    other = latents.clone()
    other[0] = 0
    assert torch.equal(model.decode_latents(other), model.decode_latents(latents))
    condition = model.encode_condition(request_of(), frames=9, height=32, width=32)
    inputs = model.transformer_inputs(latents[None], torch.tensor([5]), {name: t[None] for name, t in condition.items()})
    image = inputs["hidden_states"][0, :, 16:]
    assert torch.equal(image[0], condition["image"][0])
    assert (image[1:] == 0).all()
    assert inputs["ofs"].tolist() == [2.0]


def test_the_2b_model_adds_more_noise_at_every_timestep(tmp_path: Path) -> None:
    """The schedule comes from the folder: that of the 2B model is shifted towards noise."""
    for name, rotary in (("2b", False), ("5b", True)):
        toy_cogvideox.text_to_video(rotary=rotary).save_pretrained(tmp_path / name)
    timesteps = torch.arange(0, 900, 100)
    ratios = []
    for name in ("2b", "5b"):
        alpha, sigma = load(tmp_path / name, CogVideoXTextToVideo)._mix(timesteps)
        ratios.append(alpha**2 / sigma**2)
    assert (ratios[0] < ratios[1]).all()


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


@pytest.mark.parametrize(("frames", "height", "width"), [(9, 64, 64), (17, 32, 48), (49, 480, 720), (81, 768, 1360)])
def test_possible_sizes_pass(folder: Path, frames: int, height: int, width: int) -> None:
    CogVideoXImageToVideo.check_size(folder, revision=None, frames=frames, height=height, width=width)


@pytest.mark.parametrize(("asked", "made"), [(5, 8), (8, 8), (9, 9), (13, 16), (16, 16), (17, 17)])
@pytest.mark.parametrize("name", ["cogvideox-t2v", "cogvideox1.5-t2v"])
def test_why_frames_must_be_8k_plus_1(tmp_path: Path, name: str, asked: int, made: int) -> None:
    """The pipeline takes 4 k + 1, but returns another number where k is odd; 8 k have no first frame of their own."""
    toys.build(name, tmp_path / "model")
    pipeline = CogVideoXPipeline.from_pretrained(tmp_path / "model")
    pipeline.set_progress_bar_config(disable=True)
    arguments = {"height": 32, "width": 32, "num_frames": asked, "num_inference_steps": 1, "guidance_scale": 1.0}
    assert len(pipeline("a room", max_sequence_length=48, output_type="pt", **arguments).frames[0]) == made


def test_learned_positions_fix_the_size(tmp_path: Path) -> None:
    toy_cogvideox.image_to_video(learned_positions=True).save_pretrained(tmp_path)
    CogVideoXImageToVideo.check_size(tmp_path, revision=None, frames=9, height=64, width=64)
    with pytest.raises(UserError, match=r"learned positions.*frames 9, height 64, width 64"):
        CogVideoXImageToVideo.check_size(tmp_path, revision=None, frames=9, height=32, width=32)


def test_the_table_of_positions_of_version_1_5_ends(tmp_path: Path) -> None:
    toys.build("cogvideox1.5-t2v", tmp_path / "model")
    CogVideoXTextToVideo.check_size(tmp_path / "model", revision=None, frames=9, height=48, width=64)
    with pytest.raises(UserError, match=r"table of positions ends at 64x64.*frames 9, height 64, width 64"):
        CogVideoXTextToVideo.check_size(tmp_path / "model", revision=None, frames=9, height=80, width=64)


def edited(folder: Path, to: Path, file: str, **changes: object) -> Path:
    shutil.copytree(folder, to)
    content = json.loads((to / file).read_text())
    (to / file).write_text(json.dumps({**content, **changes}))
    return to


@pytest.mark.parametrize(
    ("kind", "file", "changes", "message"),
    [
        (CogVideoXImageToVideo, "transformer/config.json", {"in_channels": 16}, "no image-to-video.*cogvideox-t2v"),
        (CogVideoXTextToVideo, "transformer/config.json", {}, "no text-to-video.*cogvideox-i2v"),
        (CogVideoXImageToVideo, "transformer/config.json", {"patch_size_t": 4}, "4 latent frames long"),
        (CogVideoXImageToVideo, "scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "epsilon"),
    ],
)
def test_other_kinds_of_model_are_refused(
    folder: Path, tmp_path: Path, kind: Any, file: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(edited(folder, tmp_path / "model", file, **changes), kind)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no CogVideoX model in diffusers' format at"):
        load(tmp_path)


def test_a_first_frame_of_another_size_is_fitted(model: Any) -> None:
    large = torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(1))
    request = GenerationRequest("a room", large, 0)
    [sample] = model.generate([request], Sampling(frames=9, height=32, width=32, num_inference_steps=1, guidance_scale=1.0))
    assert sample.video.shape == (9, 3, 32, 32)
