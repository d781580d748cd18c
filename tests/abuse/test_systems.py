"""Terminals of every kind, homes that are none, and working folders that are gone."""

import io
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from attempts import Ran, attempt, shell
from hypothesis import example, given
from hypothesis import strategies as st

from videogpa import cli
from videogpa.cli import terminal
from videogpa.errors import UserError

ENCODINGS = ("ascii", "cp1252", "cp437", "cp932", "latin-1", "koi8-r", "utf-8", "utf-16")
WIDTHS = st.sampled_from(["1", "0", "-1", "40", "10000", "9" * 30, "²", "x", "", " ", "1e3"]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4
)
SHOWN = ("--help", "score --help", "list recipes", "list measures", "list critics sfm", "prompts smoke-test", "score")


def on_terminal(line: str, encoding: str, environment: dict[str, str]) -> Ran:
    """Run a command whose output goes to a stream of this encoding; every other output than text in it is an error."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    status = 0
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        patched.setenv("LINES", environment["COLUMNS"])
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        try:
            cli.main(line.split())
        except SystemExit as end:
            status = int(end.code or 0)
    for stream in (out, err):
        stream.flush()
    ran = Ran(status, *(stream.buffer.getvalue().decode(encoding) for stream in (out, err)))  # type: ignore[attr-defined]
    if status:
        raise UserError(ran.err)
    return ran


@given(line=st.sampled_from(SHOWN), encoding=st.sampled_from(ENCODINGS), width=WIDTHS, colour=st.sampled_from(["", "1"]))
@example(line="--help", encoding="ascii", width="1", colour="")
@example(line="list measures", encoding="ascii", width="²", colour="1")
def test_every_terminal_gets_its_text(line: str, encoding: str, width: str, colour: str) -> None:
    environment = {"COLUMNS": width, "NO_COLOR": colour, "TERM": "dumb" if colour else "xterm"}
    attempt(
        "terminals",
        lambda: on_terminal(line, encoding, environment),
        expect="clear sentence" if line == "score" else "right result",
        check=lambda ran: ran.out.strip() and max(map(len, ran.out.splitlines())) <= terminal.WIDEST,
    )


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20), flag=st.sampled_from(["--workers", "--frames"]))
@example(text="two", flag="--workers")
@example(text="9" * 5000, flag="--frames")
@example(text="None", flag="--workers")
def test_a_number_that_is_none_is_answered_with_what_is_expected(text: str, flag: str) -> None:
    try:
        int(text)
    except ValueError:
        said = attempt("numbers", lambda: shell("score", "a.mp4", f"{flag}={text}"), expect="clear sentence", names=flag)
        assert text == "all" or "expected a whole number" in " ".join(str(said).replace("│", " ").split())


@pytest.mark.parametrize("home", [None, "/nonexistent", "/dev/null", "relative"])
def test_doctor_says_what_it_can_without_a_home(home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: object) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    for variable in ("XDG_CACHE_HOME", "HF_HOME", "VIDEOGPA_LPIPS_VGG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("HOME", raising=False) if home is None else monkeypatch.setenv("HOME", home)
    attempt("homes", lambda: shell("doctor"), expect="right result", check=lambda ran: "LPIPS vgg" in ran.out)


@pytest.mark.parametrize("cache", ["/dev/null", "/proc/nowhere", "/dev/null/below"])
def test_weights_that_cannot_be_cached_are_said_with_what_to_set(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from videogpa.scoring.lpips import fetch_vgg

    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    attempt("homes", fetch_vgg, expect="clear sentence", names="XDG_CACHE_HOME")


def test_a_working_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for line in ("doctor", "list critics", "score a.mp4"):
        attempt("working folders", lambda line=line: shell(*line.split()), expect="clear sentence", names="cd")
    attempt("working folders", lambda: on_terminal("--help", "utf-8", {"COLUMNS": "80"}), expect="right result")


SHELL = """
export LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0
{ "$PYTHON" -m videogpa.cli --help; echo $? > status; } 2>err | true; cat status err
"$PYTHON" -m videogpa.cli list critics <&- >&- 2>&-; echo $?
"$PYTHON" -m videogpa.cli list measures 2>err | head -1 >out; cat err
"$PYTHON" -m videogpa.cli list measures >/dev/full 2>/dev/full; echo $?
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it is of Linux")
def test_closed_full_and_broken_outputs_end_in_silence(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", SHELL], cwd=tmp_path, env=environment, capture_output=True, timeout=100)
    said = done.stdout.decode().split()
    in_time = ["0", "0", "1"]  # the help was written before its reader was gone
    attempt("terminals", lambda: said in (["1", "0", "1"], in_time), expect="right result")
    assert said in (["1", "0", "1"], in_time)
    assert done.stderr == b""
