"""All numbers of a reconstruction in one call, of a critic or of one's own; and the scorer that calls it for clips."""

import gc
import inspect
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from videogpa.config import ScoreConfig
from videogpa.critics.base import CriticInput
from videogpa.critics.oracle import OracleCritic
from videogpa.maths.cameras import camera_jerk
from videogpa.records import Prompt, Reconstruction, Scene
from videogpa.scoring import Lpips, Scorer, leave_one_out_scores, paper_scores, render_leave_one_out, score_reconstruction
from videogpa.scoring import scores as scores_module
from videogpa.world.failures import Failure, render_failing

SIZE, FRAMES = 32, 6
SCENE = Scene(seed=3, camera="orbit-left", frames=FRAMES, height=SIZE, width=SIZE)


@pytest.fixture(scope="module")
def alex() -> Lpips:
    return Lpips("alex").eval()


@pytest.fixture(scope="module")
def exact() -> Reconstruction:
    clip = CriticInput(render_failing(SCENE, None), scene=SCENE, frame_indices=tuple(range(FRAMES)))
    return OracleCritic().reconstruct(clip)


def arrays_of(reconstruction: Reconstruction) -> dict[str, np.ndarray | Tensor]:
    names = ("images", "depth", "intrinsics", "camera_from_world", "confidence")
    return {name: getattr(reconstruction, name).numpy().astype(np.float64) for name in names}


def test_the_scores_are_those_of_both_kinds_and_their_companions(exact: Reconstruction, alex: Lpips) -> None:
    scores = score_reconstruction(exact, alex)
    columns = scores.columns()
    for name, value in {**paper_scores(exact, alex), **leave_one_out_scores(exact, alex)}.items():
        assert columns[name] == value, name
    assert scores.explained == 1 - scores.loo_error / scores.single_image
    assert scores.jerk == float(camera_jerk(exact.camera_from_world))
    assert torch.equal(scores.render.images, render_leave_one_out(exact).images)
    assert (columns["status"], columns["frames"], columns["registered"]) == ("ok", FRAMES, FRAMES)


def test_the_still_image_that_explains_best_is_chosen_and_not_compared_with_itself(alex: Lpips) -> None:
    """Grey frames of 0, 0.5 and 0.6: 0.5 is the best for all, 0.26 / 3 = (0.25 + 0.01) / 2 off the two others."""
    frames = torch.tensor([0.0, 0.5, 0.6])[:, None, None, None].expand(3, 3, SIZE, SIZE).contiguous()
    distances = [float(alex(frames[1:2], frames[i : i + 1])) for i in (0, 2)]
    expected = (0.25 + 0.01) / 2 + sum(distances) / 2
    assert scores_module.still_image_error(frames, alex) == pytest.approx(expected, rel=1e-4)
    assert scores_module.still_image_error(frames[:1].expand(3, -1, -1, -1), alex) == 0


def test_numbers_that_a_clip_has_not_are_left_out(exact: Reconstruction, alex: Lpips) -> None:
    short = Reconstruction(
        *(getattr(exact, name)[:3] for name in ("images", "depth", "confidence", "intrinsics", "camera_from_world"))
    )
    columns = score_reconstruction(short, alex).columns()
    assert "jerk" not in columns
    assert "failing" not in columns
    assert score_reconstruction(exact, alex).columns()["failing"] == 0.0


def test_a_critic_cannot_overwrite_what_is_computed_here(exact: Reconstruction, alex: Lpips) -> None:
    boasting = replace(exact, measures={"loo_error": 0.0})
    with pytest.raises(ValueError, match="may not measure loo_error"):
        score_reconstruction(boasting, alex).columns()


def test_the_cloud_is_built_once_for_both_renders(exact: Reconstruction, alex: Lpips, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    for module in (scores_module, inspect.getmodule(render_leave_one_out)):
        cloud_of = module.cloud_of  # type: ignore[union-attr]
        monkeypatch.setattr(module, "cloud_of", lambda found, of=cloud_of: (built.append(1), of(found))[1])
    score_reconstruction(exact, alex)
    assert len(built) == 1


def test_arrays_of_numpy_score_as_the_tensors_do(exact: Reconstruction, alex: Lpips) -> None:
    mine = Reconstruction.from_arrays(**arrays_of(exact))
    assert mine.images.dtype == mine.camera_from_world.dtype == torch.float32
    assert score_reconstruction(mine).columns() == score_reconstruction(replace(exact, measures={}), alex).columns()
    without = {name: array for name, array in arrays_of(exact).items() if name != "confidence"}
    assert torch.equal(Reconstruction.from_arrays(**without).confidence, torch.ones(FRAMES, SIZE, SIZE))


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        (
            "images",
            lambda a: a[:, :2],
            ValueError,
            r"images: expected \[frames, 3, height, width\] or .* and got \[6, 2, 32, 32\]",
        ),
        ("images", lambda a: (255 * a).astype(np.int16), TypeError, r"images: expected bytes .* got int16"),
        ("images", lambda a: 2 * a - 1, ValueError, r"images: expected RGB in \[0, 1\]"),
        ("depth", lambda a: a[:5], ValueError, r"depth: expected shape \[6, 32, 32\], got \[5, 32, 32\]"),
        ("depth", lambda a: np.where(a > 3, np.nan, a), ValueError, "an unknown depth is 0"),
        ("depth", lambda a: -a, ValueError, "depth: expected values of 0 or more"),
        ("intrinsics", lambda a: -a, ValueError, "fx and fy above 0"),
        ("camera_from_world", lambda a: a[:, :3], ValueError, r"expected shape \[6, 4, 4\], got \[6, 3, 4\]"),
        ("camera_from_world", lambda a: a * np.array([-1, 1, 1, 1.0]), ValueError, "determinant -1"),
        ("camera_from_world", lambda a: a.swapaxes(1, 2), ValueError, "last row"),
        ("confidence", lambda a: a - 2, ValueError, "confidence: expected values of 0 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_was_got(exact: Reconstruction, name, change, error, message) -> None:
    arrays = arrays_of(exact)
    with pytest.raises(error, match=message):
        Reconstruction.from_arrays(**{**arrays, name: change(arrays[name])})


def test_the_arguments_of_a_scorer_are_the_settings_of_a_recipe() -> None:
    defaults = {name: given.default for name, given in inspect.signature(Scorer).parameters.items()}
    assert {**defaults, "options": {}} == ScoreConfig().model_dump(include=set(defaults))
    config = ScoreConfig(
        critic="oracle", options={"depth_noise": 0.1}, frames="all", window=8, overlap=3, anchors=7, lpips_net="vgg"
    )
    assert Scorer.from_config(config).config == config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": 1}, "2 or more frames"),
        ({"window": 8, "overlap": 5}, "windows of 8 frames may share half"),
        ({"options": {"wieghts": 1}}, "wieghts"),
        ({"critic": "sfn"}, "sfn"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_loaded(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scorer(**{"critic": "oracle", **wrong})


def test_a_closed_scorer_frees_what_it_loaded_and_says_that_it_is_closed() -> None:
    with Scorer("oracle", frames=FRAMES) as scorer:
        prompt = Prompt(prompt="p", text="", scene=SCENE)
        first, second = (scorer.score_clip(render_failing(SCENE, None), clip="c", prompt=prompt).score for _ in range(2))
        assert first.model_copy(update={"seconds": None}) == second.model_copy(update={"seconds": None})
        held = weakref.ref(scorer.critic), weakref.ref(scorer.lpips)
    gc.collect()
    assert [reference() for reference in held] == [None, None]
    with pytest.raises(RuntimeError, match="closed"):
        scorer.score_clip(torch.rand(FRAMES, 3, SIZE, SIZE), clip="c")


@pytest.mark.slow
def test_a_clip_without_geometry_keeps_its_flow() -> None:
    row = Scorer("sfm", frames=4).score(torch.rand(1, 3, 64, 64).expand(10, -1, -1, -1))
    assert row.status in ("failed", "no_parallax")
    assert (row.flow, row.loo_error) == (0.0, None)


@pytest.mark.slow
def test_a_long_clip_fails_by_the_same_threshold_as_a_short_one() -> None:
    scene = SCENE.model_copy(update={"frames": 16})
    prompt = Prompt(prompt="p", text="", scene=scene)
    for failure, failing in ((None, 0.0), (Failure(kind="jump", strength=1.0), 1.0)):
        clip = render_failing(scene, failure)
        rows = [
            Scorer("oracle", frames="all", window=window, overlap=4).score_clip(clip, clip="c", prompt=prompt).score
            for window in (16, 8)
        ]
        assert [row.failing for row in rows] == [failing, failing]
        assert rows[1].join_error is not None
