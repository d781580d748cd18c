import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from videogpa.findings import Change, CriticFindings, Evaluation, Outcome, Relative
from videogpa.measures import MEASURES
from videogpa.records import Reconstruction
from videogpa.report import run
from videogpa.report.players import write_player
from videogpa.report.run import (
    ClipNumbers,
    ClipPair,
    FunnelStep,
    NotScored,
    Panel,
    RunSummary,
    motion_first,
    write_run_report,
)


def compared(measure: str, change: float, spread: float) -> Change:
    low, high, n = change - spread, change + spread, 24
    verdict = MEASURES[measure].verdict(change, low, high, n=n)
    return Change(
        base=0.5, aligned=0.5 + change, difference=change, low=low, high=high, win_rate=None, n=n, clips=2 * n, verdict=verdict
    )


def findings(outcome: Outcome | None = None, **changes: Change) -> CriticFindings:
    return CriticFindings(chose_pairs=outcome is not None, base={}, aligned={}, changes=changes, outcome=outcome)


BOUGHT = Outcome(
    verdict="explained by less motion",
    measure="loo_error",
    geometry=Relative(change=-0.04, low=-0.06, high=-0.02),
    motion={"flow": Relative(change=-0.08, low=-0.1, high=-0.06)},
    failing=None,
    n=24,
    chose_pairs=True,
)


@pytest.fixture
def summary(make_wall: Callable[..., Reconstruction], tmp_path: Path) -> RunSummary:
    frames = make_wall(frames=5).images
    write_player(tmp_path / "players/a", {"base": frames, "aligned": frames})
    numbers = {"base": (0.12, 0.02), "aligned": (0.1, 0.018)}
    return RunSummary(
        name="smoke-test",
        evaluation=Evaluation(
            critics={
                "sfm": findings(
                    BOUGHT,
                    psnr=compared("psnr", 0.8, 0.5),
                    loo_error=compared("loo_error", -0.02, 0.01),
                    flow=compared("flow", -0.004, 0.001),
                ),
                "oracle": findings(loo_error=compared("loo_error", 0.01, 0.05)),
            }
        ),
        recipe="name: smoke-test\nmodel: <toy> & co",
        funnel=[FunnelStep("prompts", 40), FunnelStep("pairs", 10)],
        dropped={"small gap": 30},
        panels=[Panel("loss", {"loss": ([1, 2, 3], [0.69, 0.68, 0.66])}, reference=0.693)],
        clip_pairs=[ClipPair("orbit/1", numbers, Path("players/a"))],
        clips=[ClipNumbers("orbit/1", "base", 0.12, 0.02), ClipNumbers("orbit/1", "aligned", 0.1, 0.018)],
        not_scored=[NotScored("dolly/2", "aligned", "sfm", "no_parallax", "the camera does not translate")],
    )


def test_verdicts() -> None:
    assert compared("loo_error", -0.02, 0.01).verdict == "better"
    assert compared("loo_error", 0.02, 0.01).verdict == "worse"
    assert compared("psnr", 0.8, 0.5).verdict == "better"
    assert compared("psnr", 0.8, 0.9).verdict == "unclear"
    assert compared("flow", -0.004, 0.001).verdict == "less"
    assert compared("flow", 0.004, 0.001).verdict == "more"


def test_motion_comes_first(summary: RunSummary) -> None:
    assert list(motion_first(summary.evaluation.critics["sfm"].changes)) == ["flow", "psnr", "loo_error"]


def test_says_what_was_found(summary: RunSummary, tmp_path: Path) -> None:
    write_run_report(tmp_path / "report.html", summary)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    for said in (
        "−0.0200",
        "[−0.0300, −0.0100]",
        "less motion",
        '<p class="verdict bad">sfm: no success: the gain is explained by less motion. leave-one-out error −4.0 % [−6.0, −2.0]',
        "critic sfm (also chose the training pairs)",
        "critic oracle<",
        "The aligned model moves less",
        "30 × small gap",
        "the camera does not translate",
        "model: &lt;toy&gt; &amp; co",
        'id="pair-1"',
        "<b>aligned</b><span>leave-one-out error ↓ 0.1000</span><span>optical flow 0.0180</span>",
        'data-video="data:video/mp4;base64,',
    ):
        assert said in source, said
    write_run_report(tmp_path / "again.html", summary)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == source


def test_no_warning_without_frozen_motion(tmp_path: Path) -> None:
    changes = {"flow": compared("flow", 0.0, 0.01), "loo_error": compared("loo_error", -0.02, 0.01)}
    steady = RunSummary("steady", Evaluation(critics={"sfm": findings(**changes)}), "name: steady")
    write_run_report(tmp_path / "report.html", steady)
    assert "moves less" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_run_of_many_clips_has_a_report_of_a_few_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more clips than a plot or table holds, the plot shows evenly spread ones of each model, and the page says so."""
    monkeypatch.setattr(run, "MOST_POINTS", 10)
    monkeypatch.setattr(run, "MOST_FAILURES", 3)
    clips = [ClipNumbers(f"{i}", model, i / 100, 0.1) for i in range(100) for model in ("base", "aligned")]
    failed = [NotScored(f"{i}", "base", "sfm", "failed", "no") for i in range(5)]
    many = RunSummary("many", Evaluation(critics={}), "name: many", clips=clips, not_scored=failed)
    write_run_report(tmp_path / "report.html", many)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    figure = json.loads(re.search(r'application/json">(.*?)</script>', source)[1])
    assert [(len(trace["y"]), min(trace["y"]), max(trace["y"])) for trace in figure["data"]] == [(10, 0, 0.99)] * 2
    assert "shows 20 of 200 clips" in source
    assert "And 2 more" in source
