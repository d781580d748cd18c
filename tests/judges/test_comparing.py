"""What judges say of two models: wins and ties by hand, and the way from `compare` and `evaluate` to the table and the page."""

import csv
import io
import json
from pathlib import Path

import pytest
import torch
from attempts import run_shell
from judge_toys import clip_folder, reward_folder, vit_folder

from small_runs import OVERRIDES
from videogpa.findings import Change, Comparison, Evaluation, Wins, changes_by_name
from videogpa.records import Judgement, Score
from videogpa.report.verdict import headline
from videogpa.stages.judged import compare_judgements
from videogpa.stages.paired import compare_scores
from videogpa.stages.table import table
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.video import write_video


def rows(values: dict[str, float | None], judge: str = "aesthetic", number: str = "aesthetic_quality") -> list[Judgement]:
    return [
        Judgement(clip=clip, judge=judge, status="declined", reason="why")
        if value is None
        else Judgement(clip=clip, judge=judge, status="ok", numbers={number: value})
        for clip, value in values.items()
    ]


def test_wins_ties_and_losses_are_counted_by_clip_and_their_share_is_over_prompts() -> None:
    base = rows({"p/0": 0.5, "p/1": 0.5, "p/2": 0.5, "q/0": 0.5, "q/1": 0.5, "r/0": None})
    other = rows({"p/0": 0.6, "p/1": 0.5 + 1e-7, "p/2": 0.4, "q/0": 0.7, "q/1": None, "r/0": 0.9})
    found = compare_judgements(base, other)["aesthetic"]
    change = found.changes["aesthetic_quality"]
    assert (found.base, found.aligned) == ({"declined": 1, "ok": 5}, {"declined": 1, "ok": 5})
    assert (change.n, change.clips) == (2, 4)
    assert change.difference == pytest.approx((1e-7 / 3 + 0.2) / 2)
    assert change.wins == Wins(wins=2, ties=1, losses=1, share=0.75, low=0.5, high=1.0)  # of p a half, of q all
    assert compare_judgements(base, rows({"p/0": 0.6}))["aesthetic"].changes == {}  # one prompt has no interval


def judged(wins: dict[str, float], *, prompts: int = 12) -> dict[str, Change]:
    """The changes of numbers, of which the aligned model wins those shares of the prompts by far."""
    judges = {"vq": "videoreward", "ovl": "videoreward", "subject_consistency": "dino"}
    changes: dict[str, Change] = {}
    for number, share in wins.items():
        base = rows({f"p{i}/0": 0.0 for i in range(prompts)}, judges[number], number)
        other = rows({f"p{i}/0": 1.0 if i < share * prompts else -1.0 for i in range(prompts)}, judges[number], number)
        changes |= changes_by_name(compare_judgements(base, other))
    return changes


def verdict(judged: dict[str, Change], prompts: int = 12) -> str:
    before, after = (
        [Score(clip=f"p{i}/0", critic="sfm", status="ok", loo_error=error * (1 + 0.01 * i), flow=0.02) for i in range(prompts)]
        for error in (0.3, 0.2)
    )
    outcome = compare_scores(before, after, judged=judged).outcome
    assert outcome is not None
    return headline("sfm", outcome)


def test_a_gain_that_a_judge_likes_less_is_paid_for_with_quality() -> None:
    assert "better geometry at equal motion" in verdict({})
    assert "better geometry at equal motion" in verdict(judged({"vq": 0.75, "ovl": 0.5}))
    assert "paid for with quality (visual quality (VQ): wins 17 % [" in verdict(judged({"vq": 1 / 6, "ovl": 0.5}))
    assert "better geometry at equal motion" in verdict(judged({"vq": 5 / 12}))  # which may be chance
    assert "better geometry at equal motion" in verdict(judged({"subject_consistency": 0.0}))  # where more moves, it is less


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vit_folder(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, dino: Path) -> Path:
    """Clips of noise against the same clips standing still, with the judges dino, aesthetic and videoreward."""
    into = tmp_path_factory.mktemp("compared")
    texts = []
    for name in "ab":
        noise = torch.rand(6, 3, 48, 64, generator=torch.Generator().manual_seed(ord(name)))
        write_video(into / f"moving/{name}.mkv", noise, fps=8)
        write_video(into / f"still/{name}.mkv", noise[:1].repeat(6, 1, 1, 1), fps=8)
        texts.append({"id": name, "text": f"the noise {name}"})
    (into / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    reward = reward_folder(into / "reward")
    ran = run_shell(
        *("compare", str(into / "moving"), str(into / "still"), "--frames", "4", "--out", str(into / "out")),
        *("--judge", f"dino={dino}", "--judge", f"videoreward={reward}", "--judge", f"aesthetic={clip_folder(into / 'clip')}"),
        *("--prompts", str(into / "prompts.jsonl")),
    )
    assert ran.status == 0, ran.err
    (into / "shown.txt").write_text(ran.out)
    return into


def test_a_comparison_holds_what_judges_say(compared: Path) -> None:
    found = Comparison.model_validate(json.loads((compared / "out/compare.json").read_text())).methods["still"]
    dino = found.judges["dino"].changes["subject_consistency"]
    assert dino.wins == Wins(wins=2, ties=0, losses=0, share=1.0, low=1.0, high=1.0)
    assert dino.aligned == pytest.approx(1, abs=1e-4)
    reward = found.judges["videoreward"].changes
    assert reward["ovl"].difference == pytest.approx(sum(reward[key].difference for key in ("vq", "mq", "ta")), abs=1e-9)
    rows = manifests.judgements(RunFolder(compared / "out")).rows()
    assert len(rows) == 12
    assert {row.status for row in rows} == {"ok"}
    shown = (compared / "shown.txt").read_text()
    assert "still against the base, by dino, videoreward, aesthetic" in " ".join(shown.split())
    line = next(line for line in shown.splitlines() if "subject↑" in line)
    assert [cell.strip() for cell in line.split("│")[4:6]] == ["2 / 0 / 0", "100 % [100, 100]"]


def test_the_page_has_a_table_of_the_judges(compared: Path) -> None:
    page = (compared / "out/compare.html").read_text()
    assert ">still, judge videoreward, 2 prompts</th>" in page
    assert "<td>2 / 0 / 0</td><td>100 % [100, 100]</td>" in page


def test_the_table_for_a_paper_has_vq_mq_ta_and_ovl_with_the_share_of_wins(compared: Path) -> None:
    text = table(compared / "out", "markdown")
    assert "| VQ↑ | MQ↑ | TA↑ | OVL↑ |" in text
    still = next(line for line in text.splitlines() if line.startswith("| still"))
    assert "(wins " in still
    own = table(compared / "out", "csv", ["subject_consistency"])
    (row,) = csv.DictReader(io.StringIO(own))
    counts = [row[key] for key in ("wins", "ties", "losses", "win_share", "win_low", "win_high")]
    assert counts == ["2", "0", "0", "1.0", "1.0", "1.0"]
    assert r"VQ$\uparrow$" in table(compared / "out", "latex", ["vq", "flow"])


def test_a_prompt_belongs_to_the_clip_of_its_id_and_a_new_text_is_judged_anew(compared: Path, tmp_path: Path) -> None:
    reward, clip = compared / "reward", str(compared / "moving/a.mkv")

    def numbers(text: str, id: str = "moving") -> dict[str, float]:
        (tmp_path / "p.jsonl").write_text(json.dumps({"id": id, "text": text}) + "\n")
        ran = run_shell(
            *("judge", clip, "--judge", f"videoreward={reward}"),
            *("--prompts", str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "out")),
        )
        assert ran.status == 0, ran.err
        (row,) = manifests.judgements(RunFolder(tmp_path / "out")).rows()
        return row.numbers

    first = numbers("one")
    assert numbers("two") != first
    assert numbers("one", id="a") == first  # by the file's name as well
    (tmp_path / "p.jsonl").write_text('{"id": "other", "text": "x"}\n')
    ran = run_shell("judge", clip, "--judge", f"videoreward={reward}", "--prompts", str(tmp_path / "p.jsonl"))
    assert ran.status == 1
    assert "has a text of none of the clips" in " ".join(ran.err.split())


@pytest.mark.slow
def test_a_run_asks_its_judges_and_goes_on_where_they_were(dino: Path, tmp_path: Path) -> None:
    command = ("run", "smoke-test", *OVERRIDES, "--set", f"evaluate.judges.dino={dino}", "--out", str(tmp_path / "run"))
    ran = run_shell(*command)
    assert ran.status == 0, ran.err
    evaluation = Evaluation.model_validate(json.loads((tmp_path / "run/evaluation.json").read_text()))
    change = evaluation.judges["dino"].changes["subject_consistency"]
    assert change.n == 2
    assert change.wins is not None
    folders = [RunFolder(tmp_path / "run/evaluation" / name) for name in ("base", "aligned")]
    rows = [row for folder in folders for row in manifests.judgements(folder).rows()]
    assert [row.status for row in rows] == ["ok"] * 4
    assert "aligned against the base, by dino" in ran.out + ran.err
    assert ">aligned, judge dino, 2 prompts</th>" in (tmp_path / "run/report.html").read_text()
    assert run_shell("evaluate", str(tmp_path / "run")).status == 0  # the recipe of the run names the judge
    assert [row for folder in folders for row in manifests.judgements(folder).rows()] == rows


def test_missing_weights_of_a_judge_end_a_run_before_its_work(tmp_path: Path) -> None:
    ran = run_shell(
        *("run", "smoke-test", *OVERRIDES, "--out", str(tmp_path / "run")),
        *("--set", f"evaluate.judges={{dino: {tmp_path / 'gone'}}}"),
    )
    assert ran.status == 1
    assert f"no weights at {tmp_path / 'gone'}" in " ".join(ran.err.split())
    assert not (tmp_path / "run/prompts.jsonl").exists()
