import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from videogpa.records import Score
from videogpa.report import scores
from videogpa.report.page import number, signed
from videogpa.report.scores import BEST, MOST_CARDS, ClipCard, write_score_report


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
        self.sources += [given[key] for key in ("src", "srcset", "data", "action") if given.get(key)]
        if tag == "a":
            self.anchors.append(given["href"])
        elif given.get("href"):
            self.sources.append(given["href"])
        if given.get("id"):
            self.targets.append(given["id"])
        if tag == "img":
            self.alts.append(given["alt"])
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
    assert len([source for source in page.sources if source.startswith("data:image/jpeg")]) == 4
    assert {anchor[1:] for anchor in page.anchors} <= set(page.targets)
    assert all(page.alts)
    assert "default-src 'none'" in report.read_text(encoding="utf-8")
    assert [path.name for path in report.parent.iterdir()] == ["report.html"]


def test_ranks_by_score_with_motion_beside_it(report: Path, cards: list[ClipCard]) -> None:
    text = Page(report).text
    names = ["clips/clean.mp4", 'clips/a <i>name</i> & "quotes".mp4', "clips/rough.mp4", "clips/half.mp4"]
    names[1] = 'i> & "quotes".mp4'  # its last two parts, as a path
    places = [next(i for i, part in enumerate(text) if part.endswith(name)) for name in names]
    assert places == sorted(places)
    best = next(card for card in cards if card.score.clip == "clips/clean.mp4").score
    assert text[places[0] + 1 : places[0] + 3] == [number(best.loo_error, "loo_error"), number(best.flow, "flow")]
    assert text[places[3] + 1] == "partial"


def test_failures_have_reasons_and_no_numbers(report: Path) -> None:
    text = Page(report).text
    assert "2 of 10 frames have a camera" in text
    assert "is truncated: 3 < 49 frames" in text
    assert text[text.index("2 of 10 frames have a camera") - 3 :][:3] == ["clips/noise.mp4", "failed", "0.3000"]


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


def test_thirty_clips_stay_under_ten_megabytes(tmp_path: Path, cards: list[ClipCard]) -> None:
    strip = b"\xff" * 100_000  # more than a strip of a detailed photograph takes
    many = [ClipCard(cards[0].score.model_copy(update={"clip": f"{i}.mp4"}), strip) for i in range(30)]
    write_score_report(tmp_path / "report.html", many, title="Thirty")
    assert (tmp_path / "report.html").stat().st_size < 10_000_000


def many(count: int, folder: Path, *, critics: int = 1, changed: frozenset[int] = frozenset()) -> list[ClipCard]:
    """Cards of so many clips, whose errors grow with their numbers, and whose pictures lie in `folder`."""
    (folder / "strips").mkdir()
    (folder / "strips/a.jpg").write_bytes(b"\xff" * 100_000)
    rows = [
        Score(clip=f"{i:05}.mp4", critic=f"critic-{i % critics}", status="ok", loo_error=0.001 + i / count, flow=0.1)
        for i in range(count)
    ]
    return [ClipCard(row, picture=Path("strips/a.jpg"), changed=i in changed) for i, row in enumerate(rows)]


def shown_clips(page: Path) -> list[int]:
    return [int(found) for found in re.findall(r'<h3 title="(\d+)\.mp4"', page.read_text(encoding="utf-8"))]


def test_of_many_clips_the_best_the_changed_and_the_worst_are_shown(tmp_path: Path) -> None:
    write_score_report(tmp_path / "report.html", many(300, tmp_path, changed=frozenset({100, 101, 150})), title="Many")
    assert shown_clips(tmp_path / "report.html") == [*range(BEST), 100, 101, 150, *range(300 - MOST_CARDS + BEST + 3, 300)]
    page = Page(tmp_path / "report.html")
    assert page.anchors.count("strips/a.jpg") == 300 - MOST_CARDS  # all others lead to their pictures
    assert {anchor[1:] for anchor in page.anchors if anchor.startswith("#")} <= set(page.targets)
    figure = json.loads(re.search(r'application/json">(.*?)</script>', (tmp_path / "report.html").read_text())[1])
    assert {anchor for trace in figure["data"] for anchor in trace["customdata"]} <= set(page.targets)
    assert (tmp_path / "report.html").stat().st_size < 10_000_000


def test_every_critic_has_its_share_of_the_pictures(tmp_path: Path) -> None:
    write_score_report(tmp_path / "report.html", many(200, tmp_path, critics=2), title="Two critics")
    of_second = [number % 2 for number in shown_clips(tmp_path / "report.html")]
    assert (len(of_second), sum(of_second)) == (MOST_CARDS, MOST_CARDS // 2)


def test_a_report_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "MOST_ROWS", 100)
    monkeypatch.setattr(scores, "MOST_FAILURES", 10)
    failed = [ClipCard(Score(clip=f"bad{i}.mp4", critic="critic-0", status="failed", reason="no")) for i in range(50)]
    write_score_report(tmp_path / "report.html", [*many(1000, tmp_path), *failed], title="Very many")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    listed = [int(found) for found in re.findall(r'data-value="(\d+)\.mp4"', source)]
    assert listed == [*range(50), *range(950, 1000)]
    assert "1,000 clips have a score" in source
    assert "And 40 more" in source


def test_a_picture_that_is_a_link_is_neither_shown_nor_linked(tmp_path: Path) -> None:
    """A received folder could have private files shown on the page."""
    (tmp_path / "private").write_bytes(b"private")
    cards = many(1, tmp_path)
    (tmp_path / "strips/a.jpg").unlink()
    (tmp_path / "strips/a.jpg").symlink_to(tmp_path / "private")
    write_score_report(tmp_path / "report.html", cards, title="Link")
    assert [source for source in Page(tmp_path / "report.html").sources if source != "data:,"] == []


def test_nothing_scored_needs_no_plot(tmp_path: Path, cards: list[ClipCard]) -> None:
    write_score_report(tmp_path / "report.html", [card for card in cards if card.strip is None], title="Nothing")
    assert (tmp_path / "report.html").stat().st_size < 50_000
    write_score_report(tmp_path / "report.html", [], title="Empty")
    assert "Empty" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_card_without_frames_or_strip(tmp_path: Path) -> None:
    row = Score(clip="a.mp4", critic="oracle", status="ok", loo_error=0.1)
    write_score_report(tmp_path / "report.html", [ClipCard(row)], title="One")
    assert "a.mp4" in Page(tmp_path / "report.html").text


def test_numbers() -> None:
    assert number(None, "psnr") == "–"
    assert number(22.126, "psnr") == "22.13"
    assert signed(-0.02, "loo_error") == "−0.0200"
    assert signed(0.5, "psnr") == "+0.50"
