"""What the package offers, as tables: for `videogpa list`."""

import inspect
from collections.abc import Callable, Iterator

from rich.table import Table

from videogpa.config import load_recipe
from videogpa.measures import MEASURES
from videogpa.pipeline import recipes_folder
from videogpa.registry import CRITICS, MODELS, load


def table(what: str) -> Table:
    """Return the table of critics, models, recipes or measures."""
    headings, rows = _TABLES[what]
    result = Table(title=what, title_justify="left")
    for heading in headings:
        result.add_column(heading, overflow="fold")
    for row in rows():
        result.add_row(*row)
    return result


def _plugins(names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Every plug-in with the first paragraph of its file: what it is, what it costs."""
    for name in names:
        module = inspect.getmodule(load(names, name))
        yield name, " ".join((inspect.getdoc(module) or "").split())


def _recipes() -> Iterator[tuple[str, str, str]]:
    for path in sorted(recipes_folder().glob("*.yaml")):
        recipe = load_recipe(path)
        purpose = " ".join(line.lstrip("# ").rstrip() for line in path.read_text().splitlines() if line.startswith("#"))
        yield path.stem, f"{recipe.model.name}: {recipe.model.path}", purpose


def _measures() -> Iterator[tuple[str, str, str, str]]:
    for name, measure in MEASURES.items():
        yield name, measure.better or "describes", measure.unit, measure.meaning


_TABLES: dict[str, tuple[tuple[str, ...], Callable[[], Iterator[tuple[str, ...]]]]] = {
    "critics": (("critic", "about"), lambda: _plugins(CRITICS)),
    "models": (("model", "about"), lambda: _plugins(MODELS)),
    "recipes": (("recipe", "model", "about"), _recipes),
    "measures": (("measure", "better", "unit", "meaning"), _measures),
}
