"""The trained miniature that ships: loaded as any model, and still the model that docs/science/miniatures.md measures."""

import pytest
import torch

from videogpa.bundled import BUNDLED
from videogpa.config import ModelConfig
from videogpa.errors import UserError
from videogpa.models.base import GenerationRequest, Sampling, VideoModel
from videogpa.models.loading import check_size, load_model
from videogpa.records import Scene
from videogpa.storage.run_folder import RunFolder
from videogpa.world.prompts import view
from videogpa.world.words import request

CONFIG = ModelConfig(name="cogvideox-i2v", path="tiny:i2v", device="cpu")
SIZE = {"frames": 9, "height": 32, "width": 32}
SCENE = 900_000  # of those that docs/science/miniatures.md measures: of no training and no recipe


def decibels(clip: torch.Tensor, reference: torch.Tensor) -> float:
    return float(-10 * (clip - reference).square().mean().log10())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VideoModel:
    return load_model(CONFIG, RunFolder(tmp_path_factory.mktemp("run")))


def clips(model: VideoModel, *cameras: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Sample a clip for each camera path through one room; return it beside the true one."""
    scenes = {camera: view(Scene(seed=SCENE, camera=camera, style="plain", **SIZE)).images for camera in cameras}
    requests = [GenerationRequest(request(camera, "scripted", SCENE), clip[0], seed=1) for camera, clip in scenes.items()]
    samples = model.generate(requests, Sampling(**SIZE, num_inference_steps=10, guidance_scale=1.0))
    return {camera: (sample.video, scenes[camera]) for camera, sample in zip(cameras, samples, strict=True)}


def test_it_is_small_and_makes_clips_of_its_size_alone() -> None:
    assert sum(file.stat().st_size for file in BUNDLED.rglob("*") if file.is_file()) < 25e6
    check_size(CONFIG, RunFolder(BUNDLED), **SIZE)
    with pytest.raises(UserError, match="32"):
        check_size(CONFIG, RunFolder(BUNDLED), frames=9, height=64, width=64)


def test_another_miniature_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"tiny:sora.*i2v"):
        check_size(CONFIG.model_copy(update={"path": "tiny:sora"}), RunFolder(BUNDLED), **SIZE)


def test_its_autoencoder_keeps_what_it_is_shown(model: VideoModel) -> None:
    truth = view(Scene(seed=SCENE, camera="orbit-left", style="plain", **SIZE)).images
    assert decibels(model.decode_latents(model.encode_video(truth)), truth) > 26


def test_it_shows_the_room_of_the_first_frame_along_the_path_that_it_was_asked_for(model: VideoModel) -> None:
    """Two opposite paths start from one and the same picture: the words alone tell the clips apart."""
    made = clips(model, "truck-left", "truck-right")
    left, right = made["truck-left"], made["truck-right"]
    torch.testing.assert_close(left[1][0], right[1][0])
    for sample, truth in (left, right):
        assert decibels(sample[0], truth[0]) > 26
        assert decibels(sample, truth) > 18
    assert decibels(left[0][-1], left[1][-1]) > decibels(left[0][-1], right[1][-1]) + 2
    assert decibels(right[0][-1], right[1][-1]) > decibels(right[0][-1], left[1][-1]) + 2
