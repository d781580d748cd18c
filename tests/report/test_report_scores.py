import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from videogpa.records import Score
from videogpa.report import player_files as files_of_players
from videogpa.report import scores
from videogpa.report.page import number, signed
from videogpa.report.player_files import MOST_EMBEDDED, player_files
from videogpa.report.players import write_player
from videogpa.report.scores import ClipCard, write_score_report


class Page(HTMLParser):
    """The page's cells, pictures and links; scripts apart."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.anchors: list[str] = []
        self.targets: list[str] = []
        self.alts: list[str] = []
        self.text: list[str] = []
        self._scripts = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.sources += [given[key] for key in ("src", "srcset", "data", "action", "data-video") if given.get(key)]
        if tag == "a":
            self.anchors.append(given["href"])
        elif given.get("href"):
            self.sources.append(given["href"])
        if given.get("id"):
            self.targets.append(given["id"])
        if tag == "canvas":
            self.alts.append(given["aria-label"])
        self._scripts += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._scripts -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._scripts and data.strip():
            self.text.append(data.strip())


@pytest.fixture
def report(tmp_path: Path, cards: list[ClipCard]) -> Path:
    write_score_report(tmp_path / "report.html", cards, title="Scores of six clips")
    return tmp_path / "report.html"


def test_is_one_file_without_references(report: Path) -> None:
    page = Page(report)
    assert all(source.startswith("data:") for source in page.sources)
    for kind in ("data:image/jpeg", "data:video/mp4"):
        assert len([source for source in page.sources if source.startswith(kind)]) == 4
    assert {anchor[1:] for anchor in page.anchors} <= set(page.targets)
    assert page.alts == 4 * ["frame", "leave-one-out render", "error map"]
    assert "default-src 'none'" in report.read_text(encoding="utf-8")
    assert sorted(path.name for path in report.parent.iterdir()) == ["players", "report.html"]  # which is not needed


def rows(path: Path) -> list[list[str]]:
    """The texts of the cells of each row of the table."""
    body = re.search(r"<tbody>(.*?)</tbody>", path.read_text(encoding="utf-8"), re.DOTALL)[1]
    cells = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL)]
    return [[html.unescape(re.sub("<.*?>", " ", cell, flags=re.DOTALL)).strip() for cell in row] for row in cells]


def test_ranks_by_score_with_motion_beside_it(report: Path, cards: list[ClipCard]) -> None:
    names = ["clips/clean.mp4", 'clips/a <i>name</i> & "quotes".mp4', "clips/rough.mp4", "clips/half.mp4"]
    found = rows(report)
    assert [row[0].split("  ")[-1] for row in found[:3]] == names[:3]  # the whole path stands beside the short name
    assert [row[1] for row in found] == ["ok", "ok", "ok", "partial", "failed", "unreadable"]
    best = next(card for card in cards if card.score.clip == "clips/clean.mp4").score
    assert found[0][2:4] == [number(best.loo_error, "loo_error"), number(best.flow, "flow")]


def test_failures_have_reasons_and_no_numbers(report: Path) -> None:
    failed, unreadable = rows(report)[-2:]
    assert failed[0].endswith("2 of 10 frames have a camera")
    assert unreadable[0].endswith("is truncated: 3 < 49 frames")
    assert failed[1:4] == ["failed", "–", "0.3000"]


def test_names_of_clips_cannot_break_out(report: Path) -> None:
    source = report.read_text(encoding="utf-8")
    assert "<i>name" not in source
    assert "<b>.mp4" not in source
    figure = json.loads(re.search(r'<script type="application/json">(.*?)</script>', source)[1])
    points = {name: y for trace in figure["data"] for name, y in zip(trace["text"], trace["y"], strict=True)}
    assert len(points) == 4


def test_same_content_same_bytes(report: Path, cards: list[ClipCard], tmp_path: Path) -> None:
    write_score_report(tmp_path / "again.html", list(reversed(cards)), title="Scores of six clips")
    assert (tmp_path / "again.html").read_bytes() == report.read_bytes()


def many(count: int, folder: Path, *, critics: int = 1) -> list[ClipCard]:
    """Cards of so many clips, whose errors grow with their numbers, and which share one player."""
    write_player(folder / "players/a", {"frame": torch.rand(2, 3, 16, 16)})
    rows = [
        Score(clip=f"{i:05}.mp4", critic=f"critic-{i % critics}", status="ok", loo_error=0.001 + i / count, flow=0.1)
        for i in range(count)
    ]
    return [ClipCard(row, Path("players/a")) for row in rows]


def test_fifty_clips_are_one_file_of_a_few_megabytes(tmp_path: Path) -> None:
    cards = many(MOST_EMBEDDED, tmp_path)
    (tmp_path / "players/a.mp4").write_bytes(b"\xff" * 160_000)  # more than the player of most clips takes
    write_score_report(tmp_path / "report.html", cards, title="Fifty")
    page = Page(tmp_path / "report.html")
    assert len(page.sources) == 1 + 2 * MOST_EMBEDDED
    assert all(source.startswith("data:") for source in page.sources)
    assert (tmp_path / "report.html").stat().st_size < 17_000_000


def test_more_clips_are_all_shown_from_files_beside_the_page(tmp_path: Path) -> None:
    write_score_report(tmp_path / "report.html", many(300, tmp_path), title="Many")
    page = Page(tmp_path / "report.html")
    assert sorted(page.sources) == sorted(["data:,", *300 * ["players/a.mp4", "players/a.jpg"]])
    assert page.anchors == [f"#clip-{i}" for i in range(1, 301)]
    assert {anchor[1:] for anchor in page.anchors} <= set(page.targets)
    figure = json.loads(re.search(r'application/json">(.*?)</script>', (tmp_path / "report.html").read_text())[1])
    assert {anchor for trace in figure["data"] for anchor in trace["customdata"]} <= set(page.targets)
    assert "keep the two together" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.html").stat().st_size < 6_500_000


def test_a_report_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "MOST_ROWS", 100)
    monkeypatch.setattr(scores, "MOST_FAILURES", 10)
    failed = [ClipCard(Score(clip=f"bad{i}.mp4", critic="critic-0", status="failed", reason="no")) for i in range(50)]
    write_score_report(tmp_path / "report.html", [*many(1000, tmp_path), *failed], title="Very many")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    listed = [int(found) for found in re.findall(r'data-value="(\d+)\.mp4"', source)]
    assert listed == [*range(50), *range(950, 1000)]
    assert "1,000 clips have a score: the page holds the best and the worst 50" in source
    assert "50 clips have none: the page holds 10" in source


@pytest.mark.parametrize("most", [0, 1])
def test_a_player_that_is_a_link_is_neither_shown_nor_linked(
    tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A received folder could have private files shown on the page."""
    monkeypatch.setattr(files_of_players, "MOST_EMBEDDED", most)
    (tmp_path / "private").write_bytes(b"private")
    cards = many(1, tmp_path)
    video = player_files(tmp_path / "players/a")[0]
    video.unlink()
    video.symlink_to(tmp_path / "private")
    write_score_report(tmp_path / "report.html", cards, title="Link")
    assert [source for source in Page(tmp_path / "report.html").sources if source != "data:,"] == []


def test_clips_of_one_name_are_told_apart_and_their_paths_are_there(tmp_path: Path) -> None:
    clips = ["/x/a/one/clip.mp4", "/x/b/one/clip.mp4"]
    rows_of = [Score(clip=clip, critic="sfm", status="ok", loo_error=0.1) for clip in clips]
    write_score_report(tmp_path / "report.html", [ClipCard(row) for row in rows_of], title="Two")
    assert [row[0].split("  ") for row in rows(tmp_path / "report.html")] == [
        ["a/one/clip.mp4", clips[0]],
        ["b/one/clip.mp4", clips[1]],
    ]


def test_nothing_scored_needs_no_plot(tmp_path: Path, cards: list[ClipCard]) -> None:
    write_score_report(tmp_path / "report.html", [card for card in cards if card.player is None], title="Nothing")
    assert (tmp_path / "report.html").stat().st_size < 50_000
    write_score_report(tmp_path / "report.html", [], title="Empty")
    assert "Empty" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_card_without_a_player(tmp_path: Path) -> None:
    row = Score(clip="a.mp4", critic="oracle", status="ok", loo_error=0.1)
    write_score_report(tmp_path / "report.html", [ClipCard(row)], title="One")
    assert "a.mp4" in Page(tmp_path / "report.html").text


def test_numbers() -> None:
    assert number(None, "psnr") == "–"
    assert number(22.126, "psnr") == "22.13"
    assert signed(-0.02, "loo_error") == "−0.0200"
    assert signed(0.5, "psnr") == "+0.50"
