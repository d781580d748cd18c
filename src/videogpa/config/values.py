"""What any value of a recipe must be, before its own setting is looked at: storable, and of a bounded size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videogpa.config.yaml_text import DEEPEST
from videogpa.errors import InvalidInput
from videogpa.text_files import printable

_SHOWN = 60  # characters of a value in a message


def check_values(value: Any, origin: str) -> None:
    """Refuse a value that no recipe can hold, at any depth.

    Args:
        value: Settings by name, from YAML or from Python: mappings, lists, texts, numbers, true, false, None and paths.
        origin: Where they come from, for messages.

    Raises:
        InvalidInput: If it is of another kind, a number beyond 64 bits, a text that no file or path can hold, a mapping with
            keys that are no texts, or nested too deeply; the message names the setting.
    """
    _check(value, origin, ())


def _check(value: Any, origin: str, place: tuple[str, ...]) -> None:
    where = f"{origin}: {printable('.'.join(place))[:_SHOWN]}" if place else origin
    if len(place) > DEEPEST:
        raise InvalidInput(f"{where}: more than {DEEPEST} levels of mappings and lists")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidInput(f"{where}: a key is to be a text, not {str(key)[:_SHOWN]!r}")
            _check_text(key, where)
            _check(inner, origin, (*place, key))
    elif isinstance(value, list | tuple | set | frozenset):
        for number, inner in enumerate(value):
            _check(inner, origin, (*place, str(number)))
    elif isinstance(value, str | Path):
        _check_text(str(value), where)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidInput(f"{where}: the number does not fit into 64 bits")
    elif value is not None and not isinstance(value, int | float):
        raise InvalidInput(f"{where}: a {type(value).__name__} is no value of a setting")


def _check_text(text: str, where: str) -> None:
    for character in text:
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise InvalidInput(f"{where}: holds the character U+{ord(character):04X}, which no path or UTF-8 text can hold")
