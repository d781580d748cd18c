"""Errors that the user can correct. The command line shows only their message, without a traceback, and exits with status 1.

The subclasses also derive from Python's own errors, so that `except ValueError` and `except FileNotFoundError` work as usual.
"""


class UserError(Exception):
    """Something in the input, the recipe or the machine does not meet a requirement; the message states what to do."""


class InvalidInput(UserError, ValueError):  # noqa: N818 - a statement about the input
    """An argument, a setting or the content of a file is not valid."""


class MissingInput(UserError, FileNotFoundError):  # noqa: N818 - a statement about the input
    """A file, a folder, or the result of an earlier stage does not exist."""

    def __str__(self) -> str:
        """Return only the message."""
        return str(self.args[0])
