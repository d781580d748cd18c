"""Numbers of workers and addresses of clusters that careless and hostile people give; who may name a cluster; what listens."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from attempts import attempt, shell
from filelock import FileLock
from hypothesis import example, given
from hypothesis import strategies as st

from videogpa.config import WorkersConfig, load_recipe, load_run_recipe, with_cluster, with_settings
from videogpa.errors import UserError
from videogpa.storage.provenance import write_recipe
from videogpa.storage.run_folder import RunFolder
from videogpa.temporary import sweep, temporary_folder
from videogpa.workers import open_pool, require_possible


@given(count=st.one_of(st.integers(-(10**30), 0), st.integers(2000, 10**30)))
@example(count=0)
@example(count=100_000)
def test_an_impossible_number_of_workers_is_refused_before_anything_is_done(
    count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    attempt(
        "workers", lambda: shell("score", "x.mp4", f"--workers={count}", "--out", str(folder / "a")), expect="clear sentence"
    )
    attempt(
        "workers", lambda: shell("run", "smoke-test", f"--workers={count}", "--out", str(folder / "b")), expect="clear sentence"
    )
    assert list(folder.iterdir()) == []


def test_more_workers_than_cores_are_refused_here_and_left_to_a_cluster_there() -> None:
    most = max(os.cpu_count() or 1, 8)
    require_possible(WorkersConfig(count=most))
    attempt("workers", lambda: require_possible(WorkersConfig(count=most + 1)), expect="clear sentence", names="--workers")
    require_possible(WorkersConfig(count=most + 1, ray="auto"))


@given(
    address=st.one_of(st.text(max_size=20), st.sampled_from(["", "local", " ", "host", "host:", ":1", "os://x", "a b:1", "-"]))
)
@example(address="ray_module://x:1")
def test_what_is_no_address_of_a_cluster_is_refused(address: str) -> None:
    recipe = load_recipe("smoke-test")
    attempt(
        "addresses of clusters",
        lambda: with_cluster(recipe, address),
        expect=None if address == "auto" or address.count(":") else "clear sentence",
        check=lambda made: made.workers.ray == address,
    )


# Larger numbers and NUL are refused as such, whatever setting they are given to: tests/abuse/test_recipes.py.
_INTEGERS = st.integers(-(2**63), 2**63 - 1)
_LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
_ADDRESSES = st.text(_LETTERS, min_size=1, max_size=20) | _INTEGERS | st.lists(st.text(_LETTERS), min_size=1) | st.just("auto")


@given(value=_ADDRESSES)
def test_no_recipe_and_no_setting_names_a_cluster(value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("recipe")
    content = load_recipe("smoke-test").model_dump(mode="json")
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({**content, "workers": {"count": 2, "ray": value}}), encoding="utf-8")
    attempt("recipes that name a cluster", lambda: load_recipe(file), expect="clear sentence", names="--ray")
    for settings in ({"workers.ray": value}, {"workers": {"ray": value}}):
        attempt(
            "recipes that name a cluster",
            lambda given=settings: with_settings(load_recipe("smoke-test"), given),
            expect="clear sentence",
            names="--ray",
        )
    assert load_run_recipe(folder).workers == WorkersConfig(count=2)  # of a run of version 0.1: a warning, and no cluster


def test_a_run_folder_does_not_keep_the_cluster_that_made_it(tmp_path: Path) -> None:
    recipe = with_cluster(load_recipe("smoke-test"), "auto")
    assert with_settings(recipe, {"train.steps": 3}).workers.ray == "auto"
    write_recipe(recipe, RunFolder(tmp_path))
    assert "ray" not in yaml.safe_load((tmp_path / "recipe.yaml").read_text(encoding="utf-8"))["workers"]
    assert load_run_recipe(tmp_path).workers.ray is None


@dataclass(frozen=True)
class Opening:
    closed: list[str]

    def load(self) -> Callable[[int], int]:
        return Opened(self.closed)


class Opened:
    def __init__(self, closed: list[str]) -> None:
        self.closed = closed

    def __call__(self, item: int) -> int:
        return item // (item - 3)

    def close(self) -> None:
        self.closed.append("closed")


def test_what_a_worker_has_loaded_is_closed_with_the_pool_also_after_an_error() -> None:
    closed: list[str] = []
    with pytest.raises(ZeroDivisionError), open_pool(WorkersConfig()) as pool:  # noqa: PT012
        assert list(pool.map(Opening(closed), [1, 2], label="work")) == [-1, -2]
        assert closed == []
        list(pool.map(Opening(closed), [3], label="fails"))
    assert closed == ["closed"]


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_only_our_folders_of_dead_processes_are_swept(tmp_path: Path) -> None:
    dead = dead_process()
    names = {
        f"videogpa-{dead}-aaaaaaaa": True,
        f"videogpa-{dead}-bbbbbbbb": False,  # its lock is held: a process of another container
        f"videogpa-{dead}-cccccccc": False,  # a user's folder: without our lock, and not empty
        f"videogpa-{os.getpid()}-aaaaaaaa": False,
        f"videogpa-{dead}-notes": False,
        "videogpa-mine": False,
    }
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("text", encoding="utf-8")
        if "cccccccc" not in name:
            (tmp_path / name / ".lock").touch()
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / f"videogpa-{dead}-dddddddd").symlink_to(outside)
    with FileLock(tmp_path / f"videogpa-{dead}-bbbbbbbb" / ".lock"):
        assert [path.name for path in sweep(tmp_path)] == [name for name, swept in names.items() if swept]
    assert outside.is_dir()
    with temporary_folder(tmp_path) as mine:
        assert sweep(tmp_path) == [tmp_path / f"videogpa-{dead}-bbbbbbbb"]
        assert mine.is_dir()
    assert not mine.exists()


def test_a_folder_for_temporary_files_that_takes_none_is_named(tmp_path: Path) -> None:
    def make() -> None:
        with temporary_folder(tmp_path / "missing"):
            pass

    attempt("temporary folders", make, expect="clear sentence", names=str(tmp_path / "missing"))


CONNECT = """
import sys
from videogpa.errors import UserError
from videogpa.workers.clusters import require_cluster
try:
    require_cluster(sys.argv[1])
except UserError as error:
    sys.exit(f"error: {error}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["closed", "listens and is no cluster", "auto"])
def test_a_dead_cluster_ends_in_one_sentence_in_under_20_seconds(kind: str, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "listens and is no cluster":
            listener.listen()
        address = "auto" if kind == "auto" else f"127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        environment = {**os.environ, "RAY_TMPDIR": str(tmp_path)}
        environment.pop("RAY_ADDRESS", None)
        done = subprocess.run(
            [sys.executable, "-c", CONNECT, address], capture_output=True, text=True, timeout=100, env=environment
        )
        assert time.monotonic() - began < 20

    def outcome() -> None:
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        raise UserError(done.stderr.removeprefix("error: "))

    attempt("addresses of clusters", outcome, expect="clear sentence", names=address)


LISTEN = """
import json, os, subprocess, sys, tempfile
from dataclasses import dataclass
import psutil
from videogpa.config import WorkersConfig
from videogpa.workers import open_pool

@dataclass(frozen=True)
class Work:
    def load(self):
        return abs

with open_pool(WorkersConfig(count=2)) as pool:
    results = sorted(pool.map(Work(), [-1, -2, -3], label="work"))
    mine = psutil.Process()
    sockets = [c for p in [mine, *mine.children(recursive=True)] for c in p.net_connections("inet")]
    found = [c.laddr.ip for c in sockets if c.status == "LISTEN"]
    stranger = "import ray; ray.init(address=" + repr(sys.modules["ray"].get_runtime_context().gcs_address) + ")"
    asked = subprocess.run([sys.executable, "-c", stranger], env={**os.environ, "RAY_AUTH_TOKEN": "a" * 64},
                           capture_output=True, text=True)
print(json.dumps({"results": results, "listening": sorted(set(found)), "left": os.listdir(tempfile.gettempdir()),
                  "stranger": (asked.returncode, asked.stdout + asked.stderr)}))
"""


@pytest.mark.slow
def test_rays_of_ours_listen_on_loopback_alone_whatever_the_environment_names(tmp_path: Path) -> None:
    long = tmp_path / ("a" * 60)
    long.mkdir()
    environment = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "TMPDIR": str(long), "OMP_NUM_THREADS": "1"}
    environment |= {"RAY_ADDRESS": "192.0.2.1:6379", "HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", LISTEN], capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["results"] == [1, 2, 3]
    assert said["listening"]
    assert set(said["listening"]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert said["left"] == []
    assert said["stranger"][0] != 0
    assert "InvalidAuthToken" in said["stranger"][1], said["stranger"][1][-2000:]
    assert not (tmp_path / "home").exists()  # Ray keeps no word of its own there
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(long) in " ".join(p.info["cmdline"] or ())]
