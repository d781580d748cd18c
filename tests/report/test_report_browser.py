"""The reports in a real browser: the scripts run, the plots are drawn, nothing is fetched."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from videogpa.records import Change, Comparison, CriticFindings, Evaluation, Score
from videogpa.report.comparison import ComparedClip, Shown, write_comparison_report
from videogpa.report.players import small_video
from videogpa.report.run import ClipNumbers, Panel, RunSummary, write_run_report
from videogpa.report.scores import ClipCard, write_score_report
from videogpa.video import write_video

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


OBSERVE = """<script>
  addEventListener("load", () => {
    document.body.dataset.fetched = JSON.stringify(performance.getEntriesByType("resource").map((entry) => entry.name));
  });
</script></body>"""


def opened(page: Path, script: str = "") -> tuple[str, list[str], list[str]]:
    """Open a page; return its elements after its scripts ran, what it said on the console, and the addresses it loaded.

    A request that the page's security policy stops is a line on the console. The script that watches the page is let through.
    """
    watched = page.with_name("watched.html")
    source = re.sub(r"script-src 'sha256-[^;\"]*", "script-src 'unsafe-inline'", page.read_text(encoding="utf-8"), count=1)
    watched.write_text(source.replace("</body>", script + OBSERVE), encoding="utf-8")
    elements, console = browsed(watched)
    return elements, console, noted(elements, "fetched")


def browsed(watched: Path) -> tuple[str, list[str]]:
    """Open a page as it is; return its elements and what it said on the console."""
    page = watched
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--enable-logging=stderr"]
    command += ["--window-size=1280,1600", "--virtual-time-budget=8000", "--dump-dom", watched.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    console = [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
    return ended.stdout, console


def noted(elements: str, name: str) -> Any:
    """What a script left on the body, as JSON."""
    return json.loads(html.unescape(re.search(rf'data-{name}="([^"]*)"', elements)[1]))


def test_score_report(tmp_path: Path, cards: list[ClipCard]) -> None:
    write_score_report(tmp_path / "report.html", cards, title="Scores")
    elements, console, addresses = opened(tmp_path / "report.html")
    assert console == []
    assert addresses == []
    assert len(re.findall(r'<path class="point[ "]', elements)) == 4  # one for each clip with a score and a motion
    ranking = re.search(r'<table class="ranking">.*?</table>', elements, re.DOTALL)[0]
    assert len(re.findall(r"<tr>", ranking)) == 1 + 4
    failures = re.search(r'<table class="failures">.*?</table>', elements, re.DOTALL)[0]
    assert len(re.findall(r"<tr>", failures)) == 1 + 2


def test_only_the_scripts_of_the_page_run(tmp_path: Path, cards: list[ClipCard]) -> None:
    write_score_report(tmp_path / "report.html", cards, title="Scores")
    elements, console = browsed(tmp_path / "report.html")
    assert console == []
    assert len(re.findall(r'<path class="point[ "]', elements)) == 4  # the plot was drawn
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    hostile = '<script>document.body.dataset.ran = 1</script><img src="data:," onerror="document.body.dataset.ran = 1"></body>'
    (tmp_path / "hostile.html").write_text(source.replace("</body>", hostile), encoding="utf-8")
    elements, console = browsed(tmp_path / "hostile.html")
    assert "data-ran" not in elements
    assert any("Content Security Policy" in line for line in console)


def test_sorting_and_jumping(tmp_path: Path, cards: list[ClipCard]) -> None:
    """Clicks on a column's head and on a point of the plot, made by a script that the test appends."""
    write_score_report(tmp_path / "report.html", cards, title="Scores")
    clicks = """<script>
      addEventListener("load", () => {
        const head = [...document.querySelectorAll(".ranking thead button")].find((b) => b.textContent.includes("LOO error"));
        head.click();
        const order = [...document.querySelectorAll(".ranking tbody tr")].map((row) => row.children[1].dataset.value);
        document.querySelector(".chart").emit("plotly_click", {points: [{customdata: "clip-2"}]});
        const result = {order, hash: location.hash, target: document.querySelector(":target")?.id};
        document.body.dataset.result = JSON.stringify(result);
      });
    </script>"""
    elements, console, _ = opened(tmp_path / "report.html", clicks)
    assert console == []
    result = noted(elements, "result")
    scores = [float(value) for value in result["order"]]
    assert scores == sorted(scores, reverse=True)
    assert (result["hash"], result["target"]) == ("#clip-2", "clip-2")


def test_run_report(tmp_path: Path) -> None:
    change = Change(
        base=0.12, aligned=0.1, difference=-0.02, low=-0.03, high=-0.01, win_rate=1.0, n=8, clips=8, verdict="unclear"
    )
    findings = CriticFindings(chose_pairs=False, base={"ok": 8}, aligned={"ok": 8}, changes={"loo_error": change}, outcome=None)
    summary = RunSummary(
        name="smoke-test",
        evaluation=Evaluation(critics={"sfm": findings}),
        recipe="name: smoke-test",
        panels=[Panel("gain", {"winner": ([1, 2, 3], [0.0, 0.1, 0.2]), "loser": ([1, 2, 3], [0.0, -0.1, -0.1])}, 0.0)],
        clips=[ClipNumbers("a/1", "base", 0.12, 0.02), ClipNumbers("a/1", "aligned", 0.1, 0.018)],
    )
    write_run_report(tmp_path / "report.html", summary)
    elements, console, addresses = opened(tmp_path / "report.html")
    assert console == []
    assert addresses == []
    assert len(re.findall(r'<path class="point[ "]', elements)) == 2
    assert len(re.findall(r'<path class="js-line"', elements)) == 2 + 2  # and in the legend


def test_a_reference_to_the_network_would_be_noticed(tmp_path: Path) -> None:
    write_score_report(tmp_path / "report.html", [], title="Nothing")
    _, console, addresses = opened(tmp_path / "report.html", '<img src="https://example.invalid/a.png" alt="">')
    assert len(console) + len(addresses) > 0


def test_clips_of_a_comparison_play_in_step(tmp_path: Path) -> None:
    """A script drags the time, steps back and plays: clips of different lengths stay at the same share of theirs."""
    clips = []
    for method, frames in {"base": 24, "aligned": 12}.items():
        write_video(tmp_path / f"{method}.mp4", torch.rand(frames, 3, 32, 48), fps=12)
        score = Score(clip=f"p/{method}.mp4", critic="sfm", status="ok", loo_error=0.1, flow=0.01)
        clips.append(Shown(method, score, small_video(tmp_path / f"{method}.mp4", tmp_path / "players")))
    comparison = Comparison(base="base", critic="sfm", methods={}, unmatched={"base": [], "aligned": []})
    write_comparison_report(tmp_path / "compare.html", comparison, [ComparedClip("p", clips)])
    script = """<script>
      const loaded = (video) => new Promise((done) => video.addEventListener("loadedmetadata", done));
      const ready = (video) => video.readyState > 0 || loaded(video);
      addEventListener("load", async () => {
        const videos = [...document.querySelectorAll("video")];
        await Promise.all(videos.map(ready));
        const shares = () => videos.map((video) => video.currentTime / video.duration);
        const range = document.querySelector("input[type=range]");
        range.value = 500;
        range.dispatchEvent(new Event("input"));
        const dragged = shares();
        document.querySelector("[data-do=back]").click();
        const stepped = shares();
        document.querySelector("[data-do=play]").click();
        const playing = videos.map((video) => !video.paused);
        document.body.dataset.result = JSON.stringify({dragged, stepped, playing, durations: videos.map((v) => v.duration)});
      });
    </script>"""
    elements, console, addresses = opened(tmp_path / "compare.html", script)
    assert console == []
    assert all(address.startswith("data:") for address in addresses)
    result = noted(elements, "result")
    assert result["durations"] == pytest.approx([2, 1], abs=0.02)
    assert result["dragged"] == pytest.approx([0.5, 0.5], abs=0.01)
    assert result["stepped"][0] == pytest.approx(result["stepped"][1], abs=0.01)
    assert result["stepped"][0] < 0.49
    assert result["playing"] == [True, True]
