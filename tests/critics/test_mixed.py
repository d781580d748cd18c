"""Two oracles, one of which knows no world but its own: what they say together must be what one of them says."""

import pytest
import torch

from videogpa.critics.base import CriticInput
from videogpa.critics.mixed import MixedCritic
from videogpa.critics.oracle import OracleCritic
from videogpa.errors import UserError
from videogpa.records import Reconstruction, Scene
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.reprojection import leave_one_out_scores
from videogpa.world.prompts import view

SCENE = Scene(seed=1, camera="orbit-left", frames=5, height=48, width=48)
CLIP = CriticInput(view(SCENE).images, scene=SCENE, frame_indices=tuple(range(5)))


def score(reconstruction: Reconstruction) -> float:
    return leave_one_out_scores(reconstruction, Lpips("alex"))["loo_error"]


def mixed(**options: object) -> Reconstruction:
    return MixedCritic(**options).reconstruct(CLIP)  # type: ignore[arg-type]


def test_the_depth_is_brought_into_the_unit_of_the_cameras() -> None:
    exact = score(OracleCritic().reconstruct(CLIP))
    assert score(mixed(cameras_options={"random_similarity": True})) == pytest.approx(exact, rel=1e-3)
    assert score(mixed(depth_options={"random_similarity": True})) == pytest.approx(exact, rel=1e-3)


def test_errors_are_those_of_the_half_that_makes_them() -> None:
    exact = score(mixed())
    wrong_depth, wrong_cameras = {"depth_noise": 0.2}, {"camera_noise": 0.1}
    assert score(mixed(depth_options=wrong_depth)) > 1.5 * exact
    assert score(mixed(depth_options=wrong_cameras)) == pytest.approx(exact)
    assert score(mixed(cameras_options=wrong_cameras)) > 1.5 * exact
    assert torch.equal(mixed(cameras_options=wrong_depth).camera_from_world, mixed().camera_from_world)


def test_pixels_of_equal_confidence_are_dropped_together_or_not_at_all() -> None:
    assert mixed(drop_fraction=0.5).measures["points"] == 5 * 48 * 48  # the oracle is as sure of every pixel


def test_it_mixes_other_critics_only() -> None:
    with pytest.raises(UserError, match="not from 'mixed'"):
        MixedCritic(depth="mixed")
    with pytest.raises(ValueError, match="depth_nose"):
        MixedCritic(depth_options={"depth_nose": 1})
    assert MixedCritic(depth_options={"depth_noise": 0.1}).details == {
        **{"depth": "oracle", "cameras": "oracle", "depth depth_noise": "0.1", "drop_fraction": "0"}
    }
