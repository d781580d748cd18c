"""The command line: `videogpa COMMAND`."""

from videogpa.cli.shell import main

__all__ = ["main"]
