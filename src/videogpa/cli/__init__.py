"""The command line: `videogpa COMMAND`."""

from videogpa.cli.commands import main

__all__ = ["main"]
