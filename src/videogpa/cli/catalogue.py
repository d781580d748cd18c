"""`videogpa list`: what the package offers, an entry in a line or two; and everything about one entry on request.

To add a list, write a function that returns its entries and put it into `CATALOGUES`.
"""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from videogpa.critics.cards import Card, cards_of
from videogpa.errors import InvalidInput
from videogpa.judges import cards as judge_cards
from videogpa.measures import MEASURES
from videogpa.registry import CRITICS, JUDGES, MODELS, Plugin, Registry, load

WIDTH = 80
GAP = 2  # spaces between columns

Details = Callable[[], Iterator[RenderableType]]


@dataclass(frozen=True)
class Entry:
    """One entry of a list."""

    name: str
    about: str
    """Shown in at most two lines; what is longer is cut, and whole among the details."""
    details: Details
    """Everything about the entry, made when it is asked for."""
    facts: tuple[str, ...] = ()
    """Short columns between the name and `about`."""


@dataclass(frozen=True)
class Catalogue:
    """A list: the headings of its columns, from `facts` on, and a function that returns the entries."""

    headings: tuple[str, ...]
    entries: Callable[[], list[Entry]]
    plugins: Registry | None = None
    """If the entries are plug-ins: their table, for those that were refused."""

    def refused(self) -> list[str]:
        """Return a sentence for every plug-in that cannot be used."""
        return [] if self.plugins is None else [f"Not used: {reason}." for reason in self.plugins.refused.values()]


def show(what: str, name: str | None = None) -> RenderableType:
    """Return the whole list `what`, or all that is known of the entry `name`, as something that rich prints.

    Args:
        what: A key of `CATALOGUES`, such as `critics`.
        name: An entry, such as `vggt`, or the part of its name before a dot, such as `train` of `train.beta`: then the list is
            narrowed to those entries.

    Raises:
        InvalidInput: If there is no such entry; the message names those that exist.
    """
    catalogue = CATALOGUES[what]
    entries = catalogue.entries()
    if name is None:
        more = f"\nEverything about one of them: videogpa list {what} {entries[0].name}"
        return Group(_table(catalogue.headings, entries), *map(Text, catalogue.refused()), Text(more))
    for entry in entries:
        if entry.name == name:
            return Group(*entry.details())
    within = [entry for entry in entries if entry.name.startswith(f"{name}.")]
    if within:
        return _table(catalogue.headings, within)
    known = ", ".join(entry.name for entry in entries)
    raise InvalidInput("\n".join((f"there is no {name!r} among the {what}; there are: {known}", *catalogue.refused())))


def _table(headings: tuple[str, ...], entries: list[Entry]) -> Table:
    """Return a table of `WIDTH` columns in which an entry takes one or two lines."""
    names = ["name", *(entry.name for entry in entries)]
    columns = [names, *([heading, *(entry.facts[i] for entry in entries)] for i, heading in enumerate(headings[:-1]))]
    widths = [max(map(len, column)) for column in columns]
    rest = WIDTH - sum(widths) - GAP * len(widths)
    result = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for heading, width in zip(("name", *headings[:-1]), widths, strict=True):
        result.add_column(heading, no_wrap=True, min_width=width)
    result.add_column(headings[-1])
    for entry in entries:
        about = "\n".join(textwrap.wrap(entry.about, rest, max_lines=2, placeholder=" …"))
        result.add_row(Text(entry.name, style="cyan"), *map(Text, entry.facts), Text(about))
    return result


def facts(rows: dict[str, str]) -> Table:
    """Return a table of names and values, for the details of an entry. Empty values are left out."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(value))
    return table


def _critics() -> list[Entry]:
    def entry(name: str, plugin: Plugin) -> Entry:
        if plugin.distribution is not None:  # nothing is known of its weights before it is imported
            return Entry(name, _origin(plugin), lambda: _critic_details(name, plugin), ("", ""))
        first = cards_of(name)[0]
        columns = ("yes" if first.commercial else "no", first.download or "none")
        return Entry(name, plugin.about, lambda: _critic_details(name, plugin), columns)

    return [entry(name, plugin) for name, plugin in CRITICS.items()]


def _critic_details(name: str, plugin: Plugin) -> Iterator[RenderableType]:
    yield from _plugin_details(name, plugin, CRITICS)
    yield from _cards(cards_of(name), first=" (default)")


def _judges() -> list[Entry]:
    def entry(name: str, plugin: Plugin) -> Entry:
        if plugin.distribution is not None:  # nothing is known of its weights before it is imported
            return Entry(name, _origin(plugin), lambda: _judge_details(name, plugin), ("", ""))
        first = judge_cards.cards_of(name)[0]
        columns = ("yes" if first.commercial else "no", first.download or "none")
        return Entry(name, plugin.about, lambda: _judge_details(name, plugin), columns)

    return [entry(name, plugin) for name, plugin in JUDGES.items()]


def _judge_details(name: str, plugin: Plugin) -> Iterator[RenderableType]:
    yield from _plugin_details(name, plugin, JUDGES)
    yield Text("\nnumbers:", style="bold")
    yield facts({key: measure.meaning for key, measure in judge_cards.measures_of(name).items()})
    yield from _cards(judge_cards.cards_of(name))


def _cards(cards: tuple[Card, ...], first: str = "") -> Iterator[RenderableType]:
    for i, card in enumerate(cards):
        yield Text(f"\nweights: {card.weights}{first if i == 0 and card.parameters else ''}", style="bold")
        yield facts(
            {
                "licence": card.licence,
                "commercial use": "yes" if card.commercial else "no",
                "parameters": card.parameters or "",
                "download": card.download or "",
                "memory": card.memory,
                "paper": card.paper,
            }
        )


def _models() -> list[Entry]:
    def entry(name: str, plugin: Plugin) -> Entry:
        return Entry(name, _origin(plugin), lambda: _model_details(name, plugin))

    return [entry(name, plugin) for name, plugin in MODELS.items()]


def _model_details(name: str, plugin: Plugin) -> Iterator[RenderableType]:
    yield from _plugin_details(name, plugin, MODELS)
    for weights in load(MODELS, name).published:
        yield Text(f"\nweights: {weights.hub_id}", style="bold")
        yield facts(
            {
                "licence": weights.licence,
                "commercial use": weights.commercial,
                "parameters": weights.parameters,
                "size": f"{weights.memory} in bfloat16",
                "paper": weights.paper,
            }
        )


def _plugin_details(name: str, plugin: Plugin, table: Registry) -> Iterator[RenderableType]:
    """Yield what a plug-in says of itself: its sentence, and the docstrings of its module and class."""
    plugin_class = load(table, name)
    yield Text(f"{name}: {_origin(plugin)}", style="bold")
    for documented in (inspect.getmodule(plugin_class), plugin_class):
        if text := inspect.getdoc(documented):
            yield Text(f"\n{reflow(text)}")


def reflow(text: str) -> str:
    """Return a docstring wrapped to `WIDTH`. Points and entries of an argument list stay apart, and code as it is."""
    blocks: list[str] = []
    previous = ""
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        code = indent >= 4 and (not previous.strip() or blocks[-1].startswith("     "))
        if not line.strip() or not previous.strip() or code or previous.endswith(":") or _OWN_LINE.match(line):
            blocks.append(line)
        else:
            blocks[-1] += " " + line.strip()
        previous = line
    return "\n".join(_wrapped(block) for block in blocks)


_OWN_LINE = re.compile(r"\s*- |    \w+: |\S+:$")  # a point, an argument, a heading such as Args:


def _wrapped(block: str) -> str:
    indent = " " * (len(block) - len(block.lstrip()) + 2 * block.lstrip().startswith("- "))
    if len(indent) >= 4 and _OWN_LINE.match(block):
        indent += "    "
    return block if len(block) <= WIDTH else textwrap.fill(block, WIDTH, subsequent_indent=indent)


def _origin(plugin: Plugin) -> str:
    """Return the sentence about a plug-in, and the package that it comes from if that is not this one."""
    return plugin.about if plugin.distribution is None else f"From {plugin.distribution}. {plugin.about}".rstrip()


def _recipes() -> list[Entry]:
    import yaml

    from videogpa.bundled import recipes_folder

    entries = []
    for path in sorted(recipes_folder().glob("*.yaml")):
        gpu = yaml.safe_load(path.read_text(encoding="utf-8")).get("needs", {}).get("gpu_gib")
        entries.append(Entry(path.stem, _purpose(path), _recipe_details(path), (f"{gpu:g} GiB GPU" if gpu else "CPU",)))
    return entries


def _purpose(path: Path) -> str:
    """Return the first sentence of a recipe's comments, without the command that runs it."""
    comments = " ".join(
        line.lstrip("# ").rstrip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")
    )
    return comments.partition(". ")[0].partition(": `videogpa")[0].rstrip(".") + "."


def _recipe_details(path: Path) -> Details:
    return lambda: iter((Text(f"{path}\n", style="bold"), Text(path.read_text(encoding="utf-8").rstrip())))


def _measures() -> list[Entry]:
    def entry(name: str) -> Entry:
        measure = MEASURES[name]
        rows = {
            "measure": name,
            "better": measure.better or "neither: it describes",
            "unit": measure.unit,
            "meaning": measure.meaning,
        }
        meaning = f"{measure.meaning} ({measure.unit})" if measure.unit else measure.meaning
        return Entry(name, meaning, lambda: iter((facts(rows),)), (measure.better or "-",))

    return [entry(name) for name in MEASURES]


def _settings() -> list[Entry]:
    from videogpa.config.description import Setting, settings

    def entry(setting: Setting) -> Entry:
        rows = {"setting": setting.name, "default": setting.default, "values": setting.values, "meaning": setting.meaning}
        return Entry(setting.name, f"{setting.default}: {setting.meaning}", lambda: iter((facts(rows),)))

    return [entry(setting) for setting in settings()]


CATALOGUES: dict[str, Catalogue] = {
    "critics": Catalogue(("commercial", "download", "about"), _critics, CRITICS),
    "judges": Catalogue(("commercial", "download", "about"), _judges, JUDGES),
    "models": Catalogue(("about",), _models, MODELS),
    "recipes": Catalogue(("needs", "about"), _recipes),
    "measures": Catalogue(("better", "meaning"), _measures),
    "settings": Catalogue(("default and meaning",), _settings),
}
"""What `videogpa list` takes as its first argument."""
