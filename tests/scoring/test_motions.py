"""Motion of the camera and of subjects apart, on pictures that slide by known steps."""

import numpy as np
import pytest
import torch
from tests.scoring.test_regions import sliding

from videogpa.scoring.dense_flow import DenseFlow, grey_frames
from videogpa.scoring.motions import camera_and_subject_flow

WIDTH, SIZE, FRAMES = 256, 60, 5


def clip(camera: int, subject: int) -> tuple[DenseFlow, np.ndarray]:
    """A picture that slides by `camera` pixels a frame, in it a patch that falls by `subject`; and where the patch is."""
    frames = sliding(camera, FRAMES)
    patch = torch.nn.functional.avg_pool2d(torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)), 5, 1, 2)[0]
    moving = np.zeros((FRAMES, *frames.shape[2:]), bool)
    for number, frame in enumerate(frames):
        top = 30 + subject * number
        frame[:, top : top + SIZE, 90 : 90 + SIZE] = patch
        moving[number, top : top + SIZE, 90 : 90 + SIZE] = True
    return DenseFlow(grey_frames(frames)), moving


@pytest.mark.parametrize(("camera", "subject"), [(3, 4), (2, 0), (0, 3)])
def test_each_has_its_own_motion(camera: int, subject: int) -> None:
    flow, moving = clip(camera, subject)

    found = camera_and_subject_flow(flow, range(FRAMES), ~moving, moving)
    assert found is not None
    share = moving[0].mean()
    own = np.hypot(camera, subject)  # the patch stands in the picture's columns, and so moves against what slides
    assert found[0] == pytest.approx(camera / WIDTH, rel=0.1, abs=0.1 / WIDTH)
    assert found[1] == pytest.approx(share * own / WIDTH, rel=0.1, abs=0.01 / WIDTH)


def test_motion_of_a_subject_falls_if_it_shrinks_or_stops() -> None:
    flow, moving = clip(3, 4)
    half = moving.copy()
    half[:, :, 120:] = False

    whole = camera_and_subject_flow(flow, range(FRAMES), ~moving, moving)
    smaller = camera_and_subject_flow(flow, range(FRAMES), ~moving, half)
    none = camera_and_subject_flow(flow, range(FRAMES), ~moving, np.zeros_like(moving))
    assert whole is not None
    assert smaller is not None
    assert none is not None
    assert smaller[1] == pytest.approx(whole[1] / 2, rel=0.1)
    assert none[1] == 0


def test_without_anything_that_stands_still_neither_is_known() -> None:
    flow, moving = clip(3, 4)

    assert camera_and_subject_flow(flow, range(FRAMES), np.zeros_like(moving), moving) is None
