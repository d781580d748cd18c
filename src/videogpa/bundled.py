"""The trained miniatures that ship with the package, by the names that recipes give them."""

from pathlib import Path

from videogpa.errors import UserError

TINY = "tiny:"

SHIPPED = Path(__file__).parent / "weights" / "tiny"
"""Made by `python -m miniatures`: see docs/miniature-models.md."""


def bundled_folder(name: str) -> Path:
    """Return the folder of a miniature: `tiny:i2v`, a video model in diffusers format, or `tiny:vggt`, a geometry model.

    Raises:
        UserError: If there is none of that name.
    """
    folder = SHIPPED / name.removeprefix(TINY)
    if folder.parent != SHIPPED or not folder.is_dir():
        known = ", ".join(f"{TINY}{path.name}" for path in sorted(SHIPPED.iterdir()))
        raise UserError(f"{name}: no trained miniature of that name ships with the package; there are: {known}")
    return folder
