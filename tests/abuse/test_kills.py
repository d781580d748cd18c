"""Every stage killed at random moments: it ends as if it had not been, no process is left, and no file beside the run.

A command runs in a process of its own session, started by `kill_server.py`, and is killed at one of the calls with which it
changes the folder, or up to half a second later. Killed in that way once or several times, it is run to its end.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import attempts
import psutil
import pytest

from small_runs import OVERRIDES, content, same

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MANY = attempts.TABLE is not None
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT}
SERVER = Path(__file__).with_name("kill_server.py")
NOT_OURS = {"torchinductor_root"}
"""What torch makes in the folder for temporary files when it is imported: one folder for all processes of a user."""
PATIENCE = 5  # seconds until what was ended is gone


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@dataclass
class Server:
    """Starts commands, and says how they ended and what they left."""

    process: "subprocess.Popen[str]"
    temporary: Path
    """The folder for temporary files of all that it starts."""
    log: Path
    shared_memory: set[str] = field(default_factory=set)

    def run(self, arguments: list[str], folder: Path, **kill: Any) -> int:
        """Run a command, told to kill itself or not, and return its exit status: -9 if it was killed."""
        self.shared_memory = listed(Path("/dev/shm"))
        order = {"arguments": arguments, "log": str(self.log), "below": str(folder), "at": None, **kill}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def calls(self) -> list[str]:
        """The calls with which the last command changed its folder."""
        return Path(f"{self.log}.calls").read_text(encoding="utf-8").splitlines()

    def processes(self) -> list[str]:
        """What runs and was started by a command, if only by way of others: all of them have its folder for temporary files."""
        found = []
        for process in psutil.process_iter():
            try:
                theirs = process.environ().get("TMPDIR") == str(self.temporary)
                if theirs and process.pid != self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline())[:100])
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def files(self) -> set[str]:
        """What is left in the folder for temporary files and in the shared memory."""
        return (listed(self.temporary) - NOT_OURS) | (listed(Path("/dev/shm")) - self.shared_memory)

    def assert_nothing_left(self) -> None:
        end = time.monotonic() + PATIENCE
        while (self.processes() or self.files()) and time.monotonic() < end:
            time.sleep(0.05)
        assert self.processes() == []
        assert self.files() == set()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    temporary = Path(f"/tmp/k{os.getpid() % 100_000}")  # short, since the sockets of Ray lie below it
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield Server(process, temporary, tmp_path_factory.mktemp("log") / "log")
    finally:
        process.communicate(timeout=60)
        shutil.rmtree(temporary)


@dataclass(frozen=True)
class Stage:
    """A stage of the uninterrupted run."""

    arguments: list[str]
    """The command; the folder is added."""
    before: Path
    """The folder before the stage: there is none before the first."""
    after: Path
    calls: int
    """How many calls changed the folder in the stage."""


COMMANDS = ("generate", "score-run", "pair", "encode", "train", "evaluate", "report")
LEFT_BY = {"generate": ("clips", "clips.jsonl")}
WITH_WORKERS = [
    *((stage, name) for stage in ("generate", "score") for name in SIGNALS),
    *(("score-run", "INT"), ("encode", "TERM"), ("evaluate", "KILL")),
]
"""Stages that workers do, and the signals that they are killed by: each takes until Ray has started."""


@pytest.fixture(scope="module")
def stages(server: Server, golden_vggt: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    """The uninterrupted run, stage by stage, with a copy of its folder after each; a second round; and `score` of its clips."""
    root = tmp_path_factory.mktemp("stages")
    made: dict[str, Stage] = {}
    before = root / "nothing"

    def make(name: str, arguments: list[str]) -> None:
        nonlocal before
        after = root / name
        if before.exists():
            shutil.copytree(before, after)
        assert server.run([*arguments, "--out", str(after)], after) == 0, server.said()
        made[name] = Stage(arguments, before, after, len(server.calls()))
        before = after

    begin = ["smoke-test", *OVERRIDES]
    make("generate", ["generate", *begin])
    calls = server.calls()
    prompts = next(number for number, call in enumerate(calls) if f"{root}/generate/clips" in call)
    made["prompts"] = Stage(made["generate"].arguments, root / "nothing", root / "generate", prompts)
    without_clips = root / "without clips"
    shutil.copytree(root / "generate", without_clips)
    shutil.rmtree(without_clips / "clips")
    (without_clips / "clips.jsonl").unlink()
    made["generate"] = Stage(made["generate"].arguments, without_clips, root / "generate", len(calls) - prompts)
    for command in COMMANDS[1:]:
        make(command, [command, str(before)])
    made["run"] = Stage(["run", *begin], root / "nothing", before, len(calls) + sum(made[s].calls for s in COMMANDS[1:]))
    make("rounds", ["run", *begin, "--rounds", "2"])
    before, clips = root / "nothing", root / "generate" / "clips"
    make("score", ["score", str(clips), "--critic", "vggt", "--weights", str(golden_vggt), "--frames", "9"])
    server.assert_nothing_left()
    return made


def cells() -> Iterator[Any]:
    """Yield stage, signal, whether workers do the work, and how many kills; a few of them in `make test`."""
    few = {("prompts", "INT"), ("generate", "KILL"), ("train", "TERM"), ("evaluate", "KILL"), ("score", "INT")}
    few |= {("rounds", "KILL")}
    for stage in ("prompts", *COMMANDS, "score", "run", "rounds"):
        for name in SIGNALS:
            if MANY or (stage, name) in few:
                kills = (5 if stage in ("run", "rounds") else 3) if MANY else 1
                yield pytest.param(stage, name, "alone", kills, id=f"{stage}-{name}")
    for stage, name in WITH_WORKERS if MANY else ():
        yield pytest.param(stage, name, "workers", 1, id=f"{stage}-{name}-workers")


@pytest.mark.parametrize(("name", "kill", "who", "kills"), list(cells()))
def test_a_killed_stage_ends_as_if_it_had_not_been(
    name: str, kill: str, who: str, kills: int, server: Server, stages: dict[str, Stage], tmp_path: Path
) -> None:
    stage, moments = stages[name], random.Random(f"{name} {kill} {who}")
    line = f"{name}, with workers" if who == "workers" else name
    finish = [*stage.arguments, *(("--workers", "1") if who == "workers" else ())]  # the recipe.yaml of a run keeps the number
    left, folder, number = kills, tmp_path / "0", 0
    while left:
        if not folder.exists() and stage.before.exists():
            shutil.copytree(stage.before, folder)
        if killed(server, stage, folder, kill, moments, workers=who == "workers"):
            attempts.KILLS[line, kill] += 1
            left -= 1
        else:  # it came to its end before: the other kills go to another folder
            number += 1
            assert number < 10 * kills
            folder = tmp_path / str(number)
    assert server.run([*finish, "--out", str(folder)], folder) == 0, server.said()
    assert same_results(folder, stage.after)
    server.assert_nothing_left()
    attempts.KILLS[line, "survived"] += kills


def killed(server: Server, stage: Stage, folder: Path, kill: str, moments: random.Random, *, workers: bool) -> bool:
    """Run the stage and kill it at one of its calls, or a moment after one. False if it ended by itself."""
    delay = moments.choice([0.0, moments.uniform(0, 12.0 if workers else 0.5)])
    status = server.run(
        [*stage.arguments, "--out", str(folder), *(("--workers", "2") if workers else ())],
        folder,
        at=moments.randint(1, max(1, stage.calls // (6 if workers else 2))),  # workers write most files themselves
        delay=delay,
        signal=SIGNALS[kill],
        group=kill == "INT",  # as a terminal sends it
    )
    if status == 0:
        return False
    said = server.said()
    if kill == "KILL":
        assert status == -signal.SIGKILL, said
    elif workers and kill == "TERM" and "*** SIGTERM received" in said:
        assert status != 0  # in the moment in which Ray connects its native code ends the process at once: as KILL does
    else:
        assert status == 1, said
        assert "interrupted; finished work is kept" in said
        assert "Traceback" not in said, said
        server.assert_nothing_left()
    return True


def same_results(folder: Path, reference: Path) -> bool:
    """Whether both hold the same. Of a folder of scores, all but how long the scoring took."""
    if (folder / "recipe.yaml").exists():
        return same(folder, reference)
    mine, theirs = ({name: data for name, data in content(f).items() if name.endswith("jsonl")} for f in (folder, reference))
    names = [sorted(str(path.relative_to(f)) for path in f.rglob("*")) for f in (folder, reference)]
    assert mine == theirs
    assert names[0] == names[1]
    return True
