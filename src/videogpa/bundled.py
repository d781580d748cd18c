"""What ships with the package beside its code: small trained models, under names such as `tiny:i2v`, and the recipes."""

from pathlib import Path

from videogpa.errors import InvalidInput

TINY = "tiny:"

BUNDLED = Path(__file__).parent / "weights" / "tiny"
"""Made by `python -m miniatures`: see docs/science/miniatures.md."""


def bundled_folder(name: str) -> Path:
    """Return the folder of a trained model that ships with the package.

    Args:
        name: `tiny:i2v`, a video model in diffusers format, or `tiny:vggt`, a geometry model.

    Raises:
        InvalidInput: If there is no model of that name.
    """
    known = {f"{TINY}{path.name}": path for path in sorted(BUNDLED.iterdir())}
    if name not in known:
        raise InvalidInput(f"{name[:80]}: no trained model of that name ships with the package; there are: {', '.join(known)}")
    return known[name]


def recipes_folder() -> Path:
    """Return the folder of the recipes that come with the package: in an installed package, or in a checkout."""
    package = Path(__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"
