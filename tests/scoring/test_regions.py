"""Names of pixels, on scenes of the miniature world whose motion and failures are known; their geometry is the oracle's."""

from typing import Literal

import numpy as np
import pytest
import torch

from videogpa.critics.base import ReconstructionFailed
from videogpa.records import Prompt, Scene
from videogpa.scoring.dense_flow import DenseFlow, grey_frames
from videogpa.scoring.independent_motion import at_frames, moving_by_itself, off_their_lines
from videogpa.scoring.regions import BROKEN, MOVING, STILL, Regions
from videogpa.scoring.scorer import ScoredClip, Scorer
from videogpa.world.animation import shot
from videogpa.world.failures import Failure, render_failing
from videogpa.world.paths import intrinsics
from videogpa.world.raycast import render_shots

FRAMES, JUDGED, HEIGHT, WIDTH = 13, 7, 96, 144
MOVER = 6  # its surface in the world: walls come first


def scene(moving: int) -> Scene:
    return Scene(seed=3, camera="orbit-left", frames=FRAMES, height=HEIGHT, width=WIDTH, moving=moving)


def scored(reading: Literal["static", "dynamic"] | None, moving: int, failure: Failure | None = None) -> ScoredClip:
    prompt = Prompt(prompt="scene", text="", scene=scene(moving))
    with Scorer("oracle", frames=JUDGED, scene=reading) as scorer:
        return scorer.score_clip(render_failing(scene(moving), failure), clip="clip", prompt=prompt)


@pytest.fixture(scope="module")
def still() -> ScoredClip:
    return scored("dynamic", 0)


@pytest.fixture(scope="module")
def mover() -> ScoredClip:
    return scored("dynamic", 1)


def test_nearly_all_of_a_still_scene_is_still_and_its_background_error_is_the_leave_one_out_error(still: ScoredClip) -> None:
    row = still.score

    assert row.still_share > 0.95  # type: ignore[operator]
    assert row.broken_share < 0.005  # type: ignore[operator]
    assert row.background_error == pytest.approx(row.loo_error, rel=0.15)


def test_the_shares_add_up_to_one_and_are_those_of_the_names(mover: ScoredClip) -> None:
    row, regions = mover.score, mover.regions
    assert regions is not None
    shares = [row.still_share, row.moving_share, row.broken_share, row.unseen_share]

    assert sum(share for share in shares if share is not None) == pytest.approx(1)
    # The names are made at another size than that of the frames, and are enlarged or reduced to it.
    assert row.moving_share == pytest.approx(float((regions.names == MOVING).float().mean()), abs=0.01)


def test_an_object_that_moves_is_found_and_taken_out_of_the_backgrounds_error(still: ScoredClip, mover: ScoredClip) -> None:
    assert mover.regions is not None
    surfaces = render_shots([shot(scene(1))], intrinsics(HEIGHT, WIDTH), height=HEIGHT, width=WIDTH).surface
    truth = surfaces[:: (FRAMES - 1) // (JUDGED - 1)] == MOVER
    named = mover.regions.names == MOVING

    assert float((named & truth).sum() / truth.sum()) > 0.75
    assert float((named & truth).sum() / (named | truth).sum()) > 0.5
    assert mover.score.loo_error > 2 * still.score.loo_error  # type: ignore[operator]
    assert mover.score.background_error < 1.15 * still.score.background_error  # type: ignore[operator]
    assert mover.score.subject_error < 0.05  # type: ignore[operator]


def test_read_as_static_what_moves_is_broken_and_counts(mover: ScoredClip) -> None:
    static = scored("static", 1)
    assert static.regions is not None

    assert static.score.moving_share == 0
    assert not bool((static.regions.names == MOVING).any())
    assert static.score.broken_share > 0.05 > mover.score.broken_share  # type: ignore[operator]
    assert static.score.background_error > 1.5 * mover.score.background_error  # type: ignore[operator]
    assert static.score.subject_error is None
    assert static.score.loo_error == mover.score.loo_error  # the oracle does not need to be kept from what moves


def test_a_region_that_dissolves_is_broken_and_stays_in_the_backgrounds_error(still: ScoredClip) -> None:
    fading = scored("dynamic", 0, Failure(kind="fade", strength=1.0, seed=1))

    assert fading.score.broken_share > 0.05  # type: ignore[operator]
    assert fading.score.background_error > 3 * still.score.background_error  # type: ignore[operator]


def test_without_a_reading_no_pixel_is_named_and_the_other_numbers_are_the_same(still: ScoredClip) -> None:
    plain = scored(None, 0)

    assert plain.regions is None
    assert plain.score.still_share is None
    assert plain.score.background_error is None
    assert plain.score.loo_error == still.score.loo_error


def test_a_clip_with_too_little_that_stands_still_is_declined_with_its_shares() -> None:
    shares = {"still_share": 0.31, "moving_share": 0.6, "broken_share": 0.05, "unseen_share": 0.04}
    regions = Regions(torch.zeros(1, 2, 2, dtype=torch.uint8), shares, background_error=0.1, subject_error=None)

    with pytest.raises(ReconstructionFailed, match=r"only 31 % of the pixels .* fewer than 40 %") as failure:
        regions.require_still()
    assert failure.value.measures == shares


def sliding(step: int, count: int = 7) -> torch.Tensor:
    """A patterned picture that slides to the right by `step` pixels a frame, 256 pixels wide."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 18, 40, generator=generator)
    wide = torch.nn.functional.interpolate(coarse, (144, 320), mode="bicubic").clamp(0, 1)[0]
    return torch.stack([wide[:, :, 60 - step * frame :][:, :, :256] for frame in range(count)])


def test_flow_over_many_frames_is_the_sum_of_the_steps_and_tells_what_has_left_the_frame() -> None:
    flow = DenseFlow(grey_frames(sliding(4)))

    field, followed = flow.between(0, 6), flow.followed(0, 6)
    assert np.median(np.abs(field[20:-20, 20:-60] - [24, 0])) < 0.2
    assert followed[20:-20, 20:-60].mean() > 0.97
    assert not followed[:, -20:].any()


def test_frames_of_which_a_critic_sees_the_middle_are_cropped_before_the_flow() -> None:
    square = grey_frames(sliding(1, count=1), aspect=1.0)[0]

    assert square.shape == (256, 256)
    assert grey_frames(sliding(1, count=1), aspect=256 / 150)[0].shape == (144, 256)  # stretched, not cropped


def test_what_moves_against_a_moving_background_is_found_before_there_are_cameras() -> None:
    frames = torch.cat([sliding(step)[:, :, 36 * band : 36 * (band + 1)] for band, step in enumerate((2, 3, 4, 5))], dim=2)
    patch = torch.rand(3, 36, 36, generator=torch.Generator().manual_seed(1))
    patch = torch.nn.functional.avg_pool2d(patch[None], 5, 1, 2)[0]
    for number, frame in enumerate(frames):
        frame[:, 40 + 5 * number : 76 + 5 * number, 100:136] = patch  # falls, while all else slides, the near faster
    flow, judged = DenseFlow(grey_frames(frames)), [0, 2, 4, 6]

    masks = moving_by_itself(off_their_lines(flow, judged))
    between = at_frames(masks, flow, judged, [2, 3])

    middle = masks[1]
    assert middle[55:81, 105:131].mean() > 0.9
    assert middle[:, :80].mean() < 0.02
    assert np.array_equal(between[0], middle)
    assert between[1][60:86, 105:131].mean() > 0.9  # carried along to the frame between


def test_names_are_numbers_that_files_may_hold() -> None:
    assert (STILL, MOVING, BROKEN) == (0, 1, 2)
