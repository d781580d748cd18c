import dataclasses
import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from videogpa.critics.base import ReconstructionFailed
from videogpa.maths.cameras import unproject
from videogpa.records import Reconstruction
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.reprojection import (
    Render,
    error_maps,
    leave_one_out_errors,
    leave_one_out_scores,
    leave_one_out_summary,
    paper_scores,
    parallax_tolerance,
    render_leave_one_out,
    render_splat,
)

CASES = ["static_noisy", "drifting"]


@pytest.fixture(scope="module")
def alex() -> Lpips:
    return Lpips("alex")


@pytest.fixture(scope="module")
def vgg(shared) -> Lpips:
    return Lpips("vgg", weights=shared / "weights" / "lpips_vgg_fp16.safetensors")


def official(golden, case: str) -> tuple[Reconstruction, dict, torch.Tensor]:
    """Return the official code's inputs, its figures and its re-rendering."""
    tensors = load_file(golden / f"{case}.safetensors")
    expected = json.loads((golden / "expected.json").read_text())[case]
    images = tensors["images"]
    if images.dtype == torch.uint16:  # as stored by golden/README.md
        images = (images.float() + 0.5) / (255 * 256)
    camera_from_world = torch.eye(4).repeat(len(tensors["images"]), 1, 1)
    camera_from_world[:, :3] = tensors["extrinsics"]
    reconstruction = Reconstruction(
        images=images,
        depth=tensors["depth"],
        confidence=tensors["depth_conf"].float(),
        intrinsics=tensors["intrinsics"],
        camera_from_world=camera_from_world,
    )
    return reconstruction, expected, tensors["reprojected"]


def wall(*, frames: int = 5, height: int = 96, width: int = 128, step: float = 0.05) -> Reconstruction:
    """Return a camera gliding along a smooth pattern on a wall, with exact geometry."""
    camera_from_world = torch.eye(4).repeat(frames, 1, 1)
    camera_from_world[:, 0, 3] = -step * torch.arange(frames)
    intrinsics = torch.tensor([[100.0, 0, (width - 1) / 2], [0, 100, (height - 1) / 2], [0, 0, 1]]).repeat(frames, 1, 1)
    depth = torch.full((frames, height, width), 2.0)
    points = unproject(depth, intrinsics, camera_from_world)
    waves = torch.stack([torch.sin(k * points[..., 0] + (3 - k) * points[..., 1] + k) for k in (3.0, 5.0, 7.0)], dim=1)
    return Reconstruction(0.5 + 0.4 * waves, depth, torch.ones_like(depth), intrinsics, camera_from_world)


@pytest.mark.parametrize("case", CASES)
def test_render_splat_equals_the_official_one(case, golden):
    reconstruction, _, frames = official(golden / "scoring", case)
    rendered, covered = render_splat(reconstruction)
    assert torch.equal(covered, (frames > 0).any(1))
    difference = (rendered * 255 - frames).abs().amax(1)
    assert (difference > 0.5).float().mean() < 1e-3  # points of two frames at equal depth: which of them is seen is free
    assert difference.quantile(0.99) < 8


def test_render_and_scores_equal_the_official_ones_where_points_coincide(shared, alex):
    """Points of several frames lie at equal depth here, on 3.5 % of the pixels: which of them is seen is free."""
    reconstruction, expected, frames = official(shared / "golden" / "scoring_a", "static_clean")
    rendered, covered = render_splat(reconstruction)
    assert torch.equal(covered, (frames > 0).any(1))
    difference = (rendered * 255 - frames).abs().amax(1)
    assert (difference > 0.5).float().mean() < 0.035
    assert difference.quantile(0.99) < 8
    scores = paper_scores(reconstruction, alex)
    for key in ("mse", "psnr", "ssim", "motion", "mvcs"):
        assert scores[key] == pytest.approx(expected["confidence_percentile_0"][key], abs=0.02 if key == "psnr" else 1e-3), key


@pytest.mark.parametrize("percentile", [0, 20])
@pytest.mark.parametrize("case", CASES)
def test_paper_scores_equal_the_official_ones(case, percentile, golden, alex):
    reconstruction, expected, _ = official(golden / "scoring", case)
    expected = expected[f"confidence_percentile_{percentile}"]
    scores = paper_scores(reconstruction, alex, drop_lowest_confidence=percentile / 100)
    assert set(scores) == {"error_3dcs", "mse", "lpips", "psnr", "ssim", "motion", "mvcs"}
    for key in ("mse", "psnr", "ssim", "motion", "mvcs"):
        assert scores[key] == pytest.approx(expected[key], abs=0.02 if key == "psnr" else 1e-3), key
    assert scores["error_3dcs"] == pytest.approx(scores["mse"] + scores["lpips"])


@pytest.mark.slow
@pytest.mark.parametrize("percentile", [0, 20])
@pytest.mark.parametrize("case", CASES)
def test_3dcs_with_lpips_of_vgg_equals_the_official_one(case, percentile, golden, vgg):
    reconstruction, expected, _ = official(golden / "scoring", case)
    expected = expected[f"confidence_percentile_{percentile}"]
    scores = paper_scores(reconstruction, vgg, drop_lowest_confidence=percentile / 100)
    assert scores["lpips"] == pytest.approx(expected["lpips_vgg"], abs=1e-3)
    assert scores["error_3dcs"] == pytest.approx(expected["consistency_3dcs"], abs=1e-3)


def test_given_points_are_used_instead_of_the_depth(alex):
    reconstruction = wall()
    points = unproject(reconstruction.depth, reconstruction.intrinsics, reconstruction.camera_from_world)
    given = dataclasses.replace(reconstruction, points=points)
    assert paper_scores(given, alex) == paper_scores(reconstruction, alex)
    moved = dataclasses.replace(reconstruction, points=points + torch.tensor([0.3, 0.0, 0.0]))
    assert paper_scores(moved, alex)["mse"] > 10 * paper_scores(reconstruction, alex)["mse"]


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 20.0])
def test_refuses_a_percentage(fraction, alex):
    with pytest.raises(ValueError, match=r"fraction in \[0, 1\)"):
        paper_scores(wall(), alex, drop_lowest_confidence=fraction)


def test_exact_geometry_scores_near_zero_and_covers_nearly_all(alex):
    scores = leave_one_out_scores(wall(), alex)
    assert scores["loo_mse"] < 1e-4
    assert scores["loo_lpips"] < 0.01
    assert scores["loo_error"] == scores["loo_mse"] + scores["loo_lpips"]
    # the end frames lack what only they see: 0.05 / 2 * 100 = 2.5 of 128 columns each
    assert scores["loo_coverage"] == pytest.approx(1 - 2 * 2.5 / 128 / 5, abs=0.01)


def test_a_frame_does_not_explain_itself(alex):
    reconstruction = wall()
    images = reconstruction.images.clone()
    images[2, :, 30:60, 40:80] = 1 - images[2, :, 30:60, 40:80]  # something only frame 2 shows
    odd = dataclasses.replace(reconstruction, images=images)
    (before, _), (after, covered) = render_leave_one_out(reconstruction), render_leave_one_out(odd)
    assert torch.allclose(before[2], after[2], atol=0.005)  # but for the one gain of its exposure
    errors = error_maps(odd, Render(after, covered))[2]
    assert errors[32:58, 42:78].mean() > 0.2
    assert errors[:25].mean() < 0.02
    assert leave_one_out_scores(odd, alex)["loo_error"] > 5 * leave_one_out_scores(reconstruction, alex)["loo_error"]


def test_wrong_depth_raises_the_leave_one_out_score(alex):
    reconstruction = wall(step=0.2)
    scores = [
        leave_one_out_scores(dataclasses.replace(reconstruction, depth=scale * reconstruction.depth), alex)["loo_error"]
        for scale in (1.0, 1.1, 1.3)
    ]
    assert scores == sorted(scores)
    assert scores[2] > 5 * scores[0]


def test_unit_of_the_reconstruction_does_not_matter(alex):
    reconstruction = wall()
    camera_from_world = reconstruction.camera_from_world.clone()
    camera_from_world[:, :3, 3] *= 8  # a power of two, so that rounding is the same
    larger = dataclasses.replace(reconstruction, depth=8 * reconstruction.depth, camera_from_world=camera_from_world)
    assert leave_one_out_scores(larger, alex) == pytest.approx(leave_one_out_scores(reconstruction, alex), abs=1e-6)


def test_noise_of_the_depth_below_the_tolerance_is_blended_away():
    reconstruction = wall(frames=4)
    noise = torch.randn(reconstruction.depth.shape, generator=torch.Generator().manual_seed(0))
    noisy = dataclasses.replace(reconstruction, depth=reconstruction.depth + 0.02 * noise)  # about .1 px of parallax
    tolerant, covered = render_leave_one_out(noisy)
    naive, _ = render_splat(noisy)
    error = error_maps(noisy, Render(tolerant, covered))[covered].square().mean()
    assert covered.float().mean() > 0.97
    assert error < images_mse(naive, noisy.images)


def images_mse(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).square().mean()


def test_a_perfect_render_has_no_error(alex):
    frames = wall().images
    perfect = Render(frames, torch.ones(len(frames), *frames.shape[2:], dtype=torch.bool))
    scores = leave_one_out_summary(leave_one_out_errors(perfect, frames, alex))
    assert scores == {"loo_mse": 0.0, "loo_lpips": 0.0, "loo_error": 0.0, "loo_coverage": 1.0}


def test_frames_that_nothing_covers_do_not_count(alex):
    reconstruction = wall()
    render = render_leave_one_out(reconstruction)
    covered = render.covered.clone()
    covered[0] = False
    scores = leave_one_out_summary(leave_one_out_errors(Render(render.images, covered), reconstruction.images, alex))
    assert math.isfinite(scores["loo_error"])
    assert scores["loo_coverage"] == pytest.approx(covered.float().mean().item())


def test_no_coverage_is_not_a_number(alex):
    reconstruction = wall(frames=2, step=50.0)
    with pytest.raises(ReconstructionFailed, match="no frame shows a point of another"):
        leave_one_out_scores(reconstruction, alex)
    with pytest.raises(ReconstructionFailed, match="lands in the next"):
        paper_scores(reconstruction, alex)


def test_no_usable_depth_is_not_a_number(alex):
    reconstruction = wall()
    without = dataclasses.replace(reconstruction, confidence=torch.zeros_like(reconstruction.confidence))
    for scores in (paper_scores, leave_one_out_scores):
        with pytest.raises(ReconstructionFailed, match="no pixel has a usable depth"):
            scores(without, alex)


def test_one_frame_is_not_a_number(alex):
    for scores in (paper_scores, leave_one_out_scores):
        with pytest.raises(ReconstructionFailed, match="at least two"):
            scores(wall(frames=1), alex)


def test_unknown_depth_and_zero_confidence_are_no_points():
    reconstruction = wall()
    depth, confidence = reconstruction.depth.clone(), reconstruction.confidence.clone()
    depth[:, :48], confidence[:, 48:, :64] = 0, 0
    _, covered = render_leave_one_out(dataclasses.replace(reconstruction, depth=depth, confidence=confidence))
    assert not covered[:, :47].any()
    assert not covered[0, 50:, :60].any()
    assert covered[2, 50:, 70:110].all()


def test_tolerance_is_one_pixel_of_parallax_to_the_median_camera():
    reconstruction = wall(frames=4, step=0.5)
    # distances from the first camera: .5, 1, 1.5; focal length 100
    assert_close(parallax_tolerance(reconstruction.intrinsics, reconstruction.camera_from_world)[0], torch.tensor(0.01))


def test_a_camera_that_stands_still_is_scored(alex):
    scores = leave_one_out_scores(wall(step=0.0), alex)
    assert scores["loo_error"] < 1e-3
    assert scores["loo_coverage"] == 1.0
    assert paper_scores(wall(step=0.0), alex)["motion"] == 0.0


def test_runs_are_identical():
    reconstruction = wall()
    first, second = render_leave_one_out(reconstruction), render_leave_one_out(reconstruction)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
