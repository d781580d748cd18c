"""What the terminal shows of prompts and names: no control character of theirs reaches it."""

import io
import logging

import pytest
from rich.console import Console

from videogpa.cli.shell import _PrintableFormatter, main
from videogpa.prompts.output import prompt_table
from videogpa.records import Prompt

ATTACK = "a\x1b[2J\x1b]0;title\x07\rroom\x9b31m"


def test_the_table_of_prompts_shows_control_characters_as_escapes() -> None:
    stream = io.StringIO()
    rows = [Prompt(prompt="a", text=ATTACK, image=f"/x/{ATTACK}.png"), Prompt(prompt="b", text="[bold]a hall[/bold]")]
    Console(file=stream, width=200, force_terminal=False).print(prompt_table(rows))
    shown = stream.getvalue()
    assert not set(shown) & {"\x1b", "\x07", "\r", "\x9b"}
    assert r"a\x1b[2J\x1b]0;title\x07\rroom\x9b31m" in shown
    assert "[bold]a hall[/bold]" in shown


def test_log_lines_and_errors_show_control_characters_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("videogpa", logging.WARNING, "", 0, "%s: is damaged", (ATTACK,), None)
    assert _PrintableFormatter("%(message)s").format(record) == r"a\x1b[2J\x1b]0;title\x07\rroom\x9b31m: is damaged"
    with pytest.raises(SystemExit):
        main(["prompts", ATTACK])
    error = capsys.readouterr().err
    assert r"no recipe at a\x1b[2J" in error
    assert not set(error) & {"\x1b", "\x07", "\r", "\x9b"}
