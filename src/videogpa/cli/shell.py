"""From a line of shell to a call of a command's function, and from what it returns to what the terminal shows."""

import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from videogpa import processes
from videogpa.cli import commands, judge_command, run_commands, study_commands, study_summary, summary, terminal
from videogpa.cli.arguments import parse
from videogpa.cli.last_net import FAILED, LastNet
from videogpa.cli.terminal import console
from videogpa.errors import MissingInput
from videogpa.renames import upgrade_flags
from videogpa.temporary import sweep
from videogpa.text_files import printable


@dataclass(frozen=True)
class Command:
    """A command: its function, and what the terminal shows of what that returns."""

    function: Callable[..., Any]
    shows: Callable[[Any], RenderableType] | None = None
    """Renders the result for standard output, where a text is printed as it is; without it nothing is printed there."""
    notes: Callable[[Any, Mapping[str, Any]], str | None] | None = None
    """Makes of the result and the arguments a line for standard error."""
    runs_stages: bool = False
    """Whether it runs stages, which are printed as they begin and end. Other commands need not import the pipeline."""
    passes: Callable[[Any], bool] = lambda result: True
    """Whether the exit status is 0."""


COMMANDS = {
    "run": Command(run_commands.run, runs_stages=True, notes=summary.open_report, passes=summary.run_without_errors),
    "demo": Command(run_commands.demo, runs_stages=True, notes=summary.open_report, passes=summary.run_without_errors),
    "score": Command(
        commands.score_files, shows=summary.scored_files, notes=summary.open_scores, passes=summary.without_errors
    ),
    "judge": Command(
        judge_command.judge_files, shows=summary.judged_files, notes=summary.open_judgements, passes=summary.without_errors
    ),
    "compare": Command(
        commands.compare, shows=summary.compared, notes=summary.open_comparison, passes=summary.compared_without_errors
    ),
    "table": Command(commands.table, shows=str, notes=summary.written_table),
    "view": Command(commands.view, shows=summary.viewed, notes=summary.open_recording),
    "prompts": Command(run_commands.show_prompts, shows=summary.planned_prompts, notes=summary.written_prompts),
    "generate": Command(run_commands.generate, runs_stages=True),
    "score-run": Command(run_commands.score_run, runs_stages=True, passes=summary.without_errors),
    "pair": Command(run_commands.pair, runs_stages=True),
    "encode": Command(run_commands.encode, runs_stages=True),
    "train": Command(run_commands.train, runs_stages=True),
    "evaluate": Command(run_commands.evaluate, runs_stages=True, passes=summary.evaluated_without_errors),
    "report": Command(run_commands.report, runs_stages=True),
    "study": Command(study_commands.study),
    "list": Command(commands.list_what, shows=lambda table: table),
    "check-critic": Command(commands.check_critic, shows=summary.critic_findings, passes=summary.all_right),
    "doctor": Command(commands.doctor, shows=summary.tables),
}
"""Every command by its name; those of groups are in `GROUPS`. What stages return is printed as they end, by `_StagePrinter`."""

GROUPS = {
    "study": {
        "make": Command(study_commands.make, shows=study_summary.made, notes=study_summary.give_to_raters),
        "serve": Command(study_commands.serve),
        "read": Command(study_commands.read, shows=study_summary.read, notes=study_summary.written),
        "plan": Command(study_commands.plan, shows=study_summary.planned),
    },
}
"""The commands of each group by its name. The help of a group is the docstring of its function in `COMMANDS`."""

# Before torch is loaded: OpenMP's threads otherwise spin as they wait for each other, and where two programs share the cores
# small models run three times slower for it (miniature generation on two busy cores: 36 s, with this 11 s).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: list[str] | None = None) -> None:
    """Run a command.

    An error ends in one message: see `videogpa.cli.last_net` for which, and for the exit status.
    """
    terminal.prepare()
    given = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in given
    _print_log(level=logging.DEBUG if debug else logging.INFO)
    with LastNet(given, debug=debug):
        _run([word for word in given if word != "--debug"])


def _print_log(level: int) -> None:
    """Send the log to the terminal. Before `LastNet`: where the root has a handler already, basicConfig adds none."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("videogpa").setLevel(level if processes.is_main_process() else logging.ERROR)


def _run(given: list[str]) -> None:
    command, parsed = _parse(upgrade_flags(given))
    _require_working_folder()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: workers stop, temporary files go
    if processes.is_main_process():
        sweep()
    if not _call(command, parsed):
        raise SystemExit(FAILED)


def _parse(given: list[str]) -> tuple[Command, dict[str, Any]]:
    """Return the command that is called, which may be one of a group, and the arguments for its function."""
    group = given[0] if given[:1] and given[0] in GROUPS else None
    if group is None:
        name, parsed = parse(_functions(COMMANDS), given)
        return COMMANDS[name], parsed
    about = inspect.getdoc(COMMANDS[group].function) or ""
    name, parsed = parse(_functions(GROUPS[group]), given[1:], prog=f"videogpa {group}", about=about)
    return GROUPS[group][name], parsed


def _functions(commands: Mapping[str, Command]) -> dict[str, Callable[..., Any]]:
    return {name: command.function for name, command in commands.items()}


def _require_working_folder() -> None:
    """Refuse a working folder that has been deleted: PyTorch's libraries end the process without a word that helps."""
    try:
        Path.cwd()
    except OSError as error:
        raise MissingInput(
            f"the folder that this command was started in cannot be used ({error.strerror}): change to another one with `cd`, "
            "and run it again"
        ) from None


class _PrintableFormatter(logging.Formatter):
    """Writes control characters, which names of files may hold, as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _call(command: Command, given: dict[str, Any]) -> bool:
    """Call the command's function, print what it returns, and return whether it passes."""
    if command.runs_stages:
        from videogpa.pipeline import watched_by

        with watched_by(_StagePrinter()):
            result = command.function(**given)
    else:
        result = command.function(**given)
    if processes.is_main_process():
        if command.shows is not None:
            shown = command.shows(result)
            if isinstance(shown, str):
                console(stderr=False).print(shown, soft_wrap=True, markup=False, highlight=False, end="")
            else:
                console(stderr=False).print(shown)
        if command.notes is not None and (note := command.notes(result, given)) is not None:
            console().print(printable(note), soft_wrap=True, markup=False)
    return command.passes(result)


class _StagePrinter:
    """Prints a heading when a stage begins, and a summary of what it returns."""

    def begin(self, stage: str) -> None:
        console(quiet=not processes.is_main_process()).rule(f"[bold]{stage}", align="left")

    def end(self, stage: str, result: Any) -> None:
        console(quiet=not processes.is_main_process()).print(summary.STAGES[stage](result))
