"""Errors that the user can correct. The command line shows only their message, without a traceback, and exits with status 1.

The subclasses also derive from Python's own errors, so that `except ValueError` and `except FileNotFoundError` work as usual.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pydantic

_LONGEST = 480  # characters of a problem: what was given may be anything


class UserError(Exception):
    """Something in the input, the recipe or the machine does not meet a requirement; the message states what to do."""


class InvalidInput(UserError, ValueError):  # noqa: N818 - a statement about the input
    """An argument, a setting or the content of a file is not valid."""


class WrongType(UserError, TypeError):  # noqa: N818 - a statement about the input
    """An argument is of a type that is not taken."""


class MissingInput(UserError, FileNotFoundError):  # noqa: N818 - a statement about the input
    """A file, a folder, or the result of an earlier stage does not exist."""

    def __str__(self) -> str:
        """Return only the message."""
        return str(self.args[0])


def problems(error: "pydantic.ValidationError", *, whole: str = "") -> list[str]:
    """Return what is wrong with a validated object, one `field: problem` each.

    Args:
        error: What pydantic raised.
        whole: What a problem of the whole object is said of, such as "the file"; empty to leave it without a subject.
    """
    found = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        field = ".".join(map(str, each["loc"])) or whole
        message = each["msg"].removeprefix("Value error, ").removesuffix(" for <class 'pathlib.Path'>")
        found.append(_cut(f"{field}: {message}" if field else message))
    return found


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
