"""From a line of shell to the arguments of a command's function."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro
from tyro.conf import OmitArgPrefixes, Positional, PositionalRequiredArgs, UseAppendAction, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from videogpa.cli.terminal import colours_as_wished
from videogpa.text_files import cut

_Repeated = UseAppendAction[tuple[str, ...]]
_SHELL_TYPES: dict[str, Any] = {  # parameters that take more from Python than the shell can give
    "recipe": Annotated[str, arg(metavar="RECIPE")],
    "paths": Annotated[tuple[str, ...], arg(metavar="PATH [PATH ...]")],
    "clip": Annotated[str, arg(metavar="CLIP")],
    "folder": Annotated[str, arg(metavar="FOLDER")],
    "key": Annotated[str | None, arg(metavar="FILE")],
    "scores": Annotated[_Repeated, arg(metavar="FOLDER")],
    "save": Annotated[str | None, arg(metavar="FILE")],
    "out": Annotated[str | None, arg(metavar="PATH")],
    "adapter": Annotated[str | None, arg(metavar="FOLDER")],
    "set": Annotated[_Repeated, arg(metavar="NAME=VALUE")],
    "options": Annotated[_Repeated, arg(name="option", metavar="NAME=VALUE")],
    "weights": Annotated[str | None, arg(metavar="PATH")],
    "judge": Annotated[_Repeated, arg(metavar="NAME=WEIGHTS")],
    "prompts": Annotated[str | None, arg(metavar="FILE")],
    "name": Annotated[str | None, Positional, arg(metavar="NAME")],
    "workers": Annotated[int | None, arg(metavar="COUNT")],
    "ray": Annotated[str | None, arg(metavar="ADDRESS")],
}
_ABOUT = (
    "Score the 3D consistency of videos, and align video diffusion models with it.\n\n"
    "--debug, before or after the command, shows where in the program an error arose. Exit status: 0 done; 1 an error that the "
    "message says how to mend, a critic that fails its test, or an interruption; 2 arguments that are not understood; 70 an "
    "error of the program itself."
)


def parse(
    functions: Mapping[str, Callable[..., Any]], given: Sequence[str], *, prog: str = "videogpa", about: str = _ABOUT
) -> tuple[str, dict[str, Any]]:
    """Return the name of the command that is called, and the arguments for its function.

    Args:
        functions: The function of each command by its name.
        given: The words of the line.
        prog: The words before them.
        about: What help says of all of the commands.

    Raises:
        SystemExit: After help was printed (status 0), or a message about arguments that are not understood (2).
    """
    with colours_as_wished():
        parsed: tuple[str, dict[str, Any]] = tyro.extras.subcommand_cli_from_dict(
            {name: _parser(name, function, whole=name in given[:1]) for name, function in functions.items()},
            prog=prog,
            description=about,
            args=given,
            config=(OmitArgPrefixes, PositionalRequiredArgs),
            registry=_registry(),
        )
    return parsed


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


def _registry() -> ConstructorRegistry:
    registry = ConstructorRegistry()
    registry.primitive_rule(_whole_number)
    return registry


def _whole_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Read a whole number, or one of the words that a parameter takes in its place; else say what is expected."""
    options = get_args(info.type) or (info.type,)
    if int not in options or info.type_origin in (tuple, list):
        return None
    words = tuple(word for option in options if get_origin(option) is Literal for word in get_args(option))
    expected = " or ".join(["a whole number", *map(repr, words)])

    def read(given: list[str]) -> Any:
        if given[0] in words:
            return given[0]
        try:
            return int(given[0])
        except ValueError:
            raise ValueError(f"expected {expected}, got {cut(given[0], 60)!r}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join(["INT", *words]),
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, int) or value in words,
        str_from_instance=lambda value: [str(value)],
    )
