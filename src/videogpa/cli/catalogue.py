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
    result = Table(title=what, title_justify="left", show_lines=True)
    for heading in headings:
        result.add_column(heading, overflow="fold")
    for row in rows():
        result.add_row(*row)
    return result


def _critics() -> Iterator[tuple[str, ...]]:
    """Every critic with each of its weights; the first are the ones it takes if none are named."""
    for name in CRITICS:
        about = (inspect.getdoc(inspect.getmodule(load(CRITICS, name))) or "").partition("\n")[0]
        for i, card in enumerate(load(CRITICS, name).CARDS):
            what = f"{name}\n{about}" if i == 0 else name
            licence = f"{card.licence}\ncommercial use: {'yes' if card.commercial else 'no'}"
            size = f"{card.parameters} parameters\n{card.download} download" if card.parameters else "none"
            yield what, card.weights, licence, f"{size}\nmemory: {card.memory}", card.paper


def _models() -> Iterator[tuple[str, ...]]:
    """Every model with each of the published weights that it loads."""
    for name in MODELS:
        model = load(MODELS, name)
        asks_for = "text and a first frame" if model.needs_image else "text"
        for weights in model.published:
            licence = f"{weights.licence}\ncommercial use: {weights.commercial}"
            size = f"{weights.parameters} parameters\n{weights.memory} in bfloat16"
            yield f"{name}\n{asks_for}", weights.hub_id, licence, size, weights.paper


def _recipes() -> Iterator[tuple[str, str, str]]:
    for path in sorted(recipes_folder().glob("*.yaml")):
        recipe = load_recipe(path)
        purpose = " ".join(line.lstrip("# ").rstrip() for line in path.read_text().splitlines() if line.startswith("#"))
        yield path.stem, f"{recipe.model.name}: {recipe.model.path}", purpose


def _measures() -> Iterator[tuple[str, str, str, str]]:
    for name, measure in MEASURES.items():
        yield name, measure.better or "describes", measure.unit, measure.meaning


_TABLES: dict[str, tuple[tuple[str, ...], Callable[[], Iterator[tuple[str, ...]]]]] = {
    "critics": (("critic", "weights", "licence", "size", "paper"), _critics),
    "models": (("model", "weights", "licence", "size", "paper"), _models),
    "recipes": (("recipe", "model", "about"), _recipes),
    "measures": (("measure", "better", "unit", "meaning"), _measures),
}
