"""A user's own masks of what moves: how they are read, and that they take the place of what is found."""

from pathlib import Path

import pytest
import torch
from tests.scoring.test_regions import FRAMES, HEIGHT, JUDGED, MOVER, WIDTH, scene
from torch import Tensor

from videogpa.records import Prompt, Score
from videogpa.scoring.masks import Masks, read_masks
from videogpa.scoring.regions import MOVING
from videogpa.scoring.scorer import ScoredClip, Scorer
from videogpa.video import UnreadableVideo, write_image, write_video
from videogpa.world.animation import shot
from videogpa.world.failures import render_failing
from videogpa.world.paths import intrinsics
from videogpa.world.raycast import render_shots


def squares(count: int) -> Tensor:
    """Masks in which a square moves to the right by four pixels a frame."""
    masks = torch.zeros(count, 3, 48, 64)
    for number, mask in enumerate(masks):
        mask[:, 16:32, 4 * number : 4 * number + 16] = 1
    return masks


@pytest.fixture
def forms(tmp_path: Path) -> dict[str, Masks]:
    masks = squares(5)
    write_video(tmp_path / "video.mkv", masks, 8)
    (tmp_path / "folder").mkdir()
    for number, mask in enumerate(masks):
        write_image(tmp_path / "folder" / f"{number:05d}.png", mask * torch.tensor([0.5, 0, 0])[:, None, None])  # as DAVIS
    return {"video": tmp_path / "video.mkv", "folder": str(tmp_path / "folder"), "tensor": masks, "grey": masks[:, :1].numpy()}


@pytest.mark.parametrize("form", ["video", "folder", "tensor", "grey"])
def test_masks_of_every_frame_are_read_for_the_wanted_ones(forms: dict[str, Masks], form: str) -> None:
    found = read_masks(forms[form], 5, [0, 3])

    expected = squares(5)[[0, 3], 0] > 0.5
    assert (found == expected).float().mean() > 0.99  # a codec blurs an outline


def test_one_picture_holds_for_all_frames(tmp_path: Path) -> None:
    write_image(tmp_path / "mask.png", squares(1)[0])

    found = read_masks(tmp_path / "mask.png", 20, [0, 7, 19])
    assert torch.equal(found, read_masks(squares(1), 20, [0, 7, 19]))
    assert found.shape == (3, 48, 64)
    assert int(found[2].sum()) == 16 * 16


def test_masks_that_do_not_fit_say_why(tmp_path: Path) -> None:
    write_video(tmp_path / "short.mp4", squares(4), 8)
    write_image(tmp_path / "labels.png", squares(1)[0] * 2 / 255)  # numbers of objects, not colours
    (tmp_path / "text.mp4").write_text("no masks")

    with pytest.raises(UnreadableVideo, match="there are 4 masks, and the clip has 5 frames"):
        read_masks(tmp_path / "short.mp4", 5, [0])
    with pytest.raises(UnreadableVideo, match="their brightest pixel is 2 of 255: expected black, and white"):
        read_masks(tmp_path / "labels.png", 5, [0])
    with pytest.raises(UnreadableVideo, match=r"text\.mp4: these masks cannot be read"):
        read_masks(tmp_path / "text.mp4", 5, [0])
    with pytest.raises(ValueError, match="there are 3 masks, and the clip has 5 frames"):
        read_masks(squares(3), 5, [0])
    assert not read_masks(torch.zeros(1, 3, 8, 8), 5, [0]).any()  # black: nothing moves


@pytest.fixture(scope="module")
def truth() -> Tensor:
    surfaces = render_shots([shot(scene(1))], intrinsics(HEIGHT, WIDTH), height=HEIGHT, width=WIDTH).surface
    return (surfaces == MOVER)[:, None].float()


def scored(masks: Masks | None) -> ScoredClip:
    prompt = Prompt(prompt="scene", text="", scene=scene(1), reading="dynamic")  # the prompt's reading, not the scorer's
    with Scorer("oracle", frames=JUDGED) as scorer:
        return scorer.score_clip(render_failing(scene(1), None), clip="clip", prompt=prompt, masks=masks)


def test_what_the_masks_say_is_what_moves(truth: Tensor) -> None:
    own, found = scored(truth), scored(None)
    assert own.regions is not None
    judged = truth[:: (FRAMES - 1) // (JUDGED - 1), 0] > 0.5
    named = own.regions.names == MOVING

    assert float((named & judged).sum() / (named | judged).sum()) > 0.85  # besides what is left at its outline
    assert own.score.background_error < 1.1 * found.score.background_error  # type: ignore[operator]
    assert scored(torch.zeros(1, 1, HEIGHT, WIDTH)).score.moving_share == 0  # black: what moves is broken
    everything = scored(torch.ones(1, 1, HEIGHT, WIDTH)).score
    assert everything.status == "failed"
    assert "fewer than 40 %" in str(everything.reason)


def test_masks_without_the_reading_that_they_are_for_are_refused(truth: Tensor) -> None:
    with Scorer("oracle", scene="static") as scorer, pytest.raises(ValueError, match="scene='dynamic'"):
        scorer.score(torch.rand(12, 3, 32, 32), masks=truth)


def test_masks_that_would_not_be_looked_at_are_not_dropped_unsaid(tmp_path: Path) -> None:
    with Scorer("oracle", scene="dynamic", frames="all", window=4, overlap=2) as scorer:
        rows: list[Score] = [scorer.score(squares(12), masks=squares(12))]
    write_video(tmp_path / "masks.mp4", squares(5), 8)
    with Scorer("oracle", scene="dynamic", frames=5) as scorer:
        rows.append(scorer.score(squares(6), masks=tmp_path / "masks.mp4"))

    assert [row.status for row in rows] == ["failed", "unreadable"]
    assert "up to 4 judged frames" in str(rows[0].reason)
    assert "there are 5 masks, and the clip has 6 frames" in str(rows[1].reason)
