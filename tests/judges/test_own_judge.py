"""A judge of another package: from the command to the table, and what is shown where its package is gone."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from attempts import run_shell

from videogpa.critics.cards import Card
from videogpa.findings import Comparison
from videogpa.judges.base import CannotJudge, JudgedClip
from videogpa.measures import Measure
from videogpa.registry import JUDGES, Plugin
from videogpa.report.judged import judged_lines
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.video import write_video


class DarkJudge:
    """Darkness, of which less is better."""

    CARDS = (Card(weights="owner/dark", licence="MIT", commercial=True, memory="none", paper="none", download="1 GB"),)
    MEASURES: Mapping[str, Measure] = {"dark": Measure("darkness", "lower", "how dark it is", of="judge")}
    READS_TEXT = False

    def __init__(self, weights: str, device: str = "auto") -> None:
        self.details = {"weights": weights}

    def judge(self, clip: JudgedClip) -> dict[str, float]:
        mean = float(torch.cat(list(clip.parts())).mean())
        if mean > 0.9:
            raise CannotJudge("it is white")
        if mean < 0.1:
            raise ZeroDivisionError("a defect of the judge")
        return {"dark": 1 - mean if mean < 0.6 else float("nan")}


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(vars(JUDGES), "_outside", ({"dark": Plugin(f"{__name__}:DarkJudge", "", "night 1.0")}, {}))
    (tmp_path / "weights").mkdir()
    for folder, shades in {"base": (0.3, 0.3, 0.0, 1.0, 0.7), "light": (0.5, 0.5, 0.5, 0.5, 0.5)}.items():
        for name, shade in zip("abcde", shades, strict=True):
            write_video(tmp_path / folder / f"{name}.mkv", torch.full((4, 3, 32, 32), shade), fps=8)
    return tmp_path


def test_its_rows_have_its_number_or_a_reason_and_one_defect_holds_up_no_other(clips: Path) -> None:
    ran = run_shell("judge", str(clips / "base"), "--judge", f"dark={clips / 'weights'}", "--out", str(clips / "out"))
    assert ran.status == 1  # a row with an error
    rows = {Path(row.clip).stem: row for row in manifests.judgements(RunFolder(clips / "out")).rows()}
    assert {name: row.status for name, row in rows.items()} == {
        "a": "ok",
        "b": "ok",
        "c": "error",
        "d": "declined",
        "e": "error",
    }
    assert rows["a"].numbers["dark"] == pytest.approx(0.7, abs=0.01)
    assert "ZeroDivisionError: a defect of the judge" in (rows["c"].reason or "")
    assert rows["d"].reason == "it is white"
    assert "finite number" in (rows["e"].reason or "")
    assert "darkness↓" in ran.out


def test_it_is_compared_in_its_own_direction_and_named_where_its_package_is_gone(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--judge", f"dark={clips / 'weights'}", "--frames", "4", "--out", str(clips / "out"))
    run_shell("compare", str(clips / "base"), str(clips / "light"), *given)
    found = Comparison.model_validate(json.loads((clips / "out/compare.json").read_text())).methods["light"]
    change = found.judges["dark"].changes["dark"]
    assert (change.clips, change.difference) == (2, pytest.approx(-0.2, abs=0.01))
    assert change.wins is not None
    assert (change.wins.wins, change.wins.losses) == (2, 0)
    (line,) = judged_lines({"light": found.judges})
    assert (line.heading, line.counts) == ("darkness↓", "2 / 0 / 0")

    monkeypatch.setitem(vars(JUDGES), "_outside", ({}, {}))
    (line,) = judged_lines({"light": found.judges})
    assert (line.heading, line.counts) == ("dark", "2 / 0 / 0")
    assert "not installed here" in line.meaning
