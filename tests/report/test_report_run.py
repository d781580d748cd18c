from collections.abc import Callable
from pathlib import Path

import pytest

from videogpa.records import Reconstruction
from videogpa.report.run import Comparison, Failure, Film, FunnelStep, Judged, Panel, RunSummary, by_critic, write_run_report
from videogpa.report.strips import make_film


def compared(measure: str, change: float, spread: float, critic: str = "sfm") -> Comparison:
    return Comparison(critic, measure, 0.5, 0.5 + change, change, change - spread, change + spread, 24)


@pytest.fixture
def summary(make_wall: Callable[..., Reconstruction]) -> RunSummary:
    film = make_film(make_wall(frames=5).images, 5)
    return RunSummary(
        name="mini",
        comparisons=[
            compared("psnr", 0.8, 0.5),
            compared("loo_error", -0.02, 0.01),
            compared("flow", -0.004, 0.001),
            compared("loo_error", 0.01, 0.05, critic="oracle"),
        ],
        recipe="name: mini\nmodel: <toy> & co",
        verdicts=[("bought with motion", "sfm: a miss")],
        funnel=[FunnelStep("prompts", 40), FunnelStep("pairs", 10)],
        dropped={"small gap": 30},
        panels=[Panel("loss", {"loss": ([1, 2, 3], [0.69, 0.68, 0.66])}, reference=0.693)],
        films=[Film("orbit/1", film, film, 0.12, 0.02, 0.1, 0.018)],
        judged=[Judged("orbit/1", "base", 0.12, 0.02), Judged("orbit/1", "aligned", 0.1, 0.018)],
        failures=[Failure("dolly/2", "aligned", "sfm", "no_parallax", "the camera does not translate")],
    )


def test_verdicts() -> None:
    assert compared("loo_error", -0.02, 0.01).verdict == "better"
    assert compared("loo_error", 0.02, 0.01).verdict == "worse"
    assert compared("psnr", 0.8, 0.5).verdict == "better"
    assert compared("psnr", 0.8, 0.9).verdict == "unclear"
    assert compared("flow", -0.004, 0.001).verdict == "less"
    assert compared("flow", 0.004, 0.001).verdict == "more"


def test_motion_comes_first(summary: RunSummary) -> None:
    groups = by_critic(summary.comparisons)
    assert {critic: [row.measure for row in rows] for critic, rows in groups.items()} == {
        "oracle": ["loo_error"],
        "sfm": ["flow", "psnr", "loo_error"],
    }


def test_says_what_was_found(summary: RunSummary, tmp_path: Path) -> None:
    write_run_report(tmp_path / "report.html", summary)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    for said in (
        "−0.0200",
        "[−0.0300, −0.0100]",
        "less motion",
        '<p class="verdict bad">sfm: a miss</p>',
        "The aligned model moves less",
        "30 × small gap",
        "the camera does not translate",
        "model: &lt;toy&gt; &amp; co",
        'id="film-1"',
    ):
        assert said in source, said
    write_run_report(tmp_path / "again.html", summary)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == source


def test_no_warning_without_frozen_motion(tmp_path: Path) -> None:
    steady = RunSummary("steady", [compared("flow", 0.0, 0.01), compared("loo_error", -0.02, 0.01)], "name: steady")
    write_run_report(tmp_path / "report.html", steady)
    assert "moves less" not in (tmp_path / "report.html").read_text(encoding="utf-8")
