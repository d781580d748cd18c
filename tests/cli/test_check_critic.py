"""Negative controls, at a small size: what is expected of a critic, and what the command says of one that is fooled."""

import pytest
import torch
from torch.testing import assert_close

from videogpa.cli import check_critic, main
from videogpa.config import ScoreConfig
from videogpa.critics.base import CriticInput
from videogpa.critics.oracle import OracleCritic
from videogpa.records import Reconstruction, Score
from videogpa.registry import CRITICS, Plugin
from videogpa.scoring import scorer
from videogpa.world import controls

pytestmark = pytest.mark.slow

SMALL = controls.ClipStyle(10, 48, 64, "detailed", 0.6)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(controls.CLIP_STYLES, "detailed", SMALL)


class Inventive:
    """Sees a wall four metres ahead and a steady walk beside it, whatever it is shown."""

    CARDS = OracleCritic.CARDS
    details: dict[str, str] = {}  # noqa: RUF012

    def frames_to_read(self, judged: int) -> int:
        return judged

    def reconstruct(self, clip: CriticInput) -> Reconstruction:
        frames = clip.judged_frames
        count, _, height, width = frames.shape
        cameras = torch.eye(4).repeat(count, 1, 1)
        cameras[:, 0, 3] = torch.linspace(0, 0.1, count)
        flat = torch.full((count, height, width), 4.0)
        matrix = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]).expand(count, 3, 3)
        return Reconstruction(frames, flat, torch.ones_like(flat), matrix, cameras)


def test_the_oracle_is_not_fooled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(["check-critic", "oracle"])
    printed = capsys.readouterr().out
    assert printed.count("worse than every consistent clip") == len(controls.CONTROLS) + 1  # and in the title
    assert "FOOLED" not in printed


def test_a_critic_that_invents_geometry_is_found_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    inventive = Plugin(f"{__name__}:Inventive", "Invents geometry.")
    monkeypatch.setitem(CRITICS._builtin, "inventive", inventive)
    monkeypatch.setattr(controls, "CONTROLS", {"repeated": controls.CONTROLS["repeated"]})
    with pytest.raises(SystemExit) as ended:
        main(["check-critic", "inventive"])
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    [repeated] = [line for line in printed.splitlines() if "repeated/0" in line]
    assert "FOOLED" in repeated


def test_declining_is_right_for_a_control_and_wrong_for_a_consistent_clip() -> None:
    rows = [
        (None, Score(clip="a", critic="c", status="ok", loo_error=0.1)),
        (None, Score(clip="b", critic="c", status="failed")),
        ("noise", Score(clip="n", critic="c", status="failed")),
        ("zoom", Score(clip="z", critic="c", status="ok", loo_error=0.05)),
        ("cut", Score(clip="x", critic="c", status="ok", loo_error=0.2)),
    ]
    assert [finding.right for finding in check_critic._compare(rows)] == [True, False, True, False, True]
    assert [finding.right for finding in check_critic._compare(rows[1:])] == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("name", list(controls.CONTROLS))
def test_controls_are_what_they_say(name: str) -> None:
    clip = controls.CONTROLS[name].make(SMALL, 0)
    assert clip.shape == (SMALL.frames, 3, SMALL.height, SMALL.width)
    assert 0 <= float(clip.min()) <= float(clip.max()) <= 1
    assert_close(clip, controls.CONTROLS[name].make(SMALL, 0), rtol=0, atol=0)
    half = SMALL.half
    sound = controls.consistent(SMALL, 0, controls.CONSISTENT[0])
    if name == "mirrored":
        assert_close(clip[half:].flip(-1), sound[half:], rtol=0, atol=0)
    if name in ("mirrored", "cut"):
        assert_close(clip[:half], sound[:half], rtol=0, atol=0)
    if name in ("repeated", "zoom"):
        assert_close(clip[0], sound[0], rtol=0, atol=1e-6)


def test_the_baseline_is_a_still_picture() -> None:
    frames = controls.consistent(SMALL, 0, controls.CONSISTENT[0])
    row = (
        scorer.Scorer(critic="oracle", frames=10)
        .score_clip(frames, clip="c", prompt=controls.prompt_of(SMALL, 0, "truck-right"))
        .score
    )
    assert row.loo_error is not None
    assert row.single_image is not None
    assert row.explained == pytest.approx(1 - row.loo_error / row.single_image)
    assert row.explained > 0.5


def test_the_plain_film_is_what_the_miniatures_know() -> None:
    film = controls.CLIP_STYLES["plain"]
    for name, control in controls.CONTROLS.items():
        assert control.make(film, 0).shape == (9, 3, 32, 32), name
    findings = check_critic.check_critic(ScoreConfig(critic="oracle", frames=10), 1, "plain")
    assert [finding.control for finding in findings if not finding.right] == []
