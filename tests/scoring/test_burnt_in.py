"""What is burnt into a clip: found where the scene moves behind it, never claimed elsewhere, and left out of every error."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from videogpa.critics.base import CriticInput
from videogpa.critics.oracle import OracleCritic
from videogpa.records import Scene
from videogpa.scoring import Lpips, score_reconstruction
from videogpa.scoring.bars import Bars, find_bars
from videogpa.scoring.burnt_in import find_burnt_in
from videogpa.scoring.overlays import find_overlays
from videogpa.world.failures import render_failing

HEIGHT, WIDTH, FRAMES = 180, 320, 16
Pictures = np.ndarray
LARGE = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (HEIGHT + 60, 2 * WIDTH, 3), np.uint8), (0, 0), 1.5)
LARGE = cv2.normalize(LARGE, np.empty_like(LARGE), 20, 235, cv2.NORM_MINMAX)


def moving(step: float = 4.0) -> Pictures:
    """Return frames of a textured wall that slides by, so many pixels a frame."""
    shifts = [np.float32([[1, 0, -step * frame], [0, 1, -10 - step * frame / 4]]) for frame in range(FRAMES)]
    return np.stack([cv2.warpAffine(LARGE, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR) for shift in shifts])


def tensor(frames: Pictures) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


def written(frames: Pictures, text: str, place: tuple[int, int], frames_from: int = 0, frames_to: int = FRAMES) -> Pictures:
    frames = frames.copy()
    for frame in frames[frames_from:frames_to]:
        cv2.putText(frame, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 6, cv2.LINE_AA)
        cv2.putText(frame, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2, cv2.LINE_AA)
    return frames


def claimed(frames: Pictures) -> np.ndarray:
    found = find_overlays(tensor(frames))
    if found is None:
        return np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    return np.stack([cv2.resize(mask.astype(np.uint8), (WIDTH, HEIGHT), interpolation=0) > 0 for mask in found.numpy()])


def test_a_logo_is_found_where_it_is_and_nowhere_else() -> None:
    clean = moving()
    with_logo = written(clean, "TV 5", (230, 40))
    truth, found = (with_logo != clean).any(-1), claimed(with_logo)
    assert found[truth].mean() > 0.95
    assert found.mean() < 5 * truth.mean()


def test_subtitles_are_left_out_of_the_frames_that_show_them() -> None:
    clean = moving()
    both = written(written(clean, "Where to?", (30, 160), 0, 8), "HOME!", (180, 160), 8, FRAMES)
    truth, found = (both != clean).any(-1), claimed(both)
    assert found[truth].mean() > 0.9
    assert not found[8:, :, :150].any()
    assert not found[:8, :, 200:].any()


def test_half_transparent_marks_are_found() -> None:
    clean = moving()
    marked = (0.6 * clean + 0.4 * written(clean, "SAMPLE", (100, 100))).astype(np.uint8)
    truth = (np.abs(marked.astype(int) - clean) > 20).any(-1)
    assert claimed(marked)[truth].mean() > 0.9


@pytest.mark.parametrize("step", [0.0, 0.02, 4.0])
def test_nothing_is_claimed_of_clean_clips_nor_under_a_camera_that_stands_still(step: float) -> None:
    assert find_overlays(tensor(moving(step))) is None
    if step < 1:
        assert find_overlays(tensor(written(moving(step), "TV 5", (230, 40)))) is None


def test_a_straight_line_that_slides_along_itself_is_no_overlay() -> None:
    frames = moving()
    frames[:, 90:94] = 255
    assert find_overlays(tensor(frames)) is None


@pytest.mark.parametrize(
    ("bars", "color"),
    [
        (Bars(top=20, bottom=20), 0),
        (Bars(left=41, right=39), 0),
        (Bars(top=12), 0),
        (Bars(top=20, bottom=19, left=30, right=30), 255),
        (Bars(), 0),
    ],
)
def test_bars_are_found_to_the_pixel(bars: Bars, color: int) -> None:
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), color, np.uint8)
    inner = slice(None), slice(bars.top, HEIGHT - bars.bottom), slice(bars.left, WIDTH - bars.right)
    frames[inner] = moving()[inner]
    assert find_bars(tensor(frames)) == bars
    assert bars.cut(tensor(frames)).equal(tensor(frames[inner]))


def test_a_subtitle_inside_a_bar_is_cut_off_with_it() -> None:
    frames = moving()
    frames[:, -40:] = 0
    for frame in frames:
        cv2.putText(frame, "down here", (100, 168), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    assert find_bars(tensor(frames)) == Bars(bottom=40)


def test_a_white_sky_and_a_dark_corner_are_no_bars() -> None:
    frames = moving()
    frames[:, :30] = 255  # straight, but white and on one side
    for column in range(WIDTH):
        frames[:, HEIGHT - 10 - column // 8 :, column] = 0  # black, but slanting
    assert find_bars(tensor(frames)) == Bars()


def test_the_critic_is_given_the_clip_as_it_was_before_the_bars() -> None:
    frames = moving()
    frames[:, :20] = frames[:, -20:] = 0
    video = tensor(frames)
    found = find_burnt_in(video, FRAMES)
    given = found.uncovered(CriticInput(video, frame_indices=tuple(range(FRAMES))))
    assert given.frames.equal(tensor(moving())[:, :, 20:-20])
    assert given.overlay is None
    assert found.columns == {"bars_share": pytest.approx(40 / HEIGHT)}


SCENE = Scene(seed=3, camera="orbit-left", frames=6, height=48, width=48)


def test_what_is_painted_into_pixels_that_are_left_out_has_no_effect() -> None:
    clip = CriticInput(render_failing(SCENE, None), scene=SCENE, frame_indices=tuple(range(SCENE.frames)))
    exact, alex = OracleCritic().reconstruct(clip), Lpips("alex").eval()
    logo = torch.zeros(SCENE.frames, 48, 48, dtype=torch.bool)
    logo[:, 30:42, 8:24] = True
    clean = score_reconstruction(exact, alex)
    scores = []
    for color in (1.0, 0.3):
        images = torch.where(logo[:, None], color, exact.images)
        burnt = replace(exact, images=images)
        hidden = {"depth": exact.depth, "confidence": exact.confidence}
        hidden = {name: torch.where(logo, 0, part) for name, part in hidden.items()}
        scores.append(score_reconstruction(replace(burnt, **hidden, left_out=logo), alex))
        assert score_reconstruction(burnt, alex).loo_mse > 1.3 * clean.loo_mse
    white, grey = scores
    assert (white.loo_mse, white.mse, white.mvcs) == pytest.approx((grey.loo_mse, grey.mse, grey.mvcs), rel=1e-5)
    assert white.loo_mse == pytest.approx(clean.loo_mse, rel=0.25)
    assert white.overlay_share == pytest.approx(12 * 16 / 48**2)
    assert "something is burnt into the picture" in white.doubts
    assert "overlay_share" not in clean.columns()
