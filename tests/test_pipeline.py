"""The whole loop through the real command line: what it leaves behind. (Kills: tests/abuse/test_kills.py.)"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attempts import Ran, run_shell

from small_runs import OVERRIDES, content, same
from videogpa.maths.render import one_thread
from videogpa.storage.run_folder import FILES, FOLDERS

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "videogpa.cli"]


def start(folder: Path, *, largest_file: int = resource.RLIM_INFINITY) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "run", "smoke-test", "--out", str(folder), *OVERRIDES],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY)),
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # the pictures are small: a second thread only waits
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(folder: Path) -> None:
    """Run everything that is left to do, in this process: a new one takes seconds to import torch."""
    with one_thread():
        run = run_shell("run", "smoke-test", "--out", str(folder), *OVERRIDES)
    assert run.status == 0, run.err


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    finish(folder)
    return folder


def test_the_loop_leaves_the_run_folder_that_the_documentation_promises(uninterrupted: Path) -> None:
    promised = [
        "recipe.yaml",
        "prompts.jsonl",
        "clips.jsonl",
        "scores.jsonl",
        "pairs.jsonl",
        "latents.jsonl",
        "evaluation.json",
        "evaluation/base/diversity.jsonl",
    ]
    promised += ["train/metrics.jsonl", "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "report.html"]
    assert [name for name in promised if not (uninterrupted / name).is_file()] == []
    lines = {name: len((uninterrupted / name).read_text().splitlines()) for name in promised if name.endswith(".jsonl")}
    assert (lines["prompts.jsonl"], lines["clips.jsonl"], lines["scores.jsonl"], lines["pairs.jsonl"]) == (5, 6, 6, 3)
    assert lines["train/metrics.jsonl"] == 6
    findings = json.loads((uninterrupted / "evaluation.json").read_text())["critics"]["oracle"]
    assert findings["chose_pairs"] is True
    assert findings["base"] == findings["aligned"] == {"ok": 2}
    assert {"loo_error", "adherence", "flow"} <= set(findings["changes"])
    assert "motion" not in findings["changes"]  # the oracle's cameras are commanded
    assert findings["outcome"]["verdict"] == "too few prompts"
    assert findings["changes"]["loo_error"]["n"] == 2


def test_links_are_refused_under_every_name_that_a_run_writes(uninterrupted: Path) -> None:
    parts = [uninterrupted, *(uninterrupted / "evaluation").iterdir()]
    assert len(parts) == 3
    assert {path.name for part in parts for path in part.iterdir()} <= {*FOLDERS, *FILES}


def test_a_finished_run_does_nothing_again(uninterrupted: Path) -> None:
    made_anew = {".lock", ".videogpa", "report.html", "evaluation.json"}  # quick, and the same each time
    stamps = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*") if p.is_file() and p.name not in made_anew}
    before = content(uninterrupted)
    finish(uninterrupted)
    assert content(uninterrupted) == before
    assert [p for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp] == []


def test_the_best_candidates_are_kept(uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    done = run_shell("generate", str(run), "--keep-best-of", "2")
    assert done.status == 0, done.err
    assert "3 clips, the best of each prompt's candidates, in" in done.err

    rows = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    by_prompt: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        by_prompt.setdefault(row["clip"].split("/")[0], []).append((row["loo_error"], row["clip"]))
    assert len(by_prompt) == 3
    for prompt, scored in by_prompt.items():
        _, best = min(scored)
        assert {path.name for path in run.iterdir()} <= {*FOLDERS, *FILES}
        assert (run / f"best/{prompt}.mp4").read_bytes() == (run / f"clips/{best}.mp4").read_bytes()


@pytest.mark.parametrize(("largest_file", "made"), [(30_000, False), (3_000_000, True)])
def test_a_disk_that_takes_no_more_is_said_and_finished_work_is_kept(
    uninterrupted: Path, tmp_path: Path, largest_file: int, made: bool
) -> None:
    """A limit on the size of files stands in for a full disk: it is met while weights, or the report, are written."""
    run = tmp_path / "run"
    if made:  # all but the report
        shutil.copytree(uninterrupted, run)
        (run / "report.html").unlink()
    process = start(run, largest_file=largest_file)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert "Finished work is kept" in output
    assert "Traceback" not in output
    assert not (run / "report.html").exists()
    finish(run)
    assert same(run, uninterrupted)


def test_two_runs_in_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    first = start(tmp_path / "run")
    try:
        while not (tmp_path / "run" / "recipe.yaml").exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = run_shell("run", "smoke-test", "--out", str(tmp_path / "run"), *OVERRIDES)
        assert_one_message(second, "is being worked on by process")
    finally:
        first.kill()
        first.communicate()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "nowhere.yaml"], "no recipe at nowhere.yaml"),
        (["run", "smoke-test", "--set", "train.stepps=1"], "train.stepps: Extra inputs are not permitted"),
        (["score", "nothing.mp4"], "no video at nothing.mp4"),
        (["score", "."], "no video at .: the folder holds no video, and no pictures"),
        (["score", ".", "--frames", "1"], "frames: expected 2 or more frames, or all; got 1"),
        (["train", "smoke-test"], "run `videogpa encode` first"),
        (["run", "smoke-test", "--set", "generate.height=63"], "64"),
        (["run", "smoke-test", "--set", "model.path=./nowhere"], "nowhere"),
    ],
)
def test_what_is_the_users_to_mend_ends_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_message(run_shell(*arguments), complaint)


def test_a_program_that_fails_has_the_status_1_and_says_why_on_standard_error(tmp_path: Path) -> None:
    ended = subprocess.run([*COMMAND, "run", "nowhere.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.stdout == ""
    assert_one_message(Ran(ended.returncode, ended.stdout, ended.stderr), "no recipe at nowhere.yaml")


@pytest.mark.parametrize("where", ["/proc/nothing-can-be-written-here", "a-file/run"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.chdir(tmp_path)
    ran = run_shell("run", "smoke-test", "--out", where)
    assert_one_message(Ran(ran.status, ran.out, "".join(ran.err.split())), where.split("/")[-1])


def assert_one_message(ran: Ran, complaint: str) -> None:
    assert ran.status == 1
    assert complaint in " ".join(ran.err.split())
    assert "Traceback" not in ran.err
