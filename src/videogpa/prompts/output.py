"""Shows a recipe's prompts on the terminal, and writes them to a file that can be edited and used instead."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from videogpa.records import Prompt
from videogpa.storage.files import write_text
from videogpa.text_files import plural, printable

SHOWN = 20  # about a screen of prompts


def prompt_table(rows: Sequence[Prompt]) -> Group:
    """Return a table of the first prompts with their full texts, and the number of prompts in each split."""
    table = Table(show_lines=True)
    table.add_column("id", overflow="fold", ratio=1)
    table.add_column("split", no_wrap=True)
    table.add_column("brings", overflow="fold", ratio=1)
    table.add_column("text", ratio=4)
    for row in rows[:SHOWN]:
        table.add_row(Text(row.prompt), row.split, Text(printable(_brings(row), line=True)), Text(printable(row.text)))
    more = f" ({len(rows) - SHOWN} more than shown)" if len(rows) > SHOWN else ""
    held_out = sum(row.split == "held_out" for row in rows)
    return Group(table, f"{plural(len(rows) - held_out, 'prompt')} to train with, {held_out} held out{more}")


def write_prompts(rows: Sequence[Prompt], path: Path) -> None:
    """Write the prompts as JSONL, for `prompts.file` to read. Paths in the file are absolute, so that it can be moved."""
    write_text(path, "".join(row.model_dump_json(exclude_defaults=True) + "\n" for row in rows))


def _brings(row: Prompt) -> str:
    parts = ["a scene"] if row.scene is not None else [] if row.image is None else [Path(row.image).name]
    parts += [plural(len(row.videos), "clip")] if row.videos else []
    return ", ".join(parts)
