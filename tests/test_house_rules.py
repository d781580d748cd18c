"""The house's own rules, held by machine: who may import whom, sizes of files, what never stands in the code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "videogpa"
FILES = sorted(PACKAGE.rglob("*.py"))

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FLOORS = [set(line.split()) for line in ARCHITECTURE.split("```text\n")[1].split("\n```")[0].splitlines()]
"""Each line's rooms may import those of the lines before it, and its own."""


def room(module: str) -> str:
    _, *path = module.split(".")
    return path[0] if path else ""


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down_only(file: Path) -> None:
    relative = file.relative_to(PACKAGE)
    if relative.name == "__init__.py" and len(relative.parts) == 1:
        return  # the package's face hands names on
    mine = room(".".join(["videogpa", *relative.with_suffix("").parts]))
    floor = next(i for i, rooms in enumerate(FLOORS) if mine in rooms)
    allowed = {name for rooms in FLOORS[: floor + 1] for name in rooms} | {"__version__", ""}
    ours = {name for name in imports(file) if name.split(".")[0] == "videogpa"}
    assert {name for name in ours if room(name) not in allowed} == set()
    if mine == "maths":
        outside = {name.split(".")[0] for name in imports(file)} - set(sys.stdlib_module_names)
        assert outside <= {"torch", "jaxtyping", "videogpa"}
        assert all(room(name) == "maths" for name in ours)


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "miniatures"])
def test_files_stay_short(folder: str) -> None:
    assert {str(file): n for file in (ROOT / folder).rglob("*.py") if (n := len(file.read_text().splitlines())) > 400} == {}


def test_no_blind_except_no_open_ports_no_loose_ends() -> None:
    forbidden = re.compile(r"except( Exception| BaseException)?:|0\.0\.0\.0|\bTODO\b|\bFIXME\b|NotImplementedError")
    hits = [f"{file.name}: {line}" for file in FILES for line in file.read_text().splitlines() if forbidden.search(line)]
    assert hits == []


def test_whatever_happens_is_caught_in_one_place_per_border() -> None:
    caught = [
        file.name for file in FILES for line in file.read_text().splitlines() if re.search(r"except (Base)?Exception\b", line)
    ]
    assert caught == ["one_clip.py"]  # one clip never ends a batch


def test_no_pickle_is_read() -> None:
    readers = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    hits = [
        f"{file.name}: {name}"
        for file in FILES
        for name in imports(file)
        if name.split(".")[0] in readers and name != "pickle.UnpicklingError"
    ]
    careless = re.compile(r"torch\.load\((?!.*weights_only=True)|weights_only=False|allow_pickle|jit\.load|read_pickle")
    hits += [f"{file.name}: {line}" for file in FILES for line in file.read_text().splitlines() if careless.search(line)]
    assert hits == []


def test_torch_is_pinned_and_nothing_of_torchvision_is_imported() -> None:
    assert "torch==" in (ROOT / "constraints.txt").read_text()
    assert not [file for file in FILES if any(name.split(".")[0] in {"torchvision", "lpips", "piq"} for name in imports(file))]


def test_the_command_line_answers_without_loading_torch() -> None:
    code = "import sys, videogpa.cli; sys.exit(any(m in sys.modules for m in ('torch', 'cv2', 'diffusers', 'pycolmap')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_architecture_page_has_a_line_for_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    listed = {match[1] for match in re.finditer(r"^ *([a-z_]+(?:\.py|/))", page, re.MULTILINE)}
    rooms = {path.name for path in PACKAGE.glob("[a-z]*.py")} | {
        f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")
    }
    assert rooms - listed == set()
