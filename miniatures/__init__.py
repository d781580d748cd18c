"""Training of the miniature models that ship with the package: `python -m miniatures --help`."""
