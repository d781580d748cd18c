import dataclasses
import errno
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from attempts import Ran, run_shell

from videogpa import processes
from videogpa.cli import last_net, shell, terminal
from videogpa.errors import InvalidInput
from videogpa.storage.run_folder import RunFolder

Ending = Callable[..., Ran]


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no message")


@pytest.fixture
def ending_in(monkeypatch: pytest.MonkeyPatch) -> Ending:
    """Return what runs `videogpa list critics` with a function in its place that ends in an error."""

    def run(error: BaseException, *flags: str, folder: Path | None = None) -> Ran:
        def list_what(what: str, name: str | None = None) -> str:
            """List."""
            logging.getLogger("videogpa.test").info("about to fail")
            if folder is None:
                raise error
            with RunFolder(folder).lock():
                raise error

        monkeypatch.setitem(shell.COMMANDS, "list", dataclasses.replace(shell.COMMANDS["list"], function=list_what))
        return run_shell(*flags, "list", "critics")

    return run


def report_of(ran: Ran) -> Path:
    named = re.search(r"is in (\S+\.log);", ran.message)
    assert named, ran.message
    return Path(named[1])


def test_an_unexpected_error_is_one_sentence_and_a_file_with_log_and_traceback(
    ending_in: Ending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ran = ending_in(KeyError("x\x1b[2J"))
    assert ran.status == last_net.UNEXPECTED
    assert "this should not have happened: KeyError: 'x\\x1b[2J'. It is an error of videogpa" in ran.message
    assert "Please report it at" in ran.message
    assert "Traceback" not in ran.err
    report = report_of(ran)
    assert report.parent == tmp_path
    written = report.read_text(encoding="utf-8")
    for part in ("about to fail", "Traceback", "raise error", "['list', 'critics']", "Python 3.", "torch "):
        assert part in written
    if os.name == "posix":
        assert report.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("flags", [("--debug",), ()])
def test_debug_shows_the_traceback_of_any_error(
    flags: tuple[str, ...], ending_in: Ending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for error in (ZeroDivisionError("by zero"), InvalidInput("the setting is wrong"), OSError(errno.EIO, "bad")):
        assert ("raise error" in ending_in(error, *flags).err) == bool(flags)


def test_the_file_is_in_the_run_folder_that_was_worked_in_and_in_no_earlier_one(
    ending_in: Ending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert report_of(ending_in(RuntimeError("odd"), folder=tmp_path / "run")).parent == tmp_path / "run"
    with RunFolder(tmp_path / "run").lock():  # it is still one of this program's
        pass
    assert report_of(ending_in(RuntimeError("odd"))).parent == temporary
    assert processes.last_worked_in() is None


def test_where_nothing_can_be_written_the_terminal_shows_it_all(ending_in: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/dev/null/nowhere")
    ran = ending_in(RuntimeError("odd"))
    assert ran.status == last_net.UNEXPECTED
    assert "raise error" in ran.err
    assert "what stands above belongs into the report" in ran.message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it is of Linux")
def test_a_full_disk_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(suffix: str, prefix: str, folder: Path) -> tuple[int, str]:
        (folder / "report.log").touch()
        return os.open("/dev/full", os.O_WRONLY), str(folder / "report.log")

    monkeypatch.setattr("tempfile.mkstemp", full)
    with pytest.raises(OSError, match="No space left"):
        last_net._written("text", tmp_path, "error-")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "the memory does not suffice"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "--workers"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/clip.mp4"), "no space is left on the disk: /data/clip.mp4"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (PermissionError(errno.EACCES, "Permission denied", b"/data/\xff"), "Permission denied: /data/"),
        (OSError(errno.EIO, "Input/output error"), "the system reports"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_what_lies_with_the_machine_is_said_so(error: BaseException, words: str, ending_in: Ending) -> None:
    ran = ending_in(error)
    assert ran.status == last_net.FAILED
    assert words in ran.message
    assert "should not have happened" not in ran.message


def test_an_error_without_a_message_does_not_break_the_net(
    ending_in: Ending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ran = ending_in(UnspeakableError())
    assert ran.status == last_net.UNEXPECTED
    assert "UnspeakableError" in ran.message
    assert ending_in(RuntimeError("\ud800 half")).status == last_net.UNEXPECTED
    assert len(ending_in(RuntimeError("x" * 10**6)).message) < 1000


def test_what_is_no_error_passes(ending_in: Ending) -> None:
    assert ending_in(SystemExit(3)).status == 3
    with pytest.raises(GeneratorExit):
        ending_in(GeneratorExit())
    assert not [h for h in logging.getLogger().handlers if isinstance(h, last_net._KeptLog)]


def test_a_pipe_without_a_reader_is_recognised() -> None:
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor
        assert not terminal.no_reader(stream)
        os.close(reading)
        assert terminal.no_reader(stream)


def test_a_broken_pipe_elsewhere_is_said(ending_in: Ending) -> None:
    ran = ending_in(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert (ran.status, ran.message[:18]) == (last_net.FAILED, "the system reports")
