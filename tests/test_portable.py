"""What Linux can check of Windows and macOS: modules, names of files, paths in files, encodings. See docs/reliability.md."""

import ast
import ntpath
import os
import re
import subprocess
import sys
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import portable
from videogpa.config import paths
from videogpa.prompts.ids import as_file_name, made_id
from videogpa.storage.files import temporary_path, write_text
from videogpa.storage.lines import Inside

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "videogpa"
FILES = sorted(PACKAGE.rglob("*.py"))

WINDOWS = r"""
import builtins, importlib, os, pkgutil, signal, sys, types
from pathlib import Path

NO_MODULES = set("fcntl resource pwd grp termios tty pty posix syslog readline curses nis spwd".split())
NO_NAMES = {
    "os": "fork forkpty getuid geteuid getgid getegid getgroups setuid setgid setsid getsid killpg getpgid setpgid mkfifo "
    "mknod sysconf confstr uname nice sched_getaffinity getloadavg chown lchown fchown fchmod statvfs fstatvfs "
    "posix_fadvise pread pwrite sendfile openpty ttyname memfd_create pipe2 register_at_fork wait wait3 wait4 waitid "
    "WNOHANG WIFEXITED O_NOFOLLOW O_DIRECTORY O_NONBLOCK O_CLOEXEC O_SYNC getrandom getxattr setxattr "
    "ctermid environb fdatasync".split(),
    "signal": "SIGKILL SIGHUP SIGALRM SIGUSR1 SIGUSR2 SIGCHLD SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGWINCH alarm setitimer pause "
    "sigwait pthread_kill pthread_sigmask".split(),
    "socket": ["AF_UNIX", "socketpair"],
    "select": ["poll", "epoll"],
    "time": ["tzset"],
}

def windows(module):
    shim = types.ModuleType(module.__name__)
    missing = NO_NAMES[module.__name__]
    vars(shim).update({name: value for name, value in vars(module).items() if name not in missing})
    if module is os:
        shim.name = "nt"
    return shim

SHIMS = {name: windows(importlib.import_module(name)) for name in NO_NAMES}
real = builtins.__import__

def imported(name, globals=None, locals=None, fromlist=(), level=0):
    ours = str((globals or {}).get("__name__", "")).partition(".")[0] == "videogpa"
    if ours and level == 0:
        if name.partition(".")[0] in NO_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in SHIMS:
            return SHIMS[name]
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = imported

import videogpa

for found in pkgutil.walk_packages(videogpa.__path__, "videogpa."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)

from videogpa.cli import main
from videogpa.training.memory import peak_gib
from videogpa.video import write_video
import torch

assert peak_gib(torch.device("cpu")) > 0
frames = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0)).repeat(4, 1, 1, 1)
write_video(Path("clip.mp4"), frames, fps=8)
for line in ("--help", "list recipes", "doctor", "score clip.mp4 --frames 4 --out scores",
             "prompts smoke-test --out prompts.jsonl", "generate smoke-test --out run"):
    try:
        main([*line.split(), *(SMALL if line.startswith("generate") else ())])
    except SystemExit as end:
        assert not end.code, (line, end.code)
"""
SMALL = [
    part
    for name, value in {
        "prompts.world": "{train: 1, held_out: 2, frames: 9, height: 32, width: 32}",
        "generate": "{candidates: 1, frames: 9, height: 32, width: 32, fps: 8, num_inference_steps: 1, guidance_scale: 1.0}",
    }.items()
    for part in ("--set", f"{name}={value}")
]


@pytest.mark.slow
def test_without_what_posix_alone_has_everything_is_imported_and_commands_run(tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", f"SMALL = {SMALL!r}\n{WINDOWS}"], cwd=tmp_path, env=environment, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert (tmp_path / "scores" / "scores.jsonl").is_file()
    assert (tmp_path / "run" / "clips.jsonl").is_file()
    assert portable.problems(tmp_path) == {}
    for file in tmp_path.rglob("*"):
        if file.suffix in {".jsonl", ".json", ".yaml", ".csv"}:
            assert b"\r" not in file.read_bytes()


def calls(tree: ast.AST) -> dict[str, list[ast.Call]]:
    """Return the calls of a file by the name of what is called."""
    found: dict[str, list[ast.Call]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found.setdefault(name, []).append(node)
    return found


def keywords(call: ast.Call) -> set[str | None]:
    return {keyword.arg for keyword in call.keywords}


def test_text_is_read_and_written_as_utf_8_whatever_the_system_prefers() -> None:
    missing = []
    for file in FILES:
        found = calls(ast.parse(file.read_text(encoding="utf-8")))
        for call in found.get("read_text", []) + found.get("write_text", []):
            ours = isinstance(call.func, ast.Name)  # videogpa.text_files.read_text, videogpa.storage.files.write_text
            if not ours and "encoding" not in keywords(call):
                missing.append(f"{file.name}:{call.lineno}")
        for call in found.get("open", []) + found.get("fdopen", []) + found.get("NamedTemporaryFile", []):
            texts = [arg.value for arg in ast.walk(call) if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            binary = any(re.fullmatch("[rwax+]*b[rwax+]*", text) for text in texts)
            module = isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
            other = module and call.func.value.id in {"os", "av", "Image", "pycolmap"}  # type: ignore[union-attr]
            if not binary and not other and "encoding" not in keywords(call) and "Database" not in ast.unparse(call):
                missing.append(f"{file.name}:{call.lineno}")
        for call in found.get("run", []) + found.get("Popen", []):
            if keywords(call) & {"text", "universal_newlines"} and "encoding" not in keywords(call):
                missing.append(f"{file.name}:{call.lineno}")
    assert missing == []


def test_no_process_is_forked() -> None:
    """Where a process is started it is by `subprocess` or Ray, which start the interpreter anew, as Windows and macOS do."""
    hits = []
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if re.search(r"\bos\.fork|(import|from) multiprocessing|ProcessPoolExecutor|num_workers=[1-9]", text):
            hits.append(str(file.relative_to(ROOT)))
    assert hits == []
    for main in PACKAGE.rglob("__main__.py"):
        assert 'if __name__ == "__main__":' in main.read_text(encoding="utf-8")


@given(
    name=st.text(max_size=300)
    | st.sampled_from(["CON", "aux.png", "nul.tar.gz", "a:b?", "x.", "LPT1", "com0.x", "~", "..", "a "])
)
def test_every_id_of_a_prompt_names_files_on_every_system(name: str) -> None:
    made = as_file_name(name)
    assert made == "" or portable.why_not(made) is None
    assert portable.why_not(made_id(name, "")) is None
    assert portable.why_not(f"{made_id(name, name)}.safetensors") is None
    assert portable.why_not(temporary_path(Path("folder") / f"{made or 'x'}.mp4").name) is None


@given(path=st.text(alphabet="ab./\\:C~ ", min_size=1, max_size=12))
def test_a_path_in_a_row_means_the_same_on_every_system(path: str) -> None:
    if path in Inside(Path("/nowhere")):
        there = PureWindowsPath("D:/run") / path
        assert there.is_relative_to("D:/run")
        assert ".." not in there.parts
        assert "\\" not in path


def test_paths_inside_a_run_folder_are_written_as_on_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "Path", PureWindowsPath)
    monkeypatch.setattr(paths, "os", SimpleNamespace(path=ntpath))
    folder = PureWindowsPath(r"C:\runs\first")
    assert paths._relative(r"C:\runs\first\prompts\given.csv", folder, folder) == "prompts/given.csv"
    assert paths._relative(r"D:\data\given.csv", folder, folder) == r"D:\data\given.csv"
    assert paths._is_local(r"C:\models\wan", Path())
    assert not paths._is_local("Wan-AI/Wan2.1", Path())


def test_a_text_file_has_the_same_bytes_on_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", None)  # it changes line ends on Windows
    write_text(tmp_path / "rows.jsonl", "é\nb\r\n")
    assert (tmp_path / "rows.jsonl").read_bytes() == b"\xc3\xa9\nb\r\n"
