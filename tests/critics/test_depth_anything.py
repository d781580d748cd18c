"""The critic of Depth Anything 3, with a small network of random weights: what it looks at, hands on, and declines."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from videogpa.config import ScoreConfig
from videogpa.critics.base import CriticInput
from videogpa.critics.depth_anything import DepthAnythingCritic
from videogpa.critics.networks.depth_anything import DepthAnything3
from videogpa.critics.networks.framing import frame_for_network
from videogpa.errors import UserError
from videogpa.maths.cameras import camera_centers
from videogpa.scoring.scorer import Scorer

SIDE = 70


def save_weights(golden: Path, folder: Path, *, step: float) -> str:
    """The golden network as it is published, with cameras that look the same way from places some `step` apart."""
    tensors = {f"model.{name}": tensor for name, tensor in load_file(golden / "weights.safetensors").items()}
    tensors["model.cam_dec.fc_t.weight"] *= step
    tensors["model.cam_dec.fc_qvec.weight"] *= 0.05
    tensors["model.cam_dec.fc_qvec.bias"] = torch.tensor([0.0, 0, 0, 1])
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text((golden / "config.json").read_text())
    return str(folder)


@pytest.fixture(scope="module")
def weights(golden_da3: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_weights(golden_da3, tmp_path_factory.mktemp("weights"), step=0.2)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.rand(5, 3, 48, 72, generator=torch.Generator().manual_seed(0))


def test_it_hands_on_what_the_network_says(weights: str, frames: Tensor) -> None:
    critic = DepthAnythingCritic(weights, side=SIDE)
    reconstruction = critic.reconstruct(CriticInput(frames, (0, 1, 3, 4)))
    images = frame_for_network(frames[[0, 1, 3, 4]], "whole", SIDE, 14)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    predicted = DepthAnything3.from_folder(weights)((images - mean[:, None, None])[None] / deviation[:, None, None])
    assert images.shape == (4, 3, 42, 70)
    assert torch.equal(reconstruction.images, images)
    assert torch.equal(reconstruction.depth, predicted.depth[0])
    assert torch.equal(reconstruction.confidence, predicted.depth_conf[0])
    assert torch.equal(reconstruction.intrinsics, predicted.intrinsics[0])
    assert torch.equal(reconstruction.camera_from_world[:, :3], predicted.extrinsics[0])
    assert reconstruction.camera_from_world[:, 3].tolist() == [[0, 0, 0, 1]] * 4
    assert critic.details == {"weights": weights, "crop": "whole", "side": "70"}
    assert reconstruction.measures["registered"] == 4
    assert reconstruction.measures["points"] == 4 * 42 * 70
    assert reconstruction.measures["focal_widths"] == pytest.approx(float(predicted.intrinsics[..., 0, 0].median()) / 70)


def test_frames_played_backwards_have_their_cameras_backwards(weights: str, frames: Tensor) -> None:
    critic = DepthAnythingCritic(weights, side=SIDE)
    there, back = critic.reconstruct(CriticInput(frames)), critic.reconstruct(CriticInput(frames.flip(0)))
    assert torch.allclose(there.depth, back.depth.flip(0), rtol=1e-4)
    centers = camera_centers(there.camera_from_world)
    assert torch.allclose(centers, camera_centers(back.camera_from_world).flip(0), atol=1e-4 * float(centers.abs().max()))


def test_a_row_names_how_the_clip_was_looked_at(weights: str, frames: Tensor) -> None:
    options = {"weights": weights, "side": SIDE}
    row = Scorer(critic="da3", frames=5, options=options).score_clip(frames, clip="a").score
    assert row.reason is None
    assert (row.status, row.critic, row.frames) == ("ok", "da3", 5)
    assert row.details == {"weights": weights, "crop": "whole", "side": "70"}
    assert row.confidence > 1
    assert row.parallax > 1
    assert None not in (row.error_3dcs, row.loo_error, row.loo_coverage, row.motion, row.mvcs, row.jerk)


def test_a_network_that_sees_no_motion_declines_the_clip(golden_da3: Path, tmp_path: Path, frames: Tensor) -> None:
    options = {"weights": save_weights(golden_da3, tmp_path, step=0.0), "side": SIDE}
    row = Scorer(critic="da3", frames=5, options=options).score_clip(frames, clip="a").score
    assert (row.status, row.loo_error) == ("no_parallax", None)


def test_an_unsure_network_declines_the_clip(weights: str, tmp_path: Path, frames: Tensor) -> None:
    tensors = load_file(f"{weights}/model.safetensors")
    tensors["model.head.scratch.output_conv2.2.bias"] += torch.tensor([0.0, -20])  # confidence 1 + exp(-20 ...)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(Path(weights, "config.json").read_text())
    row = Scorer(critic="da3", frames=5, options={"weights": str(tmp_path), "side": SIDE}).score_clip(frames, clip="a")
    assert row.score.status == "failed"
    assert "not confident" in row.score.reason


def test_the_default_weights_are_named_where_they_cannot_be_fetched() -> None:
    with pytest.raises(UserError, match="depth-anything/DA3-BASE"):  # tests have no access to the hub
        DepthAnythingCritic()


def test_impossible_sides_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ValueError, match="side: Input should be a multiple of 14"):
        ScoreConfig(critic="da3", options={"side": 500})
