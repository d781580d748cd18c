"""What clips look like, on pictures whose motion, flicker and colours are known."""

from pathlib import Path

import pytest
import torch
from tests.scoring.test_regions import sliding
from torch import Tensor

from videogpa.scoring.appearance import appearance_of, colours_of, dynamics_of
from videogpa.scoring.diversity import diversity_of, vendi_score
from videogpa.scoring.lpips import Lpips
from videogpa.video import read_frames, write_video

HEIGHT = 144  # of the sliding pictures, 256 pixels wide


def test_dynamic_degree_is_the_longest_flow_in_units_of_the_threshold() -> None:
    for step, dynamic in ((2, 0.0), (5, 1.0)):
        found = dynamics_of(sliding(step, 9), 9)
        assert found["dynamic_degree"] == pytest.approx(step / (6 / 256 * HEIGHT), rel=0.1)
        assert found["dynamic"] == dynamic


def test_a_quarter_of_the_pairs_makes_a_clip_dynamic() -> None:
    still, moving = sliding(0, 13), sliding(5, 13)

    def clip(moves: int) -> Tensor:
        return torch.cat([moving[: moves + 1], moving[moves : moves + 1].expand(12 - moves, -1, -1, -1)])

    assert dynamics_of(still, 13)["dynamic"] == 0
    assert dynamics_of(clip(2), 13)["dynamic"] == 0
    assert dynamics_of(clip(3), 13)["dynamic"] == 1


def test_flicker_is_what_motion_does_not_explain() -> None:
    moving = sliding(4, 9)
    flickering = moving.clone()
    flickering[::2] = (flickering[::2] + 0.1).clamp(max=1)

    assert dynamics_of(sliding(0, 9), 9)["flicker"] == 0
    assert dynamics_of(moving, 9)["flicker"] < 0.01 < moving.diff(dim=0).abs().mean()
    assert dynamics_of(flickering, 9)["flicker"] == pytest.approx(0.1, abs=0.02)


def test_motion_is_that_of_an_eighth_of_a_second_whatever_the_rate_of_a_file(tmp_path: Path) -> None:
    slow, fast = sliding(4, 7), sliding(2, 13)
    write_video(tmp_path / "slow.mkv", slow, 8)
    write_video(tmp_path / "fast.mkv", fast, 16)

    found = [dynamics_of(tmp_path / name, count)["dynamic_degree"] for name, count in (("slow.mkv", 7), ("fast.mkv", 13))]
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_a_file_and_its_frames_in_memory_have_the_same_numbers(tmp_path: Path) -> None:
    large = torch.nn.functional.interpolate(sliding(4, 7), scale_factor=1.7, mode="bilinear").clamp(0, 1)
    write_video(tmp_path / "large.mp4", large, 8)

    assert dynamics_of(tmp_path / "large.mp4", 7) == dynamics_of(read_frames(tmp_path / "large.mp4"), 7)


def test_colours_and_how_they_drift() -> None:
    frames = torch.zeros(9, 3, 20, 20)
    frames[:, 0] = torch.linspace(0.5, 0.9, 9)[:, None, None]  # red, ever brighter

    found = colours_of(frames)
    assert found["saturation"] == pytest.approx(0.7)
    assert found["exposure"] == pytest.approx(0.2126 * 0.7, rel=1e-4)
    assert found["saturation_drift"] == pytest.approx(0.3)  # six of the eight steps of .05 between the middles of the thirds
    assert found["sharpness"] == 0
    stripes = torch.tensor([0.0, 1.0]).repeat(10).expand(2, 3, 20, 20)
    assert colours_of(stripes)["sharpness"] == pytest.approx(1)
    assert colours_of(torch.nn.functional.avg_pool2d(stripes, 2, 1))["sharpness"] == pytest.approx(0)


def test_where_other_frames_cannot_be_read_the_colours_of_the_judged_ones_are_known(tmp_path: Path) -> None:
    (tmp_path / "damaged.mp4").write_bytes(b"no video")

    assert set(appearance_of(tmp_path / "damaged.mp4", 9, torch.rand(4, 3, 32, 32))) == {
        *("sharpness", "saturation", "exposure", "saturation_drift", "exposure_drift")
    }


def test_diversity_counts_the_clips_that_differ(tmp_path: Path) -> None:
    for name, step in (("a", 0), ("same", 0), ("b", 4)):
        write_video(tmp_path / f"{name}.mkv", sliding(step, 5), 8)
    write_video(tmp_path / "noise.mkv", torch.rand(5, 3, 144, 256, generator=torch.Generator().manual_seed(0)), 8)
    lpips = Lpips("alex").eval()

    def of(*names: str) -> tuple[float, float]:
        return diversity_of([tmp_path / f"{name}.mkv" for name in names], lpips)

    assert of("a", "same") == pytest.approx((0, 1), abs=1e-6)
    (near, _), (far, vendi) = of("a", "b"), of("a", "noise")
    assert 0 < near < far
    assert 1.5 < vendi <= 2
    assert of("a", "same", "noise")[0] == pytest.approx(2 / 3 * far, rel=1e-5)
    with pytest.raises(ValueError, match="one clip cannot differ"):
        of("a")


def test_the_vendi_score_is_the_number_of_kinds() -> None:
    assert vendi_score(torch.eye(4)) == pytest.approx(4)
    assert vendi_score(torch.ones(4, 4)) == pytest.approx(1)
    two_kinds = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
    assert vendi_score(two_kinds) == pytest.approx(2)
