"""Writes the pages of docs/reference that are made from the code: `python -m docs.generate`, or `make docs-reference`."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

import yaml

from docs import memory
from videogpa.bundled import recipes_folder
from videogpa.config.description import section_meaning, settings
from videogpa.critics.cards import Card, cards_of
from videogpa.judges import cards as judge_cards
from videogpa.measures import MEASURES
from videogpa.registry import CRITICS, JUDGES, MODELS, Plugin, Registry, load

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/generate.py from the code. Change the code, then run `make docs-reference`. -->"


def settings_page() -> str:
    """Return the page of all settings, a table per section."""
    text = [
        *("# Settings", "", NOTE, ""),
        "A recipe is a YAML file with these sections. A setting is named by its section and its own name, also on the command",
        "line: `--set train.beta=1000`. Unknown names and impossible values are refused before anything is loaded. The same",
        "table in the terminal: `videogpa list settings`, `videogpa list settings train`, `videogpa list settings train.beta`.",
        "",
        '"Paper" is [arXiv 2601.23286](https://arxiv.org/abs/2601.23286).',
    ]
    for section, members in groupby(settings(), key=lambda setting: setting.name.rpartition(".")[0]):
        text += ["", f"## {section}" if section else "## The recipe", ""]
        text += [section_meaning(section), ""] if section else []
        rows = [(f"`{s.name.rpartition('.')[2]}`", s.meaning, _code(s.default), s.values) for s in members]
        text += _table(("setting", "meaning", "default", "values"), rows)
    return "\n".join(text) + "\n"


def measures_page() -> str:
    """Return the page of all measures."""
    text = [
        *("# Measures", "", NOTE, ""),
        "The numbers of a row of `scores.jsonl`, under the names of its columns; those of prompts are in `diversity.jsonl`,",
        "those of [judges](judges.md) in `judgements.jsonl`. Reports and tables show the name beside them.",
        "Whatever is called an error is lower = better. A frozen clip has perfect geometry, so read geometry beside motion.",
        "In the terminal: `videogpa list measures`.",
        "",
    ]
    rows = [(f"`{name}`", m.label, m.better or "neither", m.unit, m.meaning) for name, m in MEASURES.items()]
    return "\n".join([*text, *_table(("column", "shown as", "better", "unit", "meaning"), rows)]) + "\n"


def critics_page() -> str:
    """Return the page of the critics and their weights."""
    text = ["# Critics", "", NOTE, "", "Which to take: [choose a critic](../how-to/choose-a-critic.md)."]
    text += ["In the terminal: `videogpa list critics`; its options too: `videogpa list critics NAME`."]
    for name, plugin in _own(CRITICS):
        text += ["", f"## {name}", "", plugin.about, ""]
        text += _cards(cards_of(name))
    return "\n".join(text) + "\n"


def judges_page() -> str:
    """Return the page of the judges, their numbers and their weights."""
    text = ["# Judges", "", NOTE, "", "How to ask them: [judge how clips look](../how-to/judges.md)."]
    text += ["In the terminal: `videogpa list judges`; its options too: `videogpa list judges NAME`."]
    for name, plugin in _own(JUDGES):
        text += ["", f"## {name}", "", plugin.about, ""]
        rows = [(f"`{key}`", m.label, m.better or "neither", m.meaning) for key, m in judge_cards.measures_of(name).items()]
        text += [*_table(("number", "shown as", "better", "meaning"), rows), ""]
        text += _cards(judge_cards.cards_of(name))
    return "\n".join(text) + "\n"


def _cards(cards: Iterable[Card]) -> Iterator[str]:
    """A table of weights: licences, sizes, papers."""
    rows = [
        (
            f"`{c.weights}`",
            c.licence,
            "yes" if c.commercial else "no",
            c.parameters or "",
            c.download or "",
            c.memory,
            _paper(c.paper),
        )
        for c in cards
    ]
    return _table(("weights", "licence", "commercial use", "parameters", "download", "memory", "paper"), rows)


def models_page() -> str:
    """Return the page of the video models and their weights."""
    text = [
        "# Models",
        "",
        NOTE,
        "",
        "The first weights of a model are those to begin with. In the terminal: `videogpa list models`.",
    ]
    for name, plugin in _own(MODELS):
        text += ["", f"## {name}", "", plugin.about, ""]
        rows = [
            (f"`{w.hub_id}`", w.licence, w.commercial, w.parameters, w.memory, _paper(w.paper))
            for w in load(MODELS, name).published
        ]
        text += _table(("weights", "licence", "commercial use", "parameters", "memory in bfloat16", "paper"), rows)
    return "\n".join(text) + "\n"


def recipes_page() -> str:
    """Return the page of the recipes that ship, each with its comments and its text."""
    text = [
        "# Recipes",
        "",
        NOTE,
        "",
        "In the terminal: `videogpa list recipes`, and `videogpa list recipes NAME` for the text.",
    ]
    for path in sorted(recipes_folder().glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        about = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
        needs = yaml.safe_load("\n".join(lines)).get("needs", {})
        machine = f"a GPU with {needs['gpu_gib']} GiB" if needs.get("gpu_gib") else "no GPU"
        text += ["", f"## {path.stem}", "", about, "", f"Needs {machine} and {needs['memory_gib']} GiB of memory.", ""]
        text += ["```yaml", *(line for line in lines if not line.startswith("#")), "```"]
    return "\n".join(text) + "\n"


def memory_page() -> str:
    """Return the page of the memory that a training takes."""
    headings = (
        "model, clip",
        "weights + adapter",
        "activations",
        "`gradient_checkpointing: true`",
        "and `joint_forward: false`",
    )
    text = ["# Memory of a training", "", NOTE, "", *memory.ABOUT, "", *_table(headings, memory.rows()), "", *memory.FORMULA]
    return "\n".join(text) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "measures.md": measures_page,
    "critics.md": critics_page,
    "judges.md": judges_page,
    "models.md": models_page,
    "recipes.md": recipes_page,
    "memory.md": memory_page,
}


def _own(plugins: Registry) -> list[tuple[str, Plugin]]:
    """The plug-ins of this package: pages must not depend on what else is installed."""
    return [(name, plugin) for name, plugin in plugins.items() if plugin.distribution is None]


def _paper(text: str) -> str:
    """The addresses of arXiv and of our own pages as short links, which keep the table within the page."""
    papers = re.sub(r"https://arxiv\.org/abs/([\d.]+\d)", r"[arXiv \1](\g<0>)", text)
    return re.sub(r"\bdocs/(?:\w+/)*(\w+)\.md", lambda page: f"[{page[1]}](../{page[0].removeprefix('docs/')})", papers)


def _code(text: str) -> str:
    return text if text == "required" or text.startswith("by ") else f"`{text}`"


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield _row(headings)
    yield "|" + "---|" * len(tuple(headings))
    yield from map(_row, rows)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
