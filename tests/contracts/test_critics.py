"""What holds for every critic in the registry: what it tells before it is built, and how it behaves on clips.

A new critic adds a line to CASES. Clips are those of `videogpa check-critic` (world/controls.py).
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from videogpa.cli import check_critic
from videogpa.config import ScoreConfig
from videogpa.critics.base import Critic, CriticInput, ReconstructionFailed
from videogpa.records import Reconstruction
from videogpa.registry import CRITICS, build, check_options, load
from videogpa.video import sample_indices
from videogpa.world import controls

CAMERA = "truck-right"
CLIP_STYLES = {**controls.CLIP_STYLES, "short": controls.ClipStyle(13, 216, 360, "detailed", 0.4)}
"""Those of `videogpa check-critic`, and one of half the frames of `detailed`: no promise depends on the length."""
IMPOSSIBLE = ("noise", "repeated", "rotation")
"""Controls without geometry: nothing to match, no motion, no parallax."""


def unchanged(frames: Tensor) -> Tensor:
    return frames


def shrunk(frames: Tensor) -> Tensor:
    """Frames of 256 pixels on the long side, as docs describe `sfm`."""
    _, _, height, width = frames.shape
    size = (256, round(256 * height / width))
    pictures = [cv2.resize(frame.permute(1, 2, 0).numpy(), size, interpolation=cv2.INTER_AREA) for frame in frames]
    return torch.stack([torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]).clamp(0, 1)


@dataclass(frozen=True)
class Case:
    """A critic that can run here, with the film that it knows."""

    name: str
    options: Callable[[Path], dict[str, Any]] = lambda folder: {}
    world: str = "plain"
    judged: int = 9
    seen: Callable[[Tensor], Tensor] = unchanged
    """What becomes of the judged frames before the critic sees them."""
    declines: tuple[str, ...] = ()
    """Controls for which it must raise ReconstructionFailed; others it may score badly."""

    def build(self, folder: Path) -> Critic:
        critic: Critic = build(CRITICS, self.name, self.options(folder))
        return critic

    def clip(self, control: str | None = None) -> CriticInput:
        film = CLIP_STYLES[self.world]
        return CriticInput(
            frames_of(self.world, control),
            judged=tuple(sample_indices(film.frames, self.judged)),
            scene=controls.scene_of(film, 0, CAMERA),
            frame_indices=tuple(range(film.frames)),
        )


@cache
def frames_of(world: str, control: str | None) -> Tensor:
    film = CLIP_STYLES[world]
    return controls.CONTROLS[control].make(film, 0) if control else controls.consistent(film, 0, CAMERA)


def toy_da3(folder: Path) -> dict[str, Any]:
    """A small Depth Anything 3 of random weights, whose cameras look the same way from places a step apart."""
    tensors = {f"model.{name}": tensor for name, tensor in load_file(folder / "weights.safetensors").items()}
    tensors["model.cam_dec.fc_t.weight"] *= 0.2
    tensors["model.cam_dec.fc_qvec.weight"] *= 0.05
    tensors["model.cam_dec.fc_qvec.bias"] = torch.tensor([0.0, 0, 0, 1])
    save_file(tensors, folder / "moved.safetensors")
    return {"weights": str(folder / "moved.safetensors"), "side": 70, "device": "cpu"}


def tiny_vggt(folder: Path) -> dict[str, Any]:
    return {"weights": "tiny:vggt", "device": "cpu"}


def two_oracles(folder: Path) -> dict[str, Any]:
    return {"depth_options": {"random_similarity": True}}


CASES = {
    "sfm": Case("sfm", world="short", judged=5, seen=shrunk, declines=IMPOSSIBLE),
    "vggt": Case("vggt", tiny_vggt, declines=("repeated", "rotation")),
    "da3": Case("da3", toy_da3, declines=("repeated",)),
    "oracle": Case("oracle"),
    "mixed": Case("mixed", two_oracles),
}
"""By critic. Every name in the registry has its case; the networks are small ones."""


SLOWLY = [pytest.param(name, marks=pytest.mark.slow) if name == "sfm" else name for name in CASES]


@pytest.fixture(params=SLOWLY)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def folder(golden_da3: Path) -> Path:
    return golden_da3


def test_every_critic_of_the_package_has_a_case() -> None:
    assert {name for name, plugin in CRITICS.items() if plugin.distribution is None} == set(CASES)


@cache
def reconstruction(name: str, folder: Path) -> Reconstruction:
    """The case's consistent clip, reconstructed once for the tests that look at it."""
    return CASES[name].build(folder).reconstruct(CASES[name].clip())


def test_the_same_frames_give_the_same_numbers(case: Case, folder: Path) -> None:
    one, two = reconstruction(case.name, folder), case.build(folder).reconstruct(case.clip())
    for name in ("images", "depth", "confidence", "intrinsics", "camera_from_world"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert (one.status, one.reason, one.measures) == (two.status, two.reason, two.measures)


def test_images_are_the_pixels_judged_and_depth_and_cameras_are_theirs(case: Case, folder: Path) -> None:
    found = reconstruction(case.name, folder)
    assert_close(found.images, case.seen(case.clip().judged_frames), rtol=0, atol=1e-6)
    count, _, height, width = found.images.shape
    assert found.depth.shape == found.confidence.shape == (count, height, width)
    assert found.intrinsics.shape == (count, 3, 3)
    assert found.camera_from_world.shape == (count, 4, 4)
    assert bool((found.depth[found.confidence > 0] > 0).all())
    assert 0 < float(found.intrinsics[0, 0, 2]) < width


def test_only_the_judged_frames_are_reconstructed(case: Case, folder: Path) -> None:
    clip = case.clip()
    last = len(clip.frames) - 1
    chosen = replace(clip, judged=(0, last // 4, last // 2, last))
    found = case.build(folder).reconstruct(chosen)
    assert len(found.images) == len(found.depth) == len(found.camera_from_world) == 4
    assert_close(found.images, case.seen(chosen.judged_frames), rtol=0, atol=1e-6)


@dataclass(frozen=True)
class Answers:
    """What `check-critic` finds on a consistent clip and on the impossible ones, and how the critic declined each."""

    findings: list[check_critic.Finding]
    declined: list[ReconstructionFailed | None]


@cache
def answers(name: str, folder: Path) -> Answers:
    case, critic = CASES[name], load(CRITICS, name)
    reconstruct, declined = critic.reconstruct, []

    def heard(self: Critic, clip: CriticInput) -> Reconstruction:
        declined.append(None)
        try:
            return reconstruct(self, clip)
        except ReconstructionFailed as failure:
            declined[-1] = failure
            raise

    config = ScoreConfig(critic=name, frames=case.judged, options=case.options(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(critic, "reconstruct", heard)
        patch.setattr(controls, "CLIP_STYLES", CLIP_STYLES)
        patch.setattr(controls, "CONSISTENT", (CAMERA,))
        patch.setattr(controls, "CONTROLS", {control: controls.CONTROLS[control] for control in IMPOSSIBLE})
        return Answers(check_critic.check_critic(config, 1, case.world), declined)


@pytest.mark.parametrize("control", IMPOSSIBLE)
def test_a_failure_has_a_status_and_a_reason(case: Case, folder: Path, control: str) -> None:
    found = answers(case.name, folder)
    [(finding, declined)] = [pair for pair in zip(found.findings, found.declined, strict=True) if pair[0].control == control]
    assert declined is not None or control not in case.declines
    if declined is not None:
        assert declined.status in ("failed", "no_parallax")
        assert len(declined.reason.split()) > 3
        assert (finding.score.status, finding.score.reason) == (declined.status, declined.reason)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOWLY)
def test_what_has_no_geometry_never_scores_like_a_consistent_clip(name: str, folder: Path) -> None:
    findings = answers(name, folder).findings
    assert [finding.control for finding in findings] == [None, *IMPOSSIBLE]
    assert [(f.control, f.score.status, f.score.loo_error, f.score.reason) for f in findings if not f.right] == []


@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_tells_what_a_user_must_know(name: str) -> None:
    cards = load(CRITICS, name).CARDS
    assert cards
    for card in cards:
        assert all((card.weights, card.licence, card.memory, card.paper))
        assert (card.parameters is None) == (card.download is None) == (card.weights == "none")


def test_the_default_may_be_used_commercially() -> None:
    assert load(CRITICS, ScoreConfig().critic).CARDS[0].commercial
    assert all(load(CRITICS, name).CARDS[0].commercial for name in CRITICS)


@pytest.mark.parametrize("name", CRITICS)
def test_options_have_defaults_and_others_are_refused(name: str) -> None:
    critic = load(CRITICS, name)
    options = check_options(CRITICS, name, {})
    assert set(options) == set(inspect.signature(critic).parameters)
    with pytest.raises(ValueError, match=f"options of {name} .*: wieghts: Extra inputs"):
        check_options(CRITICS, name, {"wieghts": "x"})
    check_options(CRITICS, name, getattr(critic, "PAPER", {}))
