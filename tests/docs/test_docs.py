"""The documentation is true: what it names exists, its links lead somewhere, and its code runs."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from attempts import run_shell
from pages import DOCS, PAGES, ROOT, anchors, blocks, commands, prose
from pydantic import BaseModel

import gallery_clips
from videogpa import defaults
from videogpa.config import Recipe
from videogpa.measures import MEASURES

EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)(?:#([^)\s]+))?\)")
CODE_FILE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|yaml|txt|sh))`")
SECTION = "|".join(Recipe.model_fields)
SETTING = re.compile(rf"(?:`|--set '?)((?:{SECTION})(?:\.[a-z_0-9]+)+)(?=[`:= ])")
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "NO_MKDOCS_2_WARNING": "1"}


@EVERY_PAGE
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    wrong = []
    for path, anchor in LINK.findall(prose(page)):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(f"{path}#{anchor}")
    assert wrong == []


@EVERY_PAGE
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    rooms = (ROOT, ROOT / "src" / "videogpa", DOCS)
    assert [name for name in CODE_FILE.findall(prose(page)) if not any((room / name).exists() for room in rooms)] == []


@EVERY_PAGE
def test_every_setting_that_a_page_names_is_one(page: Path) -> None:
    named = {
        name for name in SETTING.findall(page.read_text()) if not (ROOT / "src/videogpa" / name.replace(".", "/")).exists()
    }
    assert {name for name in named if not name.endswith((".py", ".jsonl", ".json", ".html")) and not is_setting(name)} == set()


def is_setting(name: str) -> bool:
    """Whether a recipe has the setting; below a mapping such as `score.options` any name will do."""
    model: type[BaseModel] = Recipe
    *sections, last = name.split(".")
    for section in sections:
        if section not in model.model_fields:
            return False
        annotation = model.model_fields[section].annotation
        known = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not known:
            return True
        model = known[0]
    return last in model.model_fields


def test_every_page_that_the_code_names_exists() -> None:
    folders = [ROOT / folder for folder in ("src", "benchmarks", "miniatures", "recipes", "tests")]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in {".py", ".yaml", ".j2"}]
    named = {name for file in files for name in re.findall(r"\bdocs/[\w/-]+\.md", file.read_text())}
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_command_and_flag_in_the_docs_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    used: dict[str, set[str]] = {}
    for call in (call for page in PAGES for call in commands(page)):
        name, *arguments = call.split()
        used.setdefault(name, set()).update(re.match(r"--[a-z-]+", word)[0] for word in arguments if word.startswith("--"))  # type: ignore[index]
    assert {"run", "score", "train"} <= used.keys()
    for name, flags in used.items():
        shown = run_shell(*name.split(":"), "--help")
        assert shown.status == 0, f"videogpa {name}: {shown.err}"
        assert {flag for flag in flags if not re.search(rf"{flag}\b", shown.out)} == set(), f"videogpa {name}"


def test_the_gallery_quotes_the_table_of_results() -> None:
    page = (DOCS / "gallery.md").read_text()
    rows = [line.split(" | ") for line in (ROOT / "benchmarks/results/gallery.md").read_text().splitlines()[6:]]
    scored = [row for row in rows if row[1] == "ok"]
    assert len(scored) == 6
    for _, _, loo_error, explained, error_3dcs, flow, *_ in scored:
        assert f"| {loo_error} | {float(explained):.2f} | {error_3dcs} | {flow} |" in page


def test_the_page_of_the_interface_quotes_the_defaults_of_scoring() -> None:
    page = (DOCS / "reference/api.md").read_text()
    quoted = dict(re.findall(r"`([A-Z_]+)`\s(?:is\s)?`?(\"\w+\"|\d+)`?", page))
    assert {name: json.loads(value) for name, value in quoted.items() if name != "MEASURES"} == {
        name: value for name, value in vars(defaults).items() if name.isupper()
    }


def test_every_measure_that_the_gallery_and_symptoms_show_is_one() -> None:
    columns = set(
        re.findall(
            r"`(loo_\w+|error_\w+|explained|flow|parallax|jerk|join_error|focal_\w+)`", (DOCS / "symptoms.md").read_text()
        )
    )
    assert columns <= MEASURES.keys()


@pytest.mark.slow
def test_the_site_builds_and_nothing_in_it_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "index.html").read_text()
    assert re.findall(r"<(?:script|img|iframe)[^>]+src=\"?https?:[^>]*|<link[^>]+stylesheet[^>]+https?:[^>]*", html) == []


FEWER = [
    *("--set", "prompts.world.train=4", "--set", "prompts.world.held_out=2"),
    *("--set", "generate.num_inference_steps=2", "--set", "evaluate.seeds=1"),
]
"""What is added to `videogpa run smoke-test`: the page takes all stages, with half of the prompts."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a reader's own scripts close a file as they end
@pytest.mark.parametrize("name", ["tutorials/score-clips", "tutorials/align-cogvideox", "how-to/own-reconstruction"])
def test_the_code_of_the_page_runs_from_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gallery_clips, "FRAMES", 13)  # half of them
    tested = [block for block in blocks(DOCS / f"{name}.md") if block.tested]
    assert tested
    for block in tested:
        if block.language == "bash":
            run_lines(block.text, monkeypatch)
        else:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(block.text, {"__name__": "__main__"})
            assert printed.getvalue(), f"prints nothing:\n{block.text}"


def run_lines(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run lines of bash; the commands of ours in this process, since a new one takes seconds to import torch."""
    for part in re.split(r"^((?:videogpa|python) .*)\n", text.replace("\\\n", " "), flags=re.MULTILINE):
        words = shlex.split(part, comments=True) if part.startswith(("videogpa ", "python ")) else []
        if words[:1] == ["videogpa"]:
            ran = run_shell(*words[1:], *(FEWER if words[1:3] == ["run", "smoke-test"] else []))
            assert ran.status == 0, f"{part}\n{ran.out}\n{ran.err}"
        elif words:
            assert words[1] == "benchmarks/gallery_clips.py"
            monkeypatch.setattr(sys, "argv", words[1:])
            gallery_clips.main()
        else:
            subprocess.run(["bash", "-euc", part], check=True)
