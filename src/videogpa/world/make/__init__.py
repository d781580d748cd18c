"""The making of the miniature models that ship with the package: `python -m videogpa.world.make --help`."""
