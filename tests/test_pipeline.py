"""The whole loop through the real command line: what it leaves behind, and that killing it changes nothing."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "videogpa.cli"]
SMALL = {
    "prompts.world": "{train: 3, held_out: 2, frames: 9, height: 32, width: 32}",
    "generate": "{candidates: 2, frames: 9, height: 32, width: 32, fps: 8, num_inference_steps: 2, guidance_scale: 1.0}",
    "score.frames": "9",
    "pair.keep_motion": "0.0",  # two clips of noise a prompt: the better one may well be the calmer one
    "train": "{steps: 6, batch_size: 1, gradient_accumulation_steps: 2, learning_rate: 1.0e-3, warmup_steps: 1, "
    "lora_rank: 4, lora_alpha: 8, checkpoint_every: 1, "
    "trackers: []}",
    "evaluate": "{critics: [oracle], seeds: 1}",
}
OVERRIDES = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
KILLS = 20 if os.environ.get("ABUSE_TABLE") else 8  # `make abuse` kills twenty times


def start(folder: Path, *, largest_file: int = resource.RLIM_INFINITY) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "run", "smoke-test", "--out", str(folder), *OVERRIDES],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY)),
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # the pictures are small: a second thread only waits
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


CLOCK = {"seconds", "pairs_per_second", "memory_gib"}  # what a row tells of the machine


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def content(folder: Path) -> dict[str, bytes]:
    """Everything a run leaves behind, without the clock's readings and what only the training itself reads."""
    files = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(file.relative_to(folder))
        if file.suffix == ".jsonl":
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            files[name] = "\n".join(json.dumps({k: v for k, v in row.items() if k not in CLOCK}) for row in rows).encode()
        elif name not in {".lock", ".videogpa"}:
            files[name] = file.read_bytes()
    return files


def progress(folder: Path) -> int:
    """Count what a run has left so far: files, and rows of manifests."""
    count = 0
    for root, _, files in os.walk(folder):  # unlike Path.rglob, passes over what vanishes as it looks
        count += len(files)
        for file in files:
            if file.endswith(".jsonl"):
                with suppress(FileNotFoundError):
                    count += Path(root, file).read_bytes().count(b"\n")
    return count


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    finish(start(folder))
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


def test_a_finished_run_does_nothing_again(uninterrupted: Path) -> None:
    made_anew = {".lock", ".videogpa", "report.html", "evaluation.json"}  # quick, and the same each time
    stamps = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*") if p.is_file() and p.name not in made_anew}
    before = content(uninterrupted)
    finish(start(uninterrupted))
    assert content(uninterrupted) == before
    assert [p for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp] == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(uninterrupted: Path, tmp_path: Path) -> None:
    """kill -9 at random, KILLS times, then once to the end: nothing lost, doubled or different."""
    moments, kills, folder = random.Random(0), 0, tmp_path / "run-0"
    while kills < KILLS:
        if killed(folder, moments):
            kills += 1
        else:  # it came to its end before the next kill: the others go to another run
            assert same(folder, uninterrupted)
            folder = tmp_path / f"run-{kills}"
    finish(start(folder))
    assert same(folder, uninterrupted)


def killed(folder: Path, moments: random.Random) -> bool:
    """Let a run go on for one to three more files or rows and a moment, then kill it. False if it ended by itself."""
    process = start(folder)
    target = progress(folder) + moments.randint(1, 3)
    while progress(folder) < target:
        if process.poll() is not None:
            finish(process)
            return False
        time.sleep(0.005)
    time.sleep(moments.uniform(0, 0.2))
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def same(folder: Path, reference: Path) -> bool:
    """Whether two runs left the same files with the same content; shows how they differ."""
    mine, theirs = content(folder), content(reference)
    assert set(mine) == set(theirs)
    assert [name for name in theirs if mine[name] != theirs[name]] == []
    return True


@pytest.mark.parametrize("largest_file", [30_000, 100_000, 3_000_000])
def test_a_disk_that_takes_no_more_is_said_and_finished_work_is_kept(
    uninterrupted: Path, tmp_path: Path, largest_file: int
) -> None:
    """A limit on the size of files stands in for a full disk: it is met while weights, an adapter, the report are written."""
    process = start(tmp_path / "run", largest_file=largest_file)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert "Finished work is kept" in output
    assert "Traceback" not in output
    finish(start(tmp_path / "run"))
    assert same(tmp_path / "run", uninterrupted)


def test_two_runs_in_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    first = start(tmp_path / "run")
    try:
        while not (tmp_path / "run" / "recipe.yaml").exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = start(tmp_path / "run")
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "is being worked on by process" in output
        assert "Traceback" not in output
    finally:
        first.kill()
        first.communicate()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "nowhere.yaml"], "no recipe at nowhere.yaml"),
        (["run", "smoke-test", "--set", "train.stepps=1"], "train.stepps: Extra inputs are not permitted"),
        (["score", "nothing.mp4"], "no video at nothing.mp4"),
        (["score", "."], "no video at .: the folder holds none"),
        (["score", ".", "--frames", "1"], "frames: expected 2 or more frames, or all; got 1"),
        (["train", "smoke-test"], "run `videogpa encode` first"),
        (["run", "smoke-test", "--set", "generate.height=63"], "64"),
        (["run", "smoke-test", "--set", "model.path=./nowhere"], "nowhere"),
    ],
)
def test_what_is_the_users_to_mend_ends_with_one_message(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert complaint in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("where", ["/proc/nothing-can-be-written-here", "a-file/run"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, where: str) -> None:
    (tmp_path / "a-file").touch()
    done = subprocess.run([*COMMAND, "run", "smoke-test", "--out", where], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert where.split("/")[-1] in "".join(done.stderr.split())
    assert "Traceback" not in done.stderr
