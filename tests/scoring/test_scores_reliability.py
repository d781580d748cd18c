"""How sure a score is: its standard error, and the doubts about its clip."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from videogpa.critics.base import CriticInput
from videogpa.critics.oracle import OracleCritic
from videogpa.reconstruction import Reconstruction
from videogpa.records import Scene
from videogpa.scoring import Lpips, score_reconstruction
from videogpa.scoring.point_cloud import cloud_of
from videogpa.scoring.reliability import DOUBTS, blur_of, frame_numbers, look_of, reliability_of, repetition_of, standard_errors
from videogpa.scoring.reprojection import calibrate, frame_errors
from videogpa.world.failures import render_failing

SCENE = Scene(seed=3, camera="orbit-left", frames=6, height=32, width=32)
NOTHING = {"partial": 0, "width": 256, "loo_coverage": 0.95, "loo_error": 0.1, "blur": 0.2, "frames": 10}


@pytest.fixture(scope="module")
def alex() -> Lpips:
    return Lpips("alex").eval()


def seen() -> Reconstruction:
    clip = CriticInput(render_failing(SCENE, None), scene=SCENE, frame_indices=tuple(range(SCENE.frames)))
    return OracleCritic().reconstruct(clip)


def test_the_standard_errors_are_those_of_the_frames_errors(alex: Lpips) -> None:
    exact = seen()
    cloud = cloud_of(exact)
    errors, _ = frame_errors(exact, cloud, calibrate(exact, cloud), alex)
    scores = score_reconstruction(exact, alex)
    found, steps = errors["mse"] + errors["lpips"], SCENE.frames - 1
    by_hand = (found.diff().square().sum() / (2 * steps) / SCENE.frames).sqrt()
    assert scores.error_3dcs_se == pytest.approx(by_hand.item(), rel=1e-5)
    assert scores.loo_error_se == standard_errors(errors)["loo_error_se"]
    assert 0 < scores.loo_error_se < scores.loo_error


def test_a_clip_with_one_frame_of_another_scene_is_less_sure_than_a_consistent_one(alex: Lpips) -> None:
    exact = seen()
    images = exact.images.clone()
    images[3] = images[3].flip(0, 2)
    damaged = score_reconstruction(replace(exact, images=images), alex)
    assert damaged.loo_error_se is not None
    assert damaged.loo_error_se > 5 * (score_reconstruction(exact, alex).loo_error_se or 0)


def test_two_frames_have_no_standard_error(alex: Lpips) -> None:
    exact = seen()
    names = ("images", "depth", "confidence", "intrinsics", "camera_from_world")
    columns = score_reconstruction(replace(exact, **{name: getattr(exact, name)[:2] for name in names}), alex).columns()
    assert not {"loo_error_se", "error_3dcs_se"} & columns.keys()
    assert "few frames were judged" in str(columns["doubts"])


def test_the_frames_without_a_covered_pixel_do_not_count() -> None:
    errors = {name: torch.tensor([0.1, 0.2, 0.4, 0.3]) for name in ("mse", "lpips", "loo_mse", "loo_lpips")}
    errors["loo_coverage"] = torch.tensor([1.0, 1.0, 1.0, 0.0])
    errors["loo_mse"][3] = errors["loo_lpips"][3] = torch.nan
    expected = ((0.2**2 + 0.4**2) / 4 / 3) ** 0.5  # successive differences of twice .1, .2, .4
    assert standard_errors(errors)["loo_error_se"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ({"partial": 1}, "only a part of the clip was scored"),
        ({"focal_assumed": 1.0}, "the focal length was assumed"),
        ({"points": 250}, "few points were found"),
        ({"explained": -0.1}, "the geometry explains no more than a still picture"),
        ({"parallax": 5.0}, "there is little parallax"),
        ({"loo_coverage": 0.6}, "other frames see little of a frame"),
        ({"explained": 0.1}, "the geometry explains little"),
        ({"blur": 0.7}, "the frames are blurred"),
        ({"repetition": 0.9}, "the texture repeats itself"),
        ({"bare": 0.6}, "much of the frame has no texture"),
        ({"contrast": 0.08}, "the frames have little contrast"),
        ({"still_share": 0.45}, "most of the frame moves or is broken"),
        ({"frames": 3}, "few frames were judged"),
    ],
)
def test_every_doubt_has_its_number(numbers: dict[str, float], sentence: str) -> None:
    grade, doubts = reliability_of({**NOTHING, **numbers})
    assert doubts == (sentence,)
    assert grade == ("low" if [doubt.grave for doubt in DOUBTS if doubt.sentence == sentence] == [True] else "medium")


def test_where_pixels_are_named_the_background_tells_what_the_geometry_explains(alex: Lpips) -> None:
    scores = score_reconstruction(seen(), alex)
    melted = replace(scores, evidence={**scores.evidence, "explained": 0.1})  # as where much moves

    def doubts(error: float | None, still_share: float) -> set[str]:
        return set(melted.of_background(error, still_share).doubts) - set(scores.doubts)

    assert doubts(0.1 * scores.single_image, 0.9) == set()
    assert doubts(0.9 * scores.single_image, 0.9) == {"the geometry explains little"}
    assert doubts(None, 0.9) == {"the geometry explains little"}
    assert doubts(0.1 * scores.single_image, 0.45) == {"most of the frame moves or is broken"}
    assert melted.of_background(0.1 * scores.single_image, 0.9).columns() == scores.columns()


def test_without_a_doubt_the_reliability_is_high_and_with_three_it_is_low() -> None:
    assert reliability_of(NOTHING) == ("high", ())
    assert reliability_of({**NOTHING, "points": 250, "blur": 0.7, "loo_coverage": 0.6})[0] == "low"


def texture(side: int) -> Tensor:
    return torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))


def test_blur_grows_as_a_frame_is_blurred() -> None:
    frame = texture(64)[None]
    blurs = [blur_of(frame if size == 1 else avg_pool2d(frame, size, 1, size // 2)) for size in (1, 3, 5, 9)]
    assert blurs == sorted(blurs)
    assert blurs[0] < 0.2
    assert blur_of(torch.full((2, 3, 16, 16), 0.5)) == 1


def test_repetition_is_1_for_tiles_and_0_for_what_is_there_once() -> None:
    assert repetition_of(texture(128)) == 0
    assert repetition_of(texture(32).tile(1, 4, 4)) == 1
    assert repetition_of(torch.cat([texture(128), torch.ones(3, 128, 128)], 2)) == 0  # a plain place resembles nothing
    assert repetition_of(torch.full((3, 128, 128), 0.5)) == 0
    stripes = (torch.arange(128) % 8 < 4).float().expand(3, 128, 128)
    assert repetition_of(stripes) == 0  # edges alone: a patch slides along them whatever the scene
    assert "repetition" not in frame_numbers(texture(64)[None])


def test_walls_of_one_colour_are_bare_and_fog_takes_the_contrast_away() -> None:
    frame = texture(128)
    half = torch.cat([frame, torch.full_like(frame, 0.5)], 2)[None]
    assert look_of(frame[None])["bare"] == 0
    assert look_of(half)["bare"] == pytest.approx(0.5, abs=0.02)
    enlarged = avg_pool2d(half, 3, 1, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert look_of(enlarged)["bare"] == pytest.approx(0.5, abs=0.1)  # whatever the size of the frame
    assert look_of(0.7 + 0.2 * frame[None])["contrast"] == pytest.approx(0.2 * look_of(frame[None])["contrast"], rel=1e-4)
    assert look_of(texture(64)[None]) == {}
