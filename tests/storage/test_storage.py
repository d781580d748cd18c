import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from videogpa.errors import UserError
from videogpa.records import Clip
from videogpa.storage.files import atomic_folder, atomic_path, temporary_path
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.manifests import Manifest
from videogpa.storage.run_folder import RunFolder, RunFolderBusy


def clip(name: str, mark: str = "a") -> Clip:
    return Clip(clip=name, prompt="p", seed=0, path=f"{name}.mp4", fingerprint=mark)


def manifest(folder: Path) -> Manifest[Clip]:
    return Manifest(folder / "clips.jsonl", Clip, "clip")


@settings(deadline=None, max_examples=30)
@given(cut=st.integers(min_value=0, max_value=400))
def test_a_row_is_whole_or_absent_wherever_the_writer_was_killed(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("run")
    rows = manifest(folder)
    for name in ("1", "2", "3"):
        rows.append(clip(name))
    content = rows.path.read_bytes()
    rows.path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    assert [row.clip for row in rows.rows()] == ["1", "2", "3"][:whole]
    wanted = dict.fromkeys(("1", "2", "3"), "a")
    for name in rows.drop_stale(wanted):
        rows.append(clip(name))
    rows.finalize(wanted)
    assert rows.path.read_bytes() == content


def test_resume_drops_stale_unwanted_and_fileless_rows(tmp_path: Path) -> None:
    rows = Manifest(tmp_path / "clips.jsonl", Clip, "clip", files=lambda row: [tmp_path / row.path])
    for name in ("kept", "stale", "unwanted", "fileless"):
        rows.append(clip(name))
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "fileless.mp4").unlink()
    assert rows.drop_stale({"new": "a", "kept": "a", "stale": "b", "fileless": "a"}) == ["new", "stale", "fileless"]
    assert [row.clip for row in rows.rows()] == ["kept"]


def test_a_row_that_others_keep_stays_until_a_newer_one_replaces_it(tmp_path: Path) -> None:
    rows = manifest(tmp_path)
    for name in ("other", "stale", "current"):
        rows.append(clip(name))

    def make(keys: list[str]) -> Iterator[Clip]:
        assert keys == ["stale", "new"]
        yield clip("new")
        assert [row.clip for row in rows.rows()] == ["other", "stale", "current", "new"]  # the stale one is still there
        yield clip("stale")

    wanted = {"stale": "b", "new": "a", "current": "a"}
    made = rows.update(wanted, make, keep_others=True)
    assert [(row.clip, row.fingerprint) for row in made] == list(wanted.items())
    assert [row.clip for row in rows.rows()] == ["other", "stale", "new", "current"]
    before = rows.path.read_bytes()
    assert rows.update(wanted, lambda keys: pytest.fail("nothing is left"), keep_others=True) == made
    assert rows.path.read_bytes() == before
    rows.append(clip("current", "b"))  # as a killed writer leaves it: the newer row of a key counts
    assert rows.drop_stale(wanted, keep_others=True) == ["current"]
    assert rows.drop_stale({**wanted, "current": "b"}, keep_others=True) == []


def test_settle_restores_the_order_of_the_work_list(tmp_path: Path) -> None:
    rows = manifest(tmp_path)
    for name in ("2", "3", "1"):
        rows.append(clip(name))
    assert [row.clip for row in rows.finalize(dict.fromkeys(("1", "2", "3"), "a"))] == ["1", "2", "3"]
    assert [row.clip for row in rows.rows()] == ["1", "2", "3"]


def test_a_key_may_be_made_of_two_fields(tmp_path: Path) -> None:
    rows = Manifest(tmp_path / "clips.jsonl", Clip, "prompt clip")
    assert rows.key(clip("x")) == "p x"


def test_a_row_of_another_version_is_refused_by_file_and_line(tmp_path: Path) -> None:
    rows = manifest(tmp_path)
    rows.append(clip("1"))
    with rows.path.open("a") as stream:
        stream.write('{"clip": "2", "colour": "red"}\n')
    with pytest.raises(UserError, match=r"clips\.jsonl, line 2"):
        rows.rows()


@pytest.mark.slow
def test_a_full_disk_keeps_the_finished_rows_and_no_half_row(tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: the system refuses the write in the middle of a row."""
    script = """
import resource, signal, sys
from pathlib import Path
from videogpa.records import Clip
from videogpa.storage.manifests import Manifest
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = Manifest(Path(sys.argv[1]), Clip, "clip")
rows.append(Clip(clip="1", prompt="p", seed=0, path="1.mp4"))
resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
rows.append(Clip(clip="2", prompt="p" * 200, seed=0, path="2.mp4"))
"""
    path = tmp_path / "clips.jsonl"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "OSError" in done.stderr
    assert [row.clip for row in manifest(tmp_path).rows()] == ["1"]
    assert path.read_text().endswith("\n")


def test_an_atomic_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("ha")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="space"):
        write_half()
    assert target.read_text() == "old"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    assert target.read_text() == "new"


def test_a_second_process_is_refused_and_told_who_works_there(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from videogpa.storage.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).lock(): pass"
    )
    folder = RunFolder(tmp_path)
    with folder.lock():
        second = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert f"RunFolderBusy: {tmp_path} is being worked on by process {os.getpid()}" in second.stderr.replace(
        "videogpa.storage.run_folder.", ""
    )
    third = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert third.returncode == 0, third.stderr


def test_taking_the_lock_sweeps_what_killed_processes_left_and_nothing_of_the_user(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.lock():
        pass
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = os.getppid()
    mine = temporary_path(tmp_path / "clips" / "b.mp4")
    theirs = {number: mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{number}-")) for number in (dead.pid, alive)}
    users = ("clips/.z.tmpl", "clips/.b.mp4.123.tmp.mp4", "train/x", "adapter/x", ".mine/x", "other/" + theirs[dead.pid].name)
    for path in (mine, *theirs.values(), *(tmp_path / name for name in users)):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "strips").mkdir()
    (tmp_path / "strips" / ".lock").touch()
    (tmp_path / "strips" / mine.name).touch()  # below the lock of another run
    with folder.lock():
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    kept = {*users, f"clips/{theirs[alive].name}", "strips/.lock", f"strips/{mine.name}", ".lock", ".videogpa"}
    assert left == kept


def test_an_atomic_folder_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "adapter"

    def write_half() -> None:
        with atomic_folder(target) as temporary:
            (temporary / "a").write_text("ha")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="space"):
        write_half()
    assert list(tmp_path.iterdir()) == []
    for content in ("first", "second"):
        with atomic_folder(target) as temporary:
            (temporary / content).write_text(content)
        assert [p.name for p in target.iterdir()] == [content]


def test_the_lock_is_refused_within_a_process_too(tmp_path: Path) -> None:
    with RunFolder(tmp_path).lock(), pytest.raises(RunFolderBusy, match="--out"), RunFolder(tmp_path).lock():
        pass


def test_fingerprints_follow_content_and_not_the_order_of_keys(tmp_path: Path) -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
    (tmp_path / "big").write_bytes(b"0" * (3 << 20))
    before = path_fingerprint(tmp_path)
    (tmp_path / "big").write_bytes(b"0" * (3 << 20) + b"1")
    longer = path_fingerprint(tmp_path)
    (tmp_path / "big").rename(tmp_path / "other")
    assert len({before, longer, path_fingerprint(tmp_path)}) == 3


def test_rows_take_no_unknown_fields_and_no_nan() -> None:
    with pytest.raises(ValidationError):
        Clip(clip="1", prompt="p", seed=0, path="x", colour="red")  # type: ignore[call-arg]
