"""Clips of several methods against each other, without a run: how they are matched, and what is compared."""

import csv
import inspect
import json
import math
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from attempts import run_shell

import videogpa
from videogpa.cli import commands
from videogpa.config import ScoreConfig
from videogpa.errors import InvalidInput, MissingInput
from videogpa.findings import Change, Comparison
from videogpa.records import Scene, Score
from videogpa.report.tables import write_csv
from videogpa.stages.compare import Methods, compare, from_csv, from_folders, from_prompts, relative_change
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.video import write_video
from videogpa.world.failures import Failure, render_failing


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_matched_by_the_path_below_them_whatever_the_suffix(tmp_path: Path):
    _touch(*(tmp_path / name for name in ("base/a/1.mp4", "base/b.mp4", "new/a/1.webm", "new/b.mp4", "new/c.mp4")))
    methods = from_folders([str(tmp_path / "base"), str(tmp_path / "new")])
    assert methods.base == "base"
    assert methods.matched("new") == ["a/1", "b"]
    assert methods.clips["new"]["a/1"] == tmp_path / "new/a/1.webm"


def test_methods_in_folders_of_one_name_are_told_apart_by_their_parents(tmp_path: Path):
    _touch(tmp_path / "one/clips/a.mp4", tmp_path / "two/clips/a.mp4")
    assert list(from_folders([str(tmp_path / "one/clips"), str(tmp_path / "two/clips")]).clips) == ["one/clips", "two/clips"]


def test_a_folder_per_prompt_holds_a_file_per_method(tmp_path: Path):
    _touch(*(tmp_path / name for name in ("p/base.mp4", "p/new.mp4", "q/base.mp4", "q/new.mp4", "r/new.mp4")))
    methods = from_prompts(str(tmp_path), "base")
    assert list(methods.clips) == ["base", "new"]
    assert methods.matched("new") == ["p", "q"]
    with pytest.raises(MissingInput, match="one of: base, new"):
        from_prompts(str(tmp_path), "reference")


def test_a_table_has_a_column_per_method_and_paths_relative_to_it(tmp_path: Path):
    _touch(tmp_path / "x.mp4", tmp_path / "y.mp4")
    table = tmp_path / "pairs.csv"
    table.write_text("base, new\nx.mp4, y.mp4\n\ny.mp4,x.mp4\n", encoding="utf-8-sig")
    assert from_csv(str(table)).clips["new"] == {"line 2": tmp_path / "y.mp4", "line 3": tmp_path / "x.mp4"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a first line"),
        ("base\nx.mp4\n", "expected a first line"),
        ("base,base\nx.mp4,y.mp4\n", "each once"),
        ("base,new\nx.mp4\n", "line 2: expected 2 cells"),
        ("base,new\nx.mp4,gone.mp4\n", "line 2: no clip at .*gone.mp4"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, text: str, says: str):
    _touch(tmp_path / "x.mp4")
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises((InvalidInput, MissingInput), match=says):
        from_csv(str(tmp_path / "pairs.csv"))


def test_what_has_no_partner_is_said_with_the_names(tmp_path: Path):
    _touch(*(tmp_path / name for name in ("base/a.mp4", "base/b.mp4", "new/a.mp4", "new/c.mp4")))
    with pytest.raises(InvalidInput, match=r"of new 1 clip can .* new has a, c; base has a, b"):
        videogpa.compare([tmp_path / "base", tmp_path / "new"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _rows(errors: dict[str, float | None]) -> list[Score]:
    return [
        Score(clip=clip, critic="sfm", status="failed" if error is None else "ok", loo_error=error)
        for clip, error in errors.items()
    ]


def test_the_geometric_change_is_that_of_the_mean_logarithm_over_prompts():
    base = _rows({"p/0": 0.1, "p/1": 0.4, "q/0": 0.2, "r/0": 0.3})
    other = _rows({"p/0": 0.2, "p/1": 0.8, "q/0": 0.1, "r/0": None})
    found = relative_change(base, other)
    assert found is not None
    assert found.change == pytest.approx(math.sqrt(2 * 0.5) - 1, abs=1e-12)  # p doubles, q halves
    assert found.low == pytest.approx(-0.5)
    assert found.high == pytest.approx(1.0)
    assert relative_change(base, _rows({"p/0": 0.2})) is None


def test_clips_of_the_world_from_the_command_to_the_page(tmp_path: Path):
    for number in (0, 1):
        scene = Scene(seed=number, camera="truck-right", frames=9, height=32, width=32, style="plain")
        for name, failure in {"base": Failure(kind="vanish", strength=1.0), "good": None}.items():
            write_video(tmp_path / f"c/{number}/{name}.mp4", render_failing(scene, failure), fps=8)
    write_video(tmp_path / "c/alone/good.mp4", torch.rand(9, 3, 64, 64), fps=8)
    ran = run_shell(
        *("compare", str(tmp_path / "c"), "--by-file", "--critic", "vggt", "--weights", "tiny:vggt", "--frames", "9"),
        *("--window", "8", "--overlap", "4", "--anchors", "4"),
        *("--out", str(tmp_path / "out")),
    )
    assert ran.status == 0, ran.err
    found = Comparison.model_validate(json.loads((tmp_path / "out/compare.json").read_text()))
    scores = {row.clip: row for row in manifests.scores(RunFolder(tmp_path / "out")).rows()}
    errors = torch.tensor(
        [[scores[str(tmp_path / f"c/{n}/{name}.mp4")].loo_error for name in ("base", "good")] for n in (0, 1)]
    )
    means = errors.double().log().mean(0)
    assert found.methods["good"].geometric.change == pytest.approx((means[1] - means[0]).exp().item() - 1, abs=1e-6)
    assert found.methods["good"].findings.outcome.verdict == "too few prompts"
    assert found.unmatched == {"base": [], "good": ["alone"]}
    assert all(row.join_error is not None for row in scores.values())  # each was reconstructed in windows
    assert len(scores) == 4  # a clip without a partner is not scored
    assert (tmp_path / "out/compare.html").read_text().count("<canvas") == 4  # two clips of two methods
    assert "alone" in ran.out
    assert "fewer than 10 prompts" in " ".join(ran.out.split())


def test_clips_in_one_folder_can_be_samples_of_one_prompt():
    methods = Methods({"a": {"p/0": Path("x"), "p/1": Path("y")}, "b": {"p/0": Path("z")}})
    assert methods.matched("b") == ["p/0"]


def test_how_much_the_samples_of_a_prompt_differ_is_compared(tmp_path: Path) -> None:
    for number, (method, prompt, sample) in enumerate(product(("base", "narrow"), "pq", "01")):
        seed = number if method == "base" else ord(prompt)  # of one method all samples are the same
        noise = torch.rand(6, 3, 48, 64, generator=torch.Generator().manual_seed(seed))
        write_video(tmp_path / method / prompt / f"{sample}.mkv", noise, fps=8)
    methods = from_folders([str(tmp_path / "base"), str(tmp_path / "narrow")])

    def changes() -> dict[str, Change]:
        found = compare(methods, ScoreConfig(critic="sfm", frames=4), tmp_path / "out", by_folder=True)
        return found.methods["narrow"].findings.changes

    first = changes()
    assert first["diversity"].aligned == pytest.approx(0, abs=1e-6)
    assert first["diversity"].base > 0.05
    assert (first["diversity"].n, first["vendi"].aligned) == (2, pytest.approx(1))
    assert first["vendi"].base > 1.05
    rows = manifests.diversity(RunFolder(tmp_path / "out")).rows()
    assert [(row.prompt, row.clips) for row in rows] == [(f"{m}: {p}", 2) for m in ("base", "narrow") for p in "pq"]
    assert changes() == first


def test_a_table_names_clips_as_scores_csv_does(tmp_path: Path) -> None:
    """Also those whose names hold line breaks, or would be formulas and stand after an apostrophe."""
    names = ["=a.mp4", "'-b.mp4", "c\rd.mp4", "e\nf.mp4", "g\u2028h.mp4", 'i"j,k.mp4']
    for name in names:
        (tmp_path / name).touch()
    write_csv(tmp_path / "scores.csv", [Score(clip=name, critic="sfm", status="ok") for name in names])
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as stream:
        cells = [row["clip"] for row in csv.DictReader(stream)]
    with (tmp_path / "clips.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["base", "other"], *([cell, cell] for cell in cells)])
    clips = from_csv(str(tmp_path / "clips.csv")).clips
    assert [path.name for path in clips["base"].values()] == names


def test_compare_has_the_flags_of_score_with_the_same_defaults_and_words():
    """Also those that `score` will have: what decides a score can be said wherever clips are scored.

    `shots` decides which rows a file has: the shots of two methods' clips are cut at different frames, and have no partners.
    """
    others = ("paths", "out", "shots")

    def flags(function: Callable[..., object]) -> dict[str, tuple[object, object, str]]:
        said = dict(re.findall(r"^        (\w+): (.*?)(?=^        \w+: |\n\n)", function.__doc__, re.DOTALL | re.MULTILINE))
        given = inspect.signature(function).parameters.values()
        return {each.name: (each.default, each.annotation, said[each.name]) for each in given if each.name not in others}

    assert flags(commands.score_files).items() <= flags(commands.compare).items()
    assert len(flags(commands.score_files)) >= 11


def test_the_paper_has_its_own_number_of_frames(tmp_path: Path):
    ran = run_shell("compare", str(tmp_path), str(tmp_path), "--critic", "vggt", "--paper", "--frames", "5")
    assert ran.status == 1
    assert "the paper judges 10 frames" in ran.err
