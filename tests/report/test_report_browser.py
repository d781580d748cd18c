"""The reports in a real Chromium, from their files: they play, sort and filter, say nothing on the console, fetch nothing."""

from pathlib import Path

import pytest
import torch
from browser import CHROMIUM, Tab

from videogpa.findings import Change, Comparison, CriticFindings, Evaluation
from videogpa.records import Score
from videogpa.report import player_files
from videogpa.report.comparison import ComparedClip, write_comparison_report
from videogpa.report.players import keep_in_step, write_player
from videogpa.report.run import ClipNumbers, Panel, RunSummary, write_run_report
from videogpa.report.scores import ClipCard, write_score_report
from videogpa.video import write_video

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


def one(name: str, of: str = "document") -> str:
    return f"{of}.querySelector('[data-part={name}]')"


def drawn(tab: Tab, frame: int) -> None:
    """Wait until the first player shows a frame, and says so."""
    tab.until(f"document.querySelector('.player').dataset.drawn == '{frame}' && {one('range')}.value == '{frame}'")


def levels(tab: Tab) -> list[float]:
    """The mean of each panel of the first player, in [0, 1]."""
    found: list[float] = tab.js(
        """[...document.querySelector('.player').querySelectorAll('canvas')].map((canvas) => {
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
          copy.drawImage(canvas, 0, 0);
          const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
          return data.filter((_, i) => i % 4 < 3).reduce((a, b) => a + b, 0) / (canvas.width * canvas.height * 3 * 255);
        })"""
    )
    return found


def visible(tab: Tab) -> list[str]:
    """The short names of the table's rows that are shown, in order."""
    shown = "[...document.querySelectorAll('.sortable tbody tr')].filter((row) => row.checkVisibility())"
    found: list[str] = tab.js(f"{shown}.map((row) => row.cells[0].dataset.value)")
    return found


def ramp(frames: int, start: float, end: float) -> torch.Tensor:
    return torch.linspace(start, end, frames)[:, None, None, None].expand(-1, 3, 32, 48)


def test_a_report_draws_its_plot_and_fetches_nothing(tab: Tab, tmp_path: Path, cards: list[ClipCard]) -> None:
    write_score_report(tmp_path / "report.html", cards, title="Scores")
    tab.open(tmp_path / "report.html")
    tab.until("document.querySelectorAll('path.point').length == 4")  # one for each clip with a score and a motion
    tab.until("document.querySelector('.player').dataset.drawn == '0'")
    assert all(address.startswith("data:") for address in tab.fetched[1:])
    assert tab.js("document.querySelectorAll('tbody tr').length") == 6
    tab.resize(390, 844, mobile=True)
    tab.until("document.documentElement.scrollWidth == 390")  # the page fits a phone, the table scrolls in its box


def test_only_the_scripts_of_the_page_run(browser: Tab, tmp_path: Path, cards: list[ClipCard]) -> None:
    write_score_report(tmp_path / "report.html", cards, title="Scores")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    hostile = '<script>document.body.dataset.ran = 1</script><img src="data:," onerror="document.body.dataset.ran = 1"></body>'
    (tmp_path / "report.html").write_text(source.replace("</body>", hostile), encoding="utf-8")
    browser.open(tmp_path / "report.html")
    browser.until("document.querySelectorAll('path.point').length == 4")
    assert browser.js("document.body.dataset.ran ?? 'no'") == "no"
    assert any("Content Security Policy" in line for line in browser.console)


def test_a_reference_to_the_network_would_be_noticed(browser: Tab, tmp_path: Path) -> None:
    write_score_report(tmp_path / "report.html", [], title="Nothing")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "report.html").write_text(source.replace("</body>", '<img src="https://example.invalid/a.png" alt=""></body>'))
    browser.open(tmp_path / "report.html")
    browser.until("true")
    assert len(browser.console) + len(browser.fetched) > 1


def test_panels_play_in_step_and_obey_buttons_mouse_and_keys(tab: Tab, tmp_path: Path) -> None:
    """Every frame has its own levels, so that what the panels show tells the frame."""
    write_player(tmp_path / "players/a", {"up": ramp(5, 0.1, 0.9), "down": ramp(5, 0.9, 0.1), "up again": ramp(5, 0.1, 0.9)})
    row = Score(clip="a.mp4", critic="sfm", status="ok", loo_error=0.1, flow=0.1)
    write_score_report(tmp_path / "report.html", [ClipCard(row, Path("players/a"))], title="One")
    tab.open(tmp_path / "report.html")

    def shows(frame: int) -> None:
        drawn(tab, frame)
        level = 0.1 + 0.2 * frame
        assert levels(tab) == pytest.approx([level, 1 - level, level], abs=0.02)
        assert tab.js(f"{one('at')}.textContent") == f"{frame + 1} / 5"

    shows(0)
    tab.click(one("on"))
    shows(1)
    tab.js(f"{one('range')}.value = 3, {one('range')}.dispatchEvent(new Event('input', {{ bubbles: true }}))")
    shows(3)
    tab.click(one("back"))
    shows(2)
    tab.js("document.querySelector('.player').focus()")
    for key, frame in (("ArrowRight", 3), ("End", 4), ("ArrowRight", 4), ("Home", 0), ("ArrowLeft", 0)):
        tab.press(key)
        shows(frame)
    for key, speed in ((">", "2"), (">", "4"), (">", "4"), ("<", "2"), ("<", "1")):
        tab.press(key)
        assert tab.js(f"{one('speed')}.value") == speed
    tab.press(" ")
    seen = set()
    while len(seen) < 5:  # it goes round
        up, down, again = levels(tab)
        assert (down, again) == pytest.approx((1 - up, up), abs=0.03)  # the panels are of one frame at any time
        seen.add(round((up - 0.1) / 0.2))
    assert tab.js(f"{one('play')}.textContent") == "Pause"
    tab.click("document.querySelector('canvas')")
    assert tab.js(f"{one('play')}.textContent") == "Play"
    tab.click(one("on"))
    tab.until(f"document.querySelector('.player').dataset.drawn == {one('range')}.value")
    assert levels(tab)[0] == pytest.approx(0.1 + 0.2 * int(tab.js(f"{one('range')}.value")), abs=0.02)


def test_the_table_is_sorted_and_filtered_and_leads_to_the_players(tab: Tab, tmp_path: Path, cards: list[ClipCard]) -> None:
    write_score_report(tmp_path / "report.html", cards, title="Scores")
    tab.open(tmp_path / "report.html")
    first = visible(tab)
    assert len(first) == 6
    scores = "[...document.querySelectorAll('tbody tr')].map(r => r.cells[2].dataset.value)"
    tab.js("[...document.querySelectorAll('thead button')].find(b => b.textContent.includes('LOO error')).focus()")
    tab.press("Enter")  # from the keyboard
    found = [float(value) for value in tab.js(scores) if value]
    assert found == sorted(found, reverse=True)
    assert tab.js(scores)[-2:] == ["", ""]  # what has no number comes last
    assert tab.js("document.querySelector('article h3 .path').textContent") == "clips/rough.mp4"  # the players follow
    tab.click("document.querySelector('thead button')")
    assert visible(tab) == sorted(first, key=str.lower)
    tab.js(f"{one('text')}.focus()")
    tab.type("CLIPS a")
    tab.until("document.querySelectorAll('article:not([hidden])').length < 4")
    tab.js(f"{one('text')}.value = '', {one('status')}.value = 'partial'")
    tab.js(f"{one('status')}.dispatchEvent(new Event('input', {{ bubbles: true }}))")
    assert visible(tab) == ["clips/half.mp4"]
    assert tab.js(f"{one('count')}.textContent") == "1 of 6 clips"
    assert tab.js("[...document.querySelectorAll('article')].map(a => a.hidden).sort()") == [False, True, True, True]
    tab.js("document.querySelector('.chart').emit('plotly_click', { points: [{ customdata: 'clip-1' }] })")
    tab.until("document.querySelector(':target')?.id == 'clip-1'")
    assert len(visible(tab)) == 6  # a point leads to its clip, also if it was filtered out
    tab.click("document.querySelector('tbody a')")
    tab.until("document.activeElement.matches(':target .player')")  # ready for the keys
    assert tab.js("document.querySelector('h3 .path').checkVisibility()") is False
    tab.click(one("paths"))
    assert tab.js("document.querySelector('h3 .path').checkVisibility()") is True


def test_players_of_many_clips_are_loaded_from_beside_the_page_as_they_come_into_view(
    tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player_files, "MOST_EMBEDDED", 3)
    cards = []
    for i in range(30):
        write_player(tmp_path / f"players/{i}", {"frame": ramp(2, 0.5, 0.5), "error": ramp(2, 0.1, 0.1)})
        row = Score(clip=f"{i}.mp4", critic="sfm", status="ok", loo_error=0.1 + i, flow=0.1)
        cards.append(ClipCard(row, Path(f"players/{i}")))
    write_score_report(tmp_path / "report.html", cards, title="Thirty")
    tab.resize(1280, 300)
    tab.open(tmp_path / "report.html")
    tab.click("document.querySelectorAll('tbody a')[20]")
    tab.until("document.querySelector('#clip-21 .player').dataset.drawn == '0'")
    videos = {Path(address).name for address in tab.fetched if address.endswith(".mp4")}
    assert "20.mp4" in videos
    assert len(videos) < 15
    assert all(address.startswith(("data:", tmp_path.as_uri())) for address in tab.fetched)


def test_run_report(tab: Tab, tmp_path: Path) -> None:
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
    tab.open(tmp_path / "report.html")
    tab.until("document.querySelectorAll('path.point').length == 2")
    tab.until("document.querySelectorAll('path.js-line').length == 4")  # two, and in the legend
    assert all(address.startswith("data:") for address in tab.fetched[1:])


def test_clips_of_a_comparison_play_in_step(tab: Tab, tmp_path: Path) -> None:
    """Clips of different lengths are shown at the same share of theirs, and the table sorts by either's numbers."""
    clips = []
    for number, name in enumerate(("p", "q")):
        paths = {method: tmp_path / f"{name}-{method}.mp4" for method in ("base", "new")}
        write_video(paths["base"], ramp(9, 0.1, 0.9), fps=12)
        write_video(paths["new"], ramp(3, 0.1, 0.9), fps=12)
        rows = {
            method: Score(clip=path.name, critic="sfm", status="ok", loo_error=error, flow=0.01)
            for (method, path), error in zip(paths.items(), (0.1 + number, 0.2 - 0.1 * number), strict=True)
        }
        clips.append(ComparedClip(name, rows, Path("players") / keep_in_step(tmp_path / "players", paths).name))
    comparison = Comparison(base="base", critic="sfm", methods={}, unmatched={"base": [], "new": []})
    write_comparison_report(tmp_path / "compare.html", comparison, clips)
    tab.open(tmp_path / "compare.html")
    drawn(tab, 0)
    tab.js("document.querySelector('.player').focus()")
    for frame, level in enumerate((0.1, 0.1, 0.1, 0.5, 0.5)):
        drawn(tab, frame)
        assert levels(tab) == pytest.approx([0.1 + 0.1 * frame, level], abs=0.02)
        tab.press("ArrowRight")
    assert all(address.startswith("data:") for address in tab.fetched[1:])
    assert visible(tab) == ["p", "q"]
    tab.click("document.querySelectorAll('#clips thead button')[1]")
    tab.click("document.querySelectorAll('#clips thead button')[1]")
    assert visible(tab) == ["q", "p"]
