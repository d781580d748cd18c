"""Hostile names and texts in tables and on pages: no formula, no markup and no control character of them has an effect."""

import csv
import html
import json
import os
import re
import tempfile
from functools import cache
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from attempts import attempt, shell
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from videogpa.cli.summary import compared
from videogpa.findings import Comparison
from videogpa.prompts.output import prompt_table
from videogpa.records import Prompt, Score
from videogpa.report.charts import Point, plain, scatter
from videogpa.report.scores import ClipCard, write_score_report
from videogpa.report.tables import cell_text, score_table, text_cell, write_csv
from videogpa.storage.files import write_text
from videogpa.text_files import printable, shown

KIND = "tables"

NAMES = [
    *('=HYPERLINK("http://example.org")', "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-1", "\uff1d1", "-1.5", "1e9"),
    *("<script>alert(1)</script>", "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)"),
    *(
        '"onmouseover="alert(1)',
        "'><svg/onload=alert(1)>",
        "{{ 7 * 7 }}",
        "{% raw %}",
        "&lt;b&gt;",
        "%{x}",
        "a&b",
        "]]>",
        "<!--",
    ),
    *(
        "\x1b[2J\x1b[31mred",
        "a\rb",
        "a\nb",
        "a\0b",
        "\u202egnp.exe",
        "\u2066x\u2069",
        "\x9b31m",
        "\x07",
        "\u2028",
        "[bold]x[/]",
    ),
    *("[link=http://example.org]x[/link]", '<a href="javascript:alert(1)">x</a>', "a,b", 'a"b', " ", "客厅.mp4", "é", "👩‍🚀"),
]
names = st.one_of(
    st.sampled_from(NAMES),
    st.text(st.sampled_from("=+-@'\t\r\n\0\x1b<>&\"{}%[]/\\:, ab\u202e\u2069\x9b"), max_size=12),
    st.text(max_size=12),
).filter(lambda name: not re.search("[\ud800-\udfff]", name))

CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def row(name: str, **columns: object) -> Score:
    return Score.model_validate({"clip": name, "critic": "sfm", "status": "ok", "loo_error": 0.25, "flow": -0.125, **columns})


@given(st.lists(names, min_size=1, max_size=6))
def test_a_table_holds_no_formula_and_gives_the_names_back(clips: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.csv"

        def write() -> list[dict[str, str]]:
            write_csv(path, [row(name, reason=name) for name in clips])
            with path.open(encoding="utf-8", newline="") as stream:
                return list(csv.DictReader(stream))

        def right(rows: list[dict[str, str]]) -> None:
            assert [cell_text(cells["clip"]) for cells in rows] == clips
            assert [cell_text(cells["reason"]) for cells in rows] == clips
            for cells in rows:
                assert not re.match(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]", cells["clip"])
                assert (cells["loo_error"], cells["flow"]) == ("0.25", "-0.125")  # numbers stay numbers

        attempt(KIND, write, expect="right result", check=right)


@given(names, names)
def test_every_cell_has_one_text(a: str, b: str) -> None:
    assert cell_text(text_cell(a)) == a
    assert (text_cell(a) == text_cell(b)) == (a == b)


class Elements(HTMLParser):
    """The elements of a page and their attributes, the texts apart."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def _page(name: str, folder: Path) -> str:
    cards = [ClipCard(row(name)), ClipCard(row(name, status="failed", loo_error=None, reason=name, details={"weights": name}))]
    path = folder / "report.html"
    write_score_report(path, cards, title=name)
    source = path.read_text(encoding="utf-8")
    return re.sub(r"<script>.*?</script>\n<script>", "<script></script>\n<script>", source, flags=re.DOTALL)  # plotly's own


@cache
def _plain_page() -> Elements:
    with tempfile.TemporaryDirectory() as folder:
        return Elements(_page("clip.mp4", Path(folder)))


@given(names)
def test_no_name_changes_the_elements_of_a_page(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain_page = _plain_page()

        def right(source: str) -> None:
            page = Elements(source)
            assert page.tags == plain_page.tags
            assert [attribute for attribute, _ in page.attributes] == [attribute for attribute, _ in plain_page.attributes]
            links = [value for attribute, value in page.attributes if attribute in ("href", "src", "action")]
            assert all(value.startswith(("#clip-", "data:")) for value in links)
            assert not CONTROLS.search(source)
            figure = json.loads(re.search(r'<script type="application/json">(.*?)</script>', source, re.DOTALL)[1])
            texts = [text for trace in figure["data"] for text in trace["text"]]
            assert not any("<" in text for text in texts)  # plotly reads texts as markup

        attempt("pages", lambda: _page(name, Path(folder)), expect="right result", check=right)


@given(names)
def test_a_picture_beside_a_page_is_linked_by_its_own_name_alone(name: str) -> None:
    """The only links out of the page lead to pictures whose names are hashes."""
    figure = json.loads(scatter({name: [Point(name, 0.1, 0.2, "clip-1")]}, x="flow", y="loo_error"))
    assert html.unescape(figure["data"][0]["text"][0]) == printable(name, line=True)
    assert "<" not in plain(name)


@given(names)
def test_terminals_show_controls_as_escapes(name: str) -> None:
    def show() -> str:
        stream = StringIO()
        console = Console(file=stream, width=400, color_system=None)
        console.print(score_table([row(name, reason=name)]))
        console.print(prompt_table([Prompt(prompt="a", text=name)]))
        console.print(compared(Comparison(base=name, critic="sfm", methods={}, unmatched={name: [name]})))
        return stream.getvalue()

    def right(text: str) -> None:
        assert not CONTROLS.search(text)
        if "\n" not in name and "\t" not in name:
            assert text.count(printable(name)) >= 4  # markup of rich is shown, not obeyed

    attempt("terminals", show, expect="right result", check=right)
    assert not re.search("[\n\t]", shown(name))


def test_no_output_replaces_a_device_a_pipe_a_link_or_a_folder(tmp_path: Path) -> None:
    """Files are written beside their place and renamed onto it, which would replace the device itself."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "kept.txt").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept.txt")
    places = [tmp_path / "pipe", tmp_path / "folder", tmp_path / "link", Path("/dev/null"), Path("/dev/full")]
    for place in places:
        before = place.lstat().st_mode
        attempt("outputs", lambda place=place: write_text(place, "x"), expect="clear sentence", names=str(place))
        attempt(
            "outputs",
            lambda place=place: write_score_report(place, [], title="x"),
            expect="clear sentence",
            names=str(place),
        )
        attempt(
            "outputs",
            lambda place=place: shell("prompts", "smoke-test", "--out", str(place)),
            expect="clear sentence",
            names=str(place),
        )
        assert place.lstat().st_mode == before
    assert (tmp_path / "kept.txt").read_text() == "kept"


@pytest.mark.parametrize("command", ["score", "compare", "run"])
def test_no_folder_of_results_replaces_a_device_or_a_file(command: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("kept")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for clip in ("a.mp4", "b.mp4"):
            (tmp_path / name / clip).write_text("no video")
    given_to = {
        "score": [str(tmp_path / "one")],
        "compare": [str(tmp_path / "one"), str(tmp_path / "two")],
        "run": ["smoke-test"],
    }
    for place in (tmp_path / "pipe", tmp_path / "file", Path("/dev/null")):
        before = place.lstat().st_mode
        call = [command, *given_to[command], "--out", str(place)]
        attempt("outputs", lambda call=call: shell(*call), expect="clear sentence", names=str(place))
        assert place.lstat().st_mode == before
    assert (tmp_path / "file").read_text() == "kept"
