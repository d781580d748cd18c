"""Voting in a real Chromium: a whole study by keys and mouse, kept over a reload, saved as a file, read by the program."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from browser import CHROMIUM, Tab

from videogpa.stages.compare import from_folders
from videogpa.study.answers import find_answers, read_answers, read_key
from videogpa.study.make import Sources, make
from videogpa.study.records import Key
from videogpa.study.serve import open_server
from videogpa.study.votes import SECOND, TIE, rater_of, votes_of
from videogpa.video import write_video

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]

LEVELS = """[...document.querySelectorAll('#stage canvas')].map((canvas) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  return data.filter((_, i) => i % 4 < 3).reduce((a, b) => a + b, 0) / (canvas.width * canvas.height * 3 * 255);
})"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of clips that a program can tell apart: the base's are dark, the other's light."""
    root = tmp_path_factory.mktemp("study")
    for number in range(3):
        for arm, level in (("base", 0.2), ("aligned", 0.7)):
            grey = torch.full((6, 3, 32, 48), level) + 0.02 * torch.arange(6)[:, None, None, None]
            write_video(root / arm / f"p{number}.mp4", grey, fps=20)
    make(Sources(from_folders([str(root / "base"), str(root / "aligned")])), root / "study", pairs=3, raters=2, seed=3)
    return root / "study"


def begin(tab: Tab, page: Path, rater: str) -> None:
    tab.open(page)
    tab.until("document.body.dataset.section == 'start'")
    tab.js("document.getElementById('code').focus()")
    tab.type(rater)
    tab.press("Enter")


def at(tab: Tab, trial: int) -> None:
    tab.until(f"document.body.dataset.trial == '{trial}' && document.querySelector('#stage .player')?.dataset.drawn > ''")


def saved(tab: Tab) -> str:
    """The text of the file that the button saves, which the test's browser shows in place of saving it."""
    tab.js(
        "window.blobs = []; URL.createObjectURL = (blob) => { window.blobs.push(blob); return 'data:,'; };"
        "HTMLAnchorElement.prototype.click = function () { window.named = this.download; }"
    )
    tab.click("document.getElementById('save')")
    text: str = tab.js("window.blobs[0].text()")
    return text


def test_a_whole_study_is_voted_by_keys_and_read(tab: Tab, folder: Path, tmp_path: Path) -> None:
    key: Key = read_key(folder)
    rater, plan = next(iter(key.raters.items()))
    begin(tab, folder / "page/study.html", rater)
    for number, trial in enumerate(plan):
        at(tab, number)
        item = key.items[trial.item]
        left, right = tab.js(LEVELS)
        if not item.is_check:  # the light clip is the aligned one: the page shows on each side what the key says
            assert (left > right + 0.2) == (item.arms[trial.left] == "aligned")
        better = item.arms[trial.left] != "scrambled" if item.is_check else item.arms[trial.left] == "aligned"
        wanted = "1" if better else "3"
        time.sleep(0.35)  # the clips last 0.3 s
        assert tab.js("document.getElementById('next').disabled")
        tab.press(wanted)
        tab.press("2" if not item.is_check else wanted)
        tab.until("!document.getElementById('next').disabled")
        if number == 1:  # a reload loses nothing
            begin(tab, folder / "page/study.html", rater)
            at(tab, 2)
            continue
        tab.press("Enter")
    tab.until("document.body.dataset.section == 'end'")
    (tmp_path / "answers.json").write_text(saved(tab))
    assert tab.js("window.named") == f"answers-{key.study}-{rater}.json"
    answers = read_answers([tmp_path / "answers.json"], key)
    assert {vote.outcome for vote in votes_of(key, answers, "space")} == {SECOND}
    assert {vote.outcome for vote in votes_of(key, answers, "overall")} == {TIE}
    found = rater_of(key, answers[0])
    assert found.left_out is None
    assert (found.right, found.checks, found.same, found.repeated) == (4, 4, 2, 2)
    assert found.seen == 1.0
    assert all(address.startswith(("data:", "file:")) for address in tab.fetched)


def test_the_mouse_answers_takes_back_and_goes_back_and_haste_is_noticed(tab: Tab, folder: Path) -> None:
    key = read_key(folder)
    rater = list(key.raters)[1]
    begin(tab, folder / "page/study.html", "nobody")
    tab.until("!document.getElementById('wrong').hidden")
    tab.js("document.getElementById('code').value = ''")
    tab.type(rater)
    tab.press("Enter")
    for number in range(2):
        at(tab, number)
        for name in ("space", "overall"):
            tab.click(f"document.querySelector('[data-question={name}] [data-choice=left]')")
        tab.click("document.getElementById('next')")
    at(tab, 2)
    tab.press("Backspace")  # nothing is answered here: back to the pair before
    at(tab, 1)
    tab.press("Backspace")
    tab.until("document.getElementById('next').disabled")
    tab.press("3")
    tab.until("!document.getElementById('next').disabled")
    kept = json.loads(tab.js(f"localStorage.getItem('videogpa-study {key.study} {rater}')"))
    assert kept["given"]["0"]["choices"] == {"space": "left", "overall": "left"}
    assert kept["given"]["1"]["choices"] == {"space": "left", "overall": "right"}
    assert 0 < kept["given"]["0"]["seconds"] < 30


@contextmanager
def being_served(folder: Path, port: int) -> Iterator[int]:
    with open_server(folder, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_votes_are_sent_to_the_server_and_those_that_it_missed_once_it_is_back(
    browser: Tab, folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "study"))
    key = read_key(copy)
    rater = list(key.raters)[1]

    def vote(trial: int) -> None:
        at(browser, trial)
        for _ in range(2):
            browser.press("1")
        browser.press("Enter")

    def kept() -> int:
        return len(read_answers(find_answers([copy]), key, unfinished=True)[0].answers)

    with being_served(copy, 0) as port:
        browser.open(f"http://127.0.0.1:{port}/{key.study}/#{rater}")  # the code is filled in
        browser.until("document.body.dataset.section == 'start'")
        browser.click("document.querySelector('#enter button')")
        vote(0)
        browser.until("document.body.dataset.said == '1 answer has arrived'")
        assert kept() == 1
    vote(1)
    browser.until("document.body.dataset.said?.includes('cannot be reached')", seconds=20)
    vote(2)
    assert kept() == 1
    with being_served(copy, port):
        browser.until("document.body.dataset.said == '3 answers have arrived'", seconds=20)
        assert kept() == 3


def test_the_page_fits_a_desktop_and_a_phone(tab: Tab, folder: Path) -> None:
    rater = next(iter(read_key(folder).raters))
    for width, height, mobile in ((1280, 800, False), (390, 844, True), (844, 390, True)):
        tab.resize(width, height, mobile=mobile)
        begin(tab, folder / "page/study.html", rater)
        tab.until("document.body.dataset.section != 'start'")
        assert tab.js("document.documentElement.scrollWidth") == width
        tab.js("localStorage.clear()")
