"""From a line of shell to a call of a command's function, and from what it returns to what the terminal shows."""

import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console, RenderableType
from tyro.conf import OmitArgPrefixes, Positional, PositionalRequiredArgs, UseAppendAction, arg

from videogpa import processes
from videogpa.cli import commands, run_commands, summary
from videogpa.errors import UserError
from videogpa.renames import upgrade_flags
from videogpa.temporary import sweep
from videogpa.text_files import printable


@dataclass(frozen=True)
class Command:
    """A command: its function, and what the terminal shows of what that returns."""

    function: Callable[..., Any]
    shows: Callable[[Any], RenderableType] | None = None
    """Renders the result for standard output; without it nothing is printed there."""
    notes: Callable[[Any, Mapping[str, Any]], str | None] | None = None
    """Makes of the result and the arguments a line for standard error."""
    runs_stages: bool = False
    """Whether it runs stages, which are printed as they begin and end. Other commands need not import the pipeline."""
    passes: Callable[[Any], bool] = lambda result: True
    """Whether the exit status is 0."""


COMMANDS = {
    "run": Command(run_commands.run, runs_stages=True, notes=summary.open_report),
    "demo": Command(run_commands.demo, runs_stages=True, notes=summary.open_report),
    "score": Command(commands.score_files, shows=summary.scored_files, notes=summary.open_scores),
    "compare": Command(commands.compare, shows=summary.compared, notes=summary.open_comparison),
    "prompts": Command(run_commands.show_prompts, shows=summary.planned_prompts, notes=summary.written_prompts),
    "generate": Command(run_commands.generate, runs_stages=True),
    "score-run": Command(run_commands.score_run, runs_stages=True),
    "pair": Command(run_commands.pair, runs_stages=True),
    "encode": Command(run_commands.encode, runs_stages=True),
    "train": Command(run_commands.train, runs_stages=True),
    "evaluate": Command(run_commands.evaluate, runs_stages=True),
    "report": Command(run_commands.report, runs_stages=True),
    "list": Command(commands.list_what, shows=lambda table: table),
    "check-critic": Command(commands.check_critic, shows=summary.critic_findings, passes=summary.all_right),
    "doctor": Command(commands.doctor, shows=summary.tables),
}
"""Every command by its name. What the stages of a run return is printed as they end, by `_StagePrinter`."""

_Repeated = UseAppendAction[tuple[str, ...]]
_SHELL_TYPES: dict[str, Any] = {  # parameters that take more from Python than the shell can give
    "recipe": Annotated[str, arg(metavar="RECIPE")],
    "paths": Annotated[tuple[str, ...], arg(metavar="PATH [PATH ...]")],
    "out": Annotated[str | None, arg(metavar="PATH")],
    "adapter": Annotated[str | None, arg(metavar="FOLDER")],
    "set": Annotated[_Repeated, arg(metavar="NAME=VALUE")],
    "options": Annotated[_Repeated, arg(name="option", metavar="NAME=VALUE")],
    "weights": Annotated[str | None, arg(metavar="PATH")],
    "name": Annotated[str | None, Positional, arg(metavar="NAME")],
    "workers": Annotated[int | None, arg(metavar="COUNT")],
    "ray": Annotated[str | None, arg(metavar="ADDRESS")],
}

# Before torch is loaded: OpenMP's threads otherwise spin as they wait for each other, and where two programs share the cores
# small models run three times slower for it (miniature generation on two busy cores: 36 s, with this 11 s).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: list[str] | None = None) -> None:
    """Run a command.

    User errors print one message and exit with status 1; everything else, which is an error of the program, shows a traceback.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("videogpa").setLevel(logging.INFO if processes.is_main_process() else logging.ERROR)
    given = upgrade_flags(sys.argv[1:] if arguments is None else arguments)
    name, parsed = tyro.extras.subcommand_cli_from_dict(
        {name: _parser(name, command.function, whole=name in given[:1]) for name, command in COMMANDS.items()},
        prog="videogpa",
        description="Score the 3D consistency of videos, and align video diffusion models with it.",
        args=given,
        config=(OmitArgPrefixes, PositionalRequiredArgs),
    )
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: workers stop, temporary files go
    if processes.is_main_process():
        sweep()
    try:
        passed = _call(COMMANDS[name], parsed)
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or 'the disk'}. Finished work is kept; mend it and run this again.")
    except KeyboardInterrupt:
        _fail("interrupted; finished work is kept, run this again to continue")
    else:
        if not passed:
            raise SystemExit(1)


class _PrintableFormatter(logging.Formatter):
    """Writes control characters, which names of files may hold, as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _parser(name: str, function: Callable[..., Any], *, whole: bool) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Return what the shell's arguments are parsed for: a function like the command's that only returns its arguments.

    Its help is the whole docstring, or the first line alone where all commands are listed.
    """

    def parsed(**given: Any) -> tuple[str, dict[str, Any]]:
        return name, given

    parameters = [
        parameter.replace(annotation=_SHELL_TYPES.get(parameter.name, parameter.annotation))
        for parameter in inspect.signature(function).parameters.values()
    ]
    vars(parsed).pop("__wrapped__", None)  # of a type checker's decorator: tyro would read the function below it
    vars(parsed)["__signature__"] = inspect.Signature(parameters)
    parsed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    parsed.__name__ = function.__name__
    parsed.__doc__ = function.__doc__ if whole else (function.__doc__ or "").partition("\n")[0]
    return parsed


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
            _console(stderr=False).print(command.shows(result))
        if command.notes is not None and (note := command.notes(result, given)) is not None:
            _console().print(printable(note), soft_wrap=True, markup=False)
    return command.passes(result)


class _StagePrinter:
    """Prints a heading when a stage begins, and a summary of what it returns."""

    def begin(self, stage: str) -> None:
        _console(quiet=not processes.is_main_process()).rule(f"[bold]{stage}", align="left")

    def end(self, stage: str, result: Any) -> None:
        _console(quiet=not processes.is_main_process()).print(summary.STAGES[stage](result))


def _fail(message: str) -> None:
    _console().print(f"error: {printable(message)}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(1)


def _console(*, stderr: bool = True, quiet: bool = False) -> Console:
    return Console(stderr=stderr, quiet=quiet)
