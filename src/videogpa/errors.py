"""Errors that the user can mend. The command line shows their message alone, without a traceback, and exits with status 1.

From Python they are also what Python calls them, so that `except ValueError` and `except FileNotFoundError` work as usual.
"""


class UserError(Exception):
    """Something in the input, the recipe or the machine is not as it has to be; the message says what to do."""


class InvalidInput(UserError, ValueError):  # noqa: N818 - a statement about the input
    """An argument, a setting or the content of a file cannot be used."""


class MissingInput(UserError, FileNotFoundError):  # noqa: N818 - a statement about the input
    """A file, a folder, or the result of an earlier stage is not there."""

    def __str__(self) -> str:
        """Return the message alone."""
        return str(self.args[0])
