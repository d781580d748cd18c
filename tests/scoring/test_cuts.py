"""Cuts are found where a shot ends, and nowhere else; a clip with one is declined, or each of its shots is scored."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from videogpa.config import paper_protocol, score_config
from videogpa.scoring.cuts import find_cuts, shots_of
from videogpa.scoring.frames import Shot
from videogpa.scoring.scorer import Scorer
from videogpa.stages.score import score_files
from videogpa.video import read_frames_at, write_video

TINY = {"weights": "tiny:vggt"}


def shot(seed: int, count: int, step: int = 3) -> Tensor:
    """A patterned picture that slides to the right by `step` pixels a frame, 128 pixels wide."""
    coarse = torch.rand(1, 3, 12, 36, generator=torch.Generator().manual_seed(seed))
    wide = torch.nn.functional.interpolate(coarse, (96, 288), mode="bicubic").clamp(0, 1)[0]
    return torch.stack([wide[:, :, 150 - step * frame :][:, :, :128] for frame in range(count)]) * (1 - 0.3 * (seed % 2))


@pytest.fixture(scope="module")
def joined() -> Tensor:
    """Two shots, the second of which begins with frame 9, and a third of five frames."""
    return torch.cat([shot(0, 9), shot(1, 8), shot(2, 5)])


def test_a_new_shot_begins_where_nothing_can_be_followed(joined: Tensor, tmp_path: Path) -> None:
    assert find_cuts(joined, len(joined)) == (9, 17)
    write_video(tmp_path / "clip.mp4", joined, 8)
    assert find_cuts(tmp_path / "clip.mp4", len(joined)) == (9, 17)
    assert find_cuts(Shot(tmp_path / "clip.mp4", range(5, 17)), 12) == (4,)
    assert shots_of((9, 17), 22) == [range(9), range(9, 17), range(17, 22)]


def test_motion_flashes_noise_and_frames_of_different_scenes_are_no_cuts() -> None:
    flash, broken, jump = shot(0, 16), shot(0, 16), shot(0, 16, step=1)
    flash[8] = 0.3 * flash[8] + 0.7
    broken[8] = shot(1, 1)[0]
    noise = torch.rand(16, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    scenes = torch.cat([shot(seed, 1) for seed in range(16)])
    faded = torch.stack([torch.lerp(a, b, step / 15) for step, (a, b) in enumerate(zip(shot(0, 16), shot(1, 16), strict=True))])
    brighter = torch.cat([0.6 * jump[:8], jump[8:]])
    for clip in (shot(0, 12, step=9), flash, broken, noise, scenes, faded, brighter, shot(0, 7)):
        assert find_cuts(clip, len(clip)) == ()


def test_a_clip_with_a_cut_is_declined_and_the_paper_does_not_look(joined: Tensor) -> None:
    row = Scorer("vggt", options=TINY, frames=4).score(joined)
    assert row.status == "failed"
    assert row.reason is not None
    assert row.reason.startswith("a cut at frames 9 and 17 (of 0 to 21)")
    assert "--shots" in row.reason
    assert Scorer("vggt", options=TINY, frames=4, cuts="keep").score(joined).status == "ok"
    assert paper_protocol("vggt")["cuts"] == "keep"


def test_each_shot_is_scored_like_a_clip_of_its_own(joined: Tensor, tmp_path: Path) -> None:
    """That of five frames has too few, and says so; a clip without a cut keeps its name."""
    cut, whole, out = tmp_path / "cut.mp4", tmp_path / "whole.mp4", tmp_path / "scores"
    write_video(cut, joined, 8)
    write_video(whole, shot(3, 8), 8)
    config = score_config(critic="vggt", options=TINY, frames=6)
    rows = {row.clip: row for row in score_files([str(cut), str(whole)], config, out, shots=True)}

    names = [f"{cut}#0-8", f"{cut}#9-16", f"{cut}#17-21"]
    assert sorted(rows) == sorted([*names, str(whole)])
    assert [rows[name].status for name in (*names, str(whole))] == ["ok", "ok", "failed", "ok"]
    assert rows[names[2]].reason == "the shot has 5 frames, fewer than the 6 to be judged"
    alone = Scorer("vggt", options=TINY, frames=6).score(read_frames_at(cut, range(9, 17)))
    assert rows[names[1]].loo_error == alone.loo_error
    again = score_files([str(cut), str(whole)], config, out, shots=True)  # nothing is left to do
    assert {row.clip: row.seconds for row in again} == {name: row.seconds for name, row in rows.items()}
