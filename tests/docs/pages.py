"""What the tests of the documentation read off its pages."""

import re
from dataclasses import dataclass
from pathlib import Path

from videogpa.cli.shell import GROUPS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]

_BLOCK = re.compile(r"(?P<mark><!-- test -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code on a page; `tested` if the page marks it so."""

    language: str
    text: str
    tested: bool


def blocks(page: Path) -> list[Block]:
    return [Block(found["language"], found["text"], found["mark"] is not None) for found in _BLOCK.finditer(page.read_text())]


def commands(page: Path) -> list[str]:
    """The calls of the command line in the page's bash blocks, without comments, a line each; a command of a group as `a:b`."""
    lines = [
        line for block in blocks(page) if block.language == "bash" for line in block.text.replace("\\\n", " ").splitlines()
    ]
    called = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
    calls = [match[1] for line in called if (match := re.search(r"(?:^|\.venv/bin/|-m )videogpa(?:\.cli)? (\S.*)", line))]
    return [re.sub(rf"^({'|'.join(GROUPS)}) ([a-z])", r"\1:\2", call) for call in calls]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _BLOCK.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-") for heading in headings}
