"""The tables for a paper: what stands in their cells, and that LaTeX and spreadsheets can read them."""

import csv
import io
from pathlib import Path

import pytest
from attempts import run_shell

from videogpa.errors import InvalidInput, MissingInput
from videogpa.findings import BestOf, Change, Comparison, CriticFindings, Evaluation, MethodFindings
from videogpa.stages.table import table


def findings(**changes: tuple[float, float]) -> CriticFindings:
    """Means of base and method by measure; intervals are as wide as half the change to each side."""
    found = {
        name: Change(
            base=base, aligned=aligned, difference=aligned - base, low=1.5 * (aligned - base), high=0.5 * (aligned - base),
            win_rate=0.75, n=12, clips=24, verdict="better",
        )
        for name, (base, aligned) in changes.items()
    }  # fmt: skip
    return CriticFindings(chose_pairs=False, base={"ok": 24}, aligned={"ok": 24}, changes=found, outcome=None)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    better = findings(error_3dcs=(0.2, 0.15), flow=(0.02, 0.021), loo_error=(0.1, 0.08))
    best = BestOf(
        model="base", candidates=2, chosen_by="vggt", measure="loo_error", critics={"sfm": findings(error_3dcs=(0.2, 0.19))}
    )
    evaluation = Evaluation(critics={"sfm": better, "da3": findings(psnr=(20.0, 21.0))}, best_of=(best,))
    (tmp_path / "evaluation.json").write_text(evaluation.model_dump_json())
    return tmp_path


def test_markdown_has_means_and_changes_with_their_intervals(run: Path) -> None:
    lines = table(run, "markdown").splitlines()

    assert lines[:4] == [
        "Critic sfm:",
        "",
        "| method | prompts | 3DCS error↓ | optical flow |",
        "|---|---:|---:|---:|",
    ]
    assert lines[4] == "| base |  | 0.200 | 0.0200 |"
    assert lines[5] == "| aligned | 12 | 0.150 (−25.0 % [−37.5, −12.5]) | 0.0210 (+5.0 % [+7.5, +2.5]) |"
    assert lines[6] == "| base, best of 2 by vggt | 12 | 0.190 (−5.0 % [−7.5, −2.5]) |  |"
    assert "Critic da3:" in lines
    assert "| aligned | 12 | 21.0 (+5.0 % [+7.5, +2.5]) |" in lines


def test_latex_escapes_what_it_would_read_as_commands(tmp_path: Path) -> None:
    methods = {r"50%_\input{x}": MethodFindings(findings=findings(psnr=(20.0, 19.0)), clips=24, geometric=None)}
    found = Comparison(base="a&b", critic="sfm", methods=methods, unmatched={})
    (tmp_path / "compare.json").write_text(found.model_dump_json())

    text = table(tmp_path, "latex")
    assert r"50\%\_\textbackslash{}input\{x\} & 12 & 19.0 ($-$5.0 \% [$-$7.5, $-$2.5]) \\" in text
    assert r"a\&b &  & 20.0 \\" in text
    assert r"PSNR$\uparrow$" in text
    assert text.count("{tabular}") == 2


def test_csv_has_a_row_for_each_method_and_measure(run: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(table(run, "csv", ["loo_error", "psnr"]))))

    assert [(row["critic"], row["method"], row["measure"]) for row in rows] == [
        ("sfm", "aligned", "loo_error"),
        ("da3", "aligned", "psnr"),
    ]
    assert (float(rows[0]["base_mean"]), float(rows[0]["mean"]), rows[0]["n"]) == (0.1, 0.08, "12")


def test_what_cannot_be_shown_says_why(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="json compares none of jerk; it has: error_3dcs, flow, loo_error, psnr"):
        table(run, "markdown", ["jerk"])
    with pytest.raises(ValueError, match="beauty"):
        table(run, "markdown", ["beauty"])
    with pytest.raises(MissingInput, match=r"neither evaluation\.json nor compare\.json"):
        table(tmp_path / "elsewhere", "markdown")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/compare.json").write_text('{"base": 1}')
    with pytest.raises(InvalidInput, match="is damaged"):
        table(tmp_path / "broken", "markdown")


def test_the_command_prints_lines_as_they_are_and_writes_them(run: Path) -> None:
    shown = run_shell("table", str(run), "--measures", "error_3dcs", "flow", "loo_error")
    written = run_shell("table", str(run), "--format", "csv", "--out", str(run / "table.csv"))

    assert shown.status == written.status == 0, (shown.err, written.err)
    line = "| aligned | 12 | 0.150 (−25.0 % [−37.5, −12.5]) | 0.0210 (+5.0 % [+7.5, +2.5]) | 0.080 (−20.0 % [−30.0, −10.0]) |"
    assert line in shown.out.splitlines()
    assert (run / "table.csv").read_text() == table(run, "csv")
