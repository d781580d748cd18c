"""The trained miniatures that ship with the package, by the names that recipes give them."""

from pathlib import Path

from videogpa.errors import UserError

MINIATURE = "mini:"

SHIPPED = Path(__file__).parent / "weights" / "mini"
"""Made by `python -m videogpa.world.make`: see docs/miniature-models.md."""


def shipped_folder(name: str) -> Path:
    """Return the folder of a miniature: `mini:i2v`, a video model in diffusers format, or `mini:vggt`, a geometry model.

    Raises:
        UserError: If there is none of that name.
    """
    folder = SHIPPED / name.removeprefix(MINIATURE)
    if folder.parent != SHIPPED or not folder.is_dir():
        known = ", ".join(f"{MINIATURE}{path.name}" for path in sorted(SHIPPED.iterdir()))
        raise UserError(f"{name}: no trained miniature of that name ships with the package; there are: {known}")
    return folder
