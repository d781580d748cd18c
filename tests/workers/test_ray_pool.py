"""Workers that Ray runs on this machine: the same results as one process, whoever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from attempts import run_shell

from videogpa.maths.render import one_thread

pytestmark = pytest.mark.slow

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}  # as Ray's workers have it: the same sums in the same order

DRIVER = """
import sys
sys.path[:] = filter(None, sys.path)  # as the command `videogpa` has it: without the folder in which it is called
import importlib.util, json, os, signal, stat, tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from videogpa.config import WorkersConfig
from videogpa.errors import UserError
from videogpa.workers import open_pool

folder = Path(sys.argv[1])
tempfile.tempdir = tempfile.mkdtemp()

@dataclass(frozen=True)
class Squares:
    folder: Path

    def load(self):
        with (self.folder / "loaded").open("a") as stream:
            stream.write(f"{os.getpid()}\\n")
        assert importlib.util.find_spec("hostile") is None, sys.path
        assert Path("hostile.py").exists(), os.getcwd()
        return self.square

    def square(self, item):
        if item == 4 and not (self.folder / "killed").exists():
            (self.folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if item == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        if item == -2:
            raise UserError("the item is bad")
        if item == -3:
            raise OSError(28, "No space left on device")
        return item, item**2

def failure(item):
    try:
        list(crew.map(work, [item], label="fails"))
    except (UserError, OSError) as error:
        return type(error).__name__, str(error)

work = Squares(folder)
with open_pool(WorkersConfig(count=2)) as crew:
    squares = list(crew.map(work, range(8), label="squares"))
    loads = len((folder / "loaded").read_text().split())
    again = list(crew.map(work, [2, 3], label="the same work"))
    reloads = len((folder / "loaded").read_text().split()) - loads
    mine = psutil.Process()
    processes = [mine, *mine.children(recursive=True)]
    listening = {c.laddr.ip for p in processes for c in p.net_connections("tcp") if c.status == "LISTEN"}
    socket = Path(sys.modules["ray"].nodes()[0]["ObjectStoreSocketName"])
    [room] = [path for path in socket.parents if path.name.startswith("videogpa-")]
    private = stat.S_IMODE(room.stat().st_mode) == 0o700
    refused, disk, deadly = failure(-2), failure(-3), failure(-1)
try:
    with open_pool(WorkersConfig(count=2, gpus=64.0)) as crew:
        list(crew.map(work, [1], label="no room"))
except UserError as error:
    room = str(error)
left = os.listdir(tempfile.tempdir)
os.rmdir(tempfile.tempdir)
print(json.dumps({"squares": squares, "loads": loads, "again": again, "reloads": reloads, "listening": sorted(listening),
                  "private": private, "refused": refused, "disk": disk, "deadly": deadly, "room": room, "left": left}))
"""


@pytest.mark.slow
def test_a_killed_workers_item_is_done_again_and_errors_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "hostile.py").touch()  # no worker may import what lies in the folder where the command is called
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert sorted(said["squares"]) == [[item, item**2] for item in range(8)]
    assert (tmp_path / "killed").exists()
    assert said["loads"] == 3  # two workers, and the one that took the place of the killed one
    assert sorted(said["again"]) == [[2, 4], [3, 9]]
    assert said["reloads"] == 0
    assert set(said["listening"]) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert said["listening"]
    assert said["private"]  # nobody else of this machine reaches Ray's sockets and logs
    assert said["left"] == []
    assert said["refused"] == ["UserError", "the item is bad"]
    assert said["disk"] == ["OSError", "[Errno 28] No space left on device"]
    assert said["deadly"][0] == "UserError"
    assert "workers died 4 times over the same item" in said["deadly"][1]
    assert "2 workers of 64 GPU each" in said["room"]


SMALL = {
    "prompts.world": "{train: 3, held_out: 2, frames: 9, height: 32, width: 32}",
    "generate": "{candidates: 2, frames: 9, height: 32, width: 32, fps: 8, num_inference_steps: 2, guidance_scale: 1.0}",
}


SETTINGS = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and file.name not in {".lock", ".videogpa", "recipe.yaml"}  # the recipe says how many workers there were
    }


@pytest.mark.slow
def test_two_workers_one_of_them_killed_leave_what_one_process_leaves(tmp_path: Path) -> None:
    arguments = ["generate", "smoke-test", *SETTINGS, "--out"]
    with one_thread():
        alone = run_shell(*arguments, str(tmp_path / "alone"))
    assert alone.status == 0, alone.err
    command = [sys.executable, "-m", "videogpa.cli", *arguments, str(tmp_path / "two"), "--workers", "2"]
    two = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while not list((tmp_path / "two").glob("clips/*/*.mp4")):
            assert two.poll() is None, two.communicate()[0]
            time.sleep(0.01)
        victims = [child.pid for child in psutil.Process(two.pid).children(recursive=True) if _is_worker(child)]
        os.kill(victims[0], signal.SIGKILL)
        output, _ = two.communicate(timeout=500)
    finally:
        two.kill()
    assert two.returncode == 0, output
    assert content(tmp_path / "two") == content(tmp_path / "alone")
    assert len((tmp_path / "two/clips.jsonl").read_text().splitlines()) == 6


def _is_worker(process: psutil.Process) -> bool:
    return any(part.startswith("ray::_Worker") for part in process.cmdline())
