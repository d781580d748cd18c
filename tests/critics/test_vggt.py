"""The VGGT critic, with a small network of random weights: what it looks at, what it hands on, and when it declines."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import videogpa
from videogpa.cli import main
from videogpa.config import ScoreConfig
from videogpa.critics.base import CriticInput, ReconstructionFailed
from videogpa.critics.networks.framing import frame_for_network
from videogpa.critics.networks.gates import LEAST_PARALLAX, near_far_parallax, pass_gates
from videogpa.critics.networks.vggt import Vggt
from videogpa.critics.oracle import OracleCritic
from videogpa.critics.vggt import VggtCritic
from videogpa.errors import UserError
from videogpa.maths.cameras import unproject
from videogpa.records import Reconstruction, Scene
from videogpa.scoring import reprojection
from videogpa.scoring.lpips import VGG_VARIABLE
from videogpa.scoring.scorer import Scorer
from videogpa.stages.score import weights_identity
from videogpa.video import read_frames, write_video
from videogpa.world.paths import PATHS

SIDE = 70


def save_weights(golden: Path, folder: Path, *, translation: float) -> str:
    """The golden network, with cameras side by side that look the same way; their steps are scaled."""
    tensors = load_file(golden / "weights.safetensors")
    last = tensors["camera_head.pose_branch.fc2.weight"]
    last *= 0.05
    last[:3] *= translation
    tensors["camera_head.pose_branch.fc2.bias"] = torch.tensor([0.0] * 6 + [1, 0.25, 0.25])  # added up in four passes
    tensors["point_head.scratch.output_conv2.2.bias"][2] = 2  # in front of the cameras
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text((golden / "config.json").read_text())
    return str(folder)


@pytest.fixture(scope="module")
def weights(golden_vggt: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_weights(golden_vggt, tmp_path_factory.mktemp("weights"), translation=20.0)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.rand(4, 3, 48, 72, generator=torch.Generator().manual_seed(0))


def test_the_whole_frame_is_seen_in_multiples_of_the_patch() -> None:
    ramp = torch.linspace(0, 1, 720).expand(2, 3, 480, 720)
    seen = frame_for_network(ramp, "whole", 518, 14)
    assert seen.shape == (2, 3, 350, 518)  # 480 * 518 / 720 = 345.3
    assert torch.allclose(seen[0, 0, 0], torch.linspace(0, 1, 518), atol=2e-3)
    assert frame_for_network(ramp.transpose(2, 3), "whole", 518, 14).shape == (2, 3, 518, 350)
    assert frame_for_network(torch.rand(1, 3, 4, 200), "whole", 70, 14).shape == (1, 3, 14, 70)


def test_the_centre_is_the_papers_square() -> None:
    ramp = torch.linspace(0, 1, 721).expand(1, 3, 480, 721)
    seen = frame_for_network(ramp, "centre", 518, 14)
    assert seen.shape == (1, 3, 518, 518)
    assert torch.equal((seen * 255).round() / 255, seen)
    assert float(seen[0, 0, 0, 0]) == pytest.approx(float(ramp[0, 0, 0, 120]), abs=0.003)  # (721 - 480) // 2
    assert float(seen[0, 0, 0, -1]) == pytest.approx(float(ramp[0, 0, 0, 599]), abs=0.003)


def test_the_centre_is_cut_as_the_papers_code_cuts_it() -> None:
    picture = (torch.rand(96, 145, 3, generator=torch.Generator().manual_seed(0)) * 255).byte()
    theirs = cv2.resize(picture[:, 24 : 24 + 96].numpy(), (140, 140), interpolation=cv2.INTER_LINEAR)
    ours = frame_for_network(picture.permute(2, 0, 1)[None] / 255, "centre", 140, 14)[0]
    assert torch.equal((ours * 255).round().byte(), torch.from_numpy(theirs).permute(2, 0, 1))


def test_it_hands_on_what_the_network_says(weights: str, frames: Tensor) -> None:
    critic = VggtCritic(weights, side=SIDE)
    reconstruction = critic.reconstruct(CriticInput(frames, (0, 1, 3)))
    images = frame_for_network(frames[[0, 1, 3]], "whole", SIDE, 14)
    predicted = Vggt.from_folder(weights)(images[None])
    assert torch.equal(reconstruction.images, images)
    assert images.shape == (3, 3, 42, 70)
    assert torch.equal(reconstruction.depth, predicted.depth[0, ..., 0])
    assert torch.equal(reconstruction.confidence, predicted.depth_conf[0])
    assert torch.equal(reconstruction.camera_from_world[:, :3], predicted.extrinsic[0])
    assert reconstruction.camera_from_world[:, 3].tolist() == [[0, 0, 0, 1]] * 3
    assert reconstruction.points is None
    assert critic.details == {"weights": weights, "crop": "whole", "points": "depth", "side": "70"}
    assert reconstruction.measures["registered"] == 3
    assert reconstruction.measures["confidence"] == pytest.approx(float(predicted.depth_conf.median()), rel=1e-3)


def test_a_clip_that_is_enlarged_for_the_network_is_judged_at_its_own_pixels(weights: str, frames: Tensor) -> None:
    small = frames[:, :, ::2, ::2]
    reconstruction = VggtCritic(weights, side=SIDE).reconstruct(CriticInput(small))
    assert torch.equal(reconstruction.images, small)
    assert reconstruction.depth.shape == (4, 24, 36)
    cropped = VggtCritic(weights, side=SIDE, crop="centre").reconstruct(CriticInput(small))  # as the paper does
    assert cropped.images.shape == (4, 3, SIDE, SIDE)


def test_a_side_that_the_patches_do_not_fill_is_refused(weights: str) -> None:
    with pytest.raises(UserError, match=r"multiple of 14.*not 64"):
        VggtCritic(weights, side=64)


def test_the_papers_protocol_takes_the_centre_and_the_point_head(weights: str, frames: Tensor) -> None:
    reconstruction = VggtCritic(weights, side=SIDE, **VggtCritic.PAPER).reconstruct(CriticInput(frames))
    predicted = Vggt.from_folder(weights)(frame_for_network(frames, "centre", SIDE, 14)[None])
    assert reconstruction.images.shape == (4, 3, SIDE, SIDE)
    assert torch.equal(reconstruction.points, predicted.world_points[0])
    assert torch.equal(reconstruction.confidence, predicted.depth_conf[0])


def test_a_row_names_how_the_clip_was_looked_at(weights: str) -> None:
    video = torch.rand(4, 3, 48, 72, generator=torch.Generator().manual_seed(1))
    options = {"weights": weights, "side": SIDE, "crop": "centre", "points": "head"}
    scored = Scorer(critic="vggt", frames=4, options=options).score_clip(video, clip="a")
    row = scored.score
    assert row.reason is None
    assert (row.status, row.critic, row.frames) == ("ok", "vggt", 4)
    assert row.details == {"weights": weights, "crop": "centre", "points": "head", "side": "70"}
    assert row.confidence > 1
    assert row.parallax > LEAST_PARALLAX
    assert None not in (row.error_3dcs, row.loo_error, row.loo_coverage, row.motion)
    assert row.error_3dcs == pytest.approx(row.mse + row.lpips)
    assert scored.reconstruction is not None
    rendered, _ = reprojection.render_splat(scored.reconstruction)
    assert row.mse == pytest.approx(float((rendered - scored.reconstruction.images).square().mean()), rel=1e-4)


@pytest.mark.slow
def test_the_command_line_scores_as_the_paper_did(
    weights: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VGG_VARIABLE, str(shared / "weights" / "lpips_vgg_fp16.safetensors"))
    write_video(tmp_path / "clip.mp4", read_frames(shared / "clips/realestate/10.mp4", 11)[:, :, ::4, ::4].contiguous(), 8)
    asked = ["--critic", "vggt", "--paper", "--weights", weights, "--option", "side=42"]
    main(["score", str(tmp_path / "clip.mp4"), "--out", str(tmp_path / "out"), *asked])
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "scores.jsonl").read_text().splitlines()]
    assert (row["status"], row["lpips_net"], row["frames"]) == ("ok", "vgg", 10)
    assert row["details"] == {"weights": weights, "crop": "centre", "points": "head", "side": "42"}
    assert row["error_3dcs"] == pytest.approx(row["mse"] + row["lpips"])
    assert "crop centre" in (tmp_path / "out" / "report.html").read_text()


def test_a_scorer_takes_a_path_and_loads_weights_once(weights: str, frames: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"weights": Path(weights), "side": SIDE}
    row = videogpa.score(frames, critic="vggt", frames=4, options=options)
    scorer = Scorer("vggt", frames=4, options=options)
    monkeypatch.setattr(Vggt, "from_folder", None)  # not called again
    for _ in range(2):
        assert scorer.score(frames).model_copy(update={"seconds": row.seconds}) == row


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"crop": "center"}, "crop: Input should be 'whole' or 'centre'"),
        ({"side": 0}, "side: Input should be greater than or equal to 1"),
        ({"points": "cloud"}, "points: Input should be 'depth' or 'head'"),
        ({"weight": "x"}, "it takes: weights, crop, points, side, device): weight: Extra inputs"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_loaded(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is looked at below
        ScoreConfig(critic="vggt", options=options)
    assert complaint in str(refused.value)


def test_weights_that_are_not_here_are_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a folder"):
        VggtCritic(str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"could not be fetched|neither a folder"):  # tests have no access to the hub
        VggtCritic("nobody/has-such-weights")


def test_exchanged_weights_make_rows_stale(tmp_path: Path) -> None:
    config = ScoreConfig(critic="vggt", options={"weights": str(tmp_path)})
    (tmp_path / "model.pt").write_bytes(b"one")
    before = weights_identity(config)
    (tmp_path / "model.pt").write_bytes(b"two")
    assert before != weights_identity(config)
    assert weights_identity(ScoreConfig()) is None
    assert weights_identity(ScoreConfig(critic="vggt", options={"weights": "owner/name"})) is None


def scene(step: float, *, confidence: float = 3.0, size: int = 20) -> Reconstruction:
    """Two cameras `step` apart, half the picture at a depth of 1, half at 4."""
    depth = torch.ones(2, size, size)
    depth[:, :, size // 2 :] = 4
    camera_from_world = torch.eye(4).repeat(2, 1, 1)
    camera_from_world[1, 0, 3] = step
    intrinsics = torch.tensor([[30.0, 0, 10], [0, 30, 10], [0, 0, 1]]).repeat(2, 1, 1)
    return Reconstruction(
        torch.rand(2, 3, size, size), depth, torch.full_like(depth, confidence), intrinsics, camera_from_world
    )


def test_parallax_is_the_difference_of_what_near_and_far_points_move() -> None:
    near = scene(0.2)
    points = unproject(near.depth, near.intrinsics, near.camera_from_world)[0, 10, [0, -1]]
    columns = 30 * (points[:, 0] + 0.2) / points[:, 2] - 30 * points[:, 0] / points[:, 2]
    found = near_far_parallax(near.depth, near.intrinsics, near.camera_from_world)
    assert float(found) == pytest.approx(float(columns[0] - columns[1]), rel=1e-4)
    assert float(found) == pytest.approx(30 * 0.2 * (1 - 1 / 4), rel=1e-4)


def test_a_camera_that_only_turns_or_stands_has_no_parallax() -> None:
    still = scene(0.0)
    angle = torch.tensor(0.3)
    turn = torch.eye(4)
    turn[0, 0], turn[0, 2], turn[2, 0], turn[2, 2] = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
    still.camera_from_world[1] = turn
    for reconstruction in (still, scene(0.04)):  # 0.9 pixels
        with pytest.raises(ReconstructionFailed, match="no parallax") as declined:
            pass_gates(reconstruction, least_confidence=1.05)
        assert declined.value.status == "no_parallax"
        assert declined.value.measures["parallax"] < LEAST_PARALLAX
    passed = pass_gates(scene(0.05), least_confidence=1.05)
    assert passed.measures == {"confidence": 3.0, "parallax": pytest.approx(1.125)}


@pytest.mark.parametrize("path", sorted(PATHS))
def test_exact_geometry_passes_unless_the_camera_only_pans(path: str) -> None:
    scene = Scene(seed=0, camera=path, frames=9, height=64, width=64)
    exact = OracleCritic().reconstruct(CriticInput(torch.rand(9, 3, 64, 64), scene=scene, frame_indices=tuple(range(9))))
    if path.startswith("pan"):
        with pytest.raises(ReconstructionFailed, match="no parallax"):
            pass_gates(exact, least_confidence=1.0)
    else:
        assert pass_gates(exact, least_confidence=1.0).measures["parallax"] > 10 * LEAST_PARALLAX


def test_one_picture_again_and_again_has_no_parallax_whatever_the_network_returns() -> None:
    moving = scene(1.0)
    frozen = replace(moving, images=moving.images[:1].expand(2, -1, -1, -1))
    with pytest.raises(ReconstructionFailed, match="all 2 frames are the same picture") as declined:
        pass_gates(frozen, least_confidence=1.05)
    assert declined.value.status == "no_parallax"
    assert declined.value.measures["parallax"] == pytest.approx(22.5)
    nearly = moving.images[:1] + torch.tensor([0.0, 0.006]).view(2, 1, 1, 1)  # the second frame is 1.5 levels brighter
    assert pass_gates(replace(moving, images=nearly), least_confidence=1.05).measures["parallax"] == pytest.approx(22.5)


def test_a_network_without_confidence_gives_no_number() -> None:
    with pytest.raises(ReconstructionFailed, match=r"not confident anywhere: median 1\.01") as declined:
        pass_gates(scene(1.0, confidence=1.01), least_confidence=1.05)
    assert declined.value.status == "failed"
    endless = scene(1.0)
    endless.intrinsics[0, 0, 0] = torch.inf
    with pytest.raises(ReconstructionFailed, match="infinite or no number"):
        pass_gates(endless, least_confidence=1.05)
    inverted = scene(1.0)
    inverted.intrinsics[1, 1, 1] = -30
    with pytest.raises(ReconstructionFailed, match="focal length of -30"):
        pass_gates(inverted, least_confidence=1.05)


def test_a_network_that_sees_no_motion_declines_the_clip(golden_vggt: Path, tmp_path: Path, frames: Tensor) -> None:
    options = {"weights": save_weights(golden_vggt, tmp_path, translation=0.0), "side": SIDE}
    row = Scorer(critic="vggt", frames=4, options=options).score_clip(frames, clip="a").score
    assert (row.status, row.loo_error) == ("no_parallax", None)
    assert row.parallax == pytest.approx(0, abs=1e-4)
    assert row.confidence > 1
