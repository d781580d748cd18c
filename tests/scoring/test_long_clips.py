"""Long clips: windows joined into one world, scored in a stream. Scenes of the miniature world, whose geometry is exact."""

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from videogpa.config import ScoreConfig
from videogpa.critics.base import CriticInput, ReconstructionFailed, transform
from videogpa.critics.oracle import OracleCritic
from videogpa.maths.alignment import Similarity, umeyama
from videogpa.maths.cameras import camera_centers, invert
from videogpa.records import Prompt, Reconstruction, Scene, Score
from videogpa.scoring import scorer as judging
from videogpa.scoring.frame_store import FrameStore
from videogpa.scoring.scorer import ScoredClip, Scorer
from videogpa.scoring.window_alignment import Chain, NotJoined, plan_windows
from videogpa.world.failures import Failure, render_failing
from videogpa.world.paths import camera_path

pytestmark = pytest.mark.slow

SIZE = 32


def prompt_for(frames: int, camera: str = "orbit-left") -> Prompt:
    return Prompt(prompt="p", text="", scene=Scene(seed=3, camera=camera, frames=frames, height=SIZE, width=SIZE))


def given_to_oracle(video: Tensor, frames: int, first: int = 0, camera: str = "orbit-left") -> CriticInput:
    """Frames of a clip of `frames`, from `first` on."""
    indices = tuple(range(first, first + len(video)))
    return CriticInput(video, scene=prompt_for(frames, camera).scene, frame_indices=indices)


@cache
def clip_of(frames: int, drift: float = 0.0) -> Tensor:
    """A clip in which an object drifts, evenly from the first frame to the last."""
    scene = prompt_for(frames).scene
    assert scene is not None
    return render_failing(scene, Failure(kind="drift", strength=drift, seed=1))


class WindowedOracle(OracleCritic):
    """The truth as a network would tell it, every window in a world of its own. Counts its calls, and what it is given."""

    def __init__(self, **errors: float) -> None:
        super().__init__(**errors, random_similarity=True)
        self.calls, self.most = 0, 0

    def reconstruct(self, clip: CriticInput) -> Reconstruction:
        self.calls += 1
        self.most = max(self.most, len(clip.frames))
        return super().reconstruct(clip)


def random_similarity() -> Similarity:
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(5)))
    return Similarity(torch.tensor(1.7), rotation * torch.linalg.det(rotation), torch.tensor([0.3, -2.0, 1.0]))


def judged(critic: object, frames: int, video: Tensor, monkeypatch: pytest.MonkeyPatch, **settings: object) -> ScoredClip:
    monkeypatch.setattr(judging, "build", lambda table, name, options: critic)
    config = ScoreConfig.model_validate({"critic": "oracle", "frames": "all", **settings})
    return Scorer.from_config(config).score_clip(video, clip="c", prompt=prompt_for(frames))


@given(st.integers(2, 300), st.integers(4, 40), st.integers(1, 20))
def test_windows_cover_every_frame_and_share_enough_with_the_next(frames: int, size: int, overlap: int) -> None:
    if overlap >= size:
        with pytest.raises(ValueError, match="cannot overlap"):
            plan_windows(frames, size, overlap)
        return
    windows = plan_windows(frames, size, overlap)
    assert {frame for window in windows for frame in window} == set(range(frames))
    assert all(len(window) == min(size, frames) for window in windows)
    assert all(before.stop - after.start >= min(overlap, frames) for before, after in pairwise(windows))
    assert windows[-1].stop == frames


def test_a_moved_reconstruction_is_seen_as_before() -> None:
    exact = OracleCritic().reconstruct(given_to_oracle(clip_of(9), 9))
    similarity = random_similarity()
    there = transform(exact, similarity)
    points = torch.randn(20, 4)
    points[:, 3] = 1
    target = torch.cat([similarity(points[:, :3]), torch.ones(20, 1)], dim=1)
    seen, seen_there = (points @ exact.camera_from_world[4].T)[:, :3], (target @ there.camera_from_world[4].T)[:, :3]
    assert_close(seen_there, similarity.scale * seen, atol=1e-4, rtol=1e-4)
    assert_close(invert(there.camera_from_world) @ there.camera_from_world, torch.eye(4).expand(9, 4, 4), atol=1e-5, rtol=0)


def test_windows_of_noise_and_of_another_scene_are_not_joined() -> None:
    chain = Chain()
    for first in (0, 8):
        chain.add(range(first, first + 16), window_of(40, first))
    assert max(chain.errors) < 1e-3
    with pytest.raises(NotJoined, match=r"frames 16 to 31 show another scene .* of their depth"):
        chain.add(range(16, 32), window_of(40, 16, "dolly-in"))
    blind = replace(window_of(40, 16), confidence=torch.zeros(16, SIZE, SIZE))
    with pytest.raises(NotJoined, match="share 0 points"):
        chain.add(range(16, 32), blind)


def window_of(frames: int, first: int, camera: str = "orbit-left") -> Reconstruction:
    video = torch.rand(16, 3, SIZE, SIZE)  # colours do not matter to the chain
    return WindowedOracle().reconstruct(given_to_oracle(video, frames, first, camera))


def test_the_camera_path_of_500_frames_is_found_within_2_percent_of_its_length() -> None:
    frames, size, overlap = 500, 32, 8
    critic, chain = WindowedOracle(depth_noise=0.02, camera_noise=0.004, outlier_fraction=0.05), Chain()
    centers = torch.zeros(frames, 3)
    for window in plan_windows(frames, size, overlap):
        clip = given_to_oracle(torch.zeros(size, 3, SIZE, SIZE), frames, window.start)
        joined = chain.add(window, critic.reconstruct(clip))
        centers[list(window)] = camera_centers(joined.camera_from_world)
    truth = camera_centers(camera_path("orbit-left", frames))
    length = truth.diff(dim=0).norm(dim=1).sum()
    error = (umeyama(centers, truth)(centers) - truth).norm(dim=1)
    assert float(error.square().mean().sqrt() / length) < 0.02
    assert 0.001 < max(chain.errors) < 0.05


@pytest.mark.parametrize("frames", [24, 48])
def test_windows_score_as_one_pass_does(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    video = clip_of(frames)
    whole = judged(OracleCritic(), frames, video, monkeypatch, window=frames).score
    parts = judged(WindowedOracle(), frames, video, monkeypatch, window=16, overlap=6).score
    assert (whole.status, parts.status, parts.frames, parts.registered) == ("ok", "ok", frames, frames)
    for name in ("error_3dcs", "loo_error", "ssim", "flow"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=0.02), name
    assert parts.loo_coverage == pytest.approx(whole.loo_coverage, abs=0.02)
    assert parts.join_error is not None
    assert whole.join_error is None


def test_a_drift_that_spans_many_windows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, window, drifts = 64, 12, (0.0, 1.0)
    still, drifting = (
        judged(WindowedOracle(), frames, clip_of(frames, drift=drift), monkeypatch, window=window, overlap=4, anchors=12).score
        for drift in drifts
    )
    within_still, within_drifting = (
        judged(OracleCritic(), frames, clip_of(frames, drift=drift)[:window], monkeypatch, window=window, overlap=4).score
        for drift in drifts
    )
    assert ratio(drifting, still) > 1.5
    assert ratio(within_drifting, within_still) < 1.2  # a window by itself tells little


def ratio(score: Score, to: Score) -> float:
    assert score.loo_error is not None
    assert to.loo_error is not None
    return score.loo_error / to.loo_error


def test_no_more_frames_are_held_than_a_window_and_its_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    load = FrameStore.load
    monkeypatch.setattr(FrameStore, "load", lambda self, frames: (loaded.append(len(frames)), load(self, frames))[1])
    critic = WindowedOracle()
    scored = judged(critic, 40, clip_of(40), monkeypatch, window=10, overlap=4, anchors=12)
    assert critic.most == 10
    assert max(loaded) == 12
    assert scored.reconstruction is not None
    assert len(scored.reconstruction.images) == 10


def test_a_clip_cut_in_the_middle_is_judged_in_its_longer_half(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(WindowedOracle):
        def reconstruct(self, clip: CriticInput) -> Reconstruction:
            assert clip.frame_indices is not None
            later = clip.frame_indices[0] >= 30
            return super().reconstruct(replace(clip, scene=prompt_for(60, "dolly-in" if later else "orbit-left").scene))

    score = judged(Cut(), 60, clip_of(60), monkeypatch, window=16, overlap=6).score
    assert score.status == "partial"
    assert score.reason is not None
    assert score.reason.startswith("only frames 0 to 32 of 60 fit together; frames 30 to 45 show another scene")
    assert score.frames == score.registered == 33


def test_a_window_that_fails_ends_a_segment_and_a_critic_that_never_succeeds_has_no_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Blind(WindowedOracle):
        def __init__(self, blind: range) -> None:
            super().__init__()
            self._blind = blind

        def reconstruct(self, clip: CriticInput) -> Reconstruction:
            if self.calls in self._blind:
                self.calls += 1
                raise ReconstructionFailed("too dark")
            return super().reconstruct(clip)

    score = judged(Blind(range(1, 2)), 60, clip_of(60), monkeypatch, window=16, overlap=6).score
    assert (score.status, score.frames) == ("partial", 37)
    assert score.reason == "only frames 23 to 59 of 60 fit together; too dark"
    score = judged(Blind(range(99)), 60, clip_of(60), monkeypatch, window=16, overlap=6).score
    assert (score.status, score.reason, score.loo_error) == ("failed", "too dark", None)
    assert score.flow is not None


def test_a_store_returns_what_was_put_in(tmp_path: Path) -> None:
    exact = OracleCritic().reconstruct(given_to_oracle(clip_of(9), 9))
    exact = replace(exact, points=torch.randn(9, SIZE, SIZE, 3))
    store = FrameStore(tmp_path)
    store.append(exact, range(2, 6))
    back = store.load([0, 3])
    assert len(store) == 4
    for name in ("depth", "confidence", "intrinsics", "camera_from_world", "points"):
        assert_close(getattr(back, name), getattr(exact, name)[[2, 5]], rtol=0, atol=0)
    assert_close(back.images, exact.images[[2, 5]], rtol=0, atol=0.5 / 255 + 1e-6)
