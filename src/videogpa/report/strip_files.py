"""Where the pictures and 3D views of scored clips lie: all that a page needs to know of them. Nothing here imports torch."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from videogpa.storage.files import atomic_path

FRAMES_SHOWN = 3
"""How many judged frames a strip shows: the first, the middle and the last one."""

ERROR_SCALE = 0.3
"""The root mean squared error over RGB at the bright end of the colour map: one scale for all clips, to compare them by."""

MOST_SPACES = 50
"""How many views a page holds: a page that opens without a server cannot load them from files beside it."""

SUFFIX = ".space"
_MOST_BYTES = 1 << 20  # of a file that goes into a page: one that is larger was not written here

_INFERNO = (
    *("0 0 4", "20 11 52", "57 9 99", "97 19 110", "133 33 107", "169 46 94"),
    *("203 65 73", "230 93 47", "247 130 18", "252 174 18", "245 219 76", "252 255 164"),
)
"""The colour map of the errors, "inferno", at twelve even steps: red, green and blue, 0 to 255."""

LEGEND = f"linear-gradient(to right, {', '.join(f'rgb({color})' for color in _INFERNO)})"
"""The colours of the error map as a CSS gradient from left to right."""


def save_strip(folder: Path, critic: str, clip: str, strip: bytes) -> Path:
    """Write a clip's strip into `folder`, whole or not at all; return its path."""
    path = strip_path(folder, critic, clip)
    with atomic_path(path) as temporary:
        temporary.write_bytes(strip)
    return path


def strip_path(folder: Path, critic: str, clip: str) -> Path:
    """Return the file of a strip. Its name is a hash, since the names of clips may be paths of any length."""
    return folder / f"{hashlib.sha256(f'{critic} {clip}'.encode()).hexdigest()[:16]}.jpg"


def save_space(strip: Path, space: bytes) -> Path:
    """Write a clip's view beside its strip, whole or not at all; return its path."""
    path = strip.with_suffix(SUFFIX)
    with atomic_path(path) as temporary:
        temporary.write_bytes(space)
    return path


def spaces_of(strips: Mapping[str, Path | None], folder: Path) -> dict[str, str]:
    """Return the views beside strips, as a page holds them: base64.

    Args:
        strips: Of each clip that the page shows, by its anchor, where its strip lies in the folder; the best clip first.
        folder: The folder of the page.

    Returns:
        The views by anchor, those of the best and the worst clips if there are more than `MOST_SPACES`. Clips without a view,
        such as those that version 0.1 scored, are left out.
    """
    paths = {anchor: folder / strip.with_suffix(SUFFIX) for anchor, strip in strips.items() if strip is not None}
    found = [anchor for anchor, path in paths.items() if _is_own(path)]
    half = MOST_SPACES // 2
    chosen = found if len(found) <= MOST_SPACES else [*found[:half], *found[-half:]]
    return {anchor: base64.b64encode(paths[anchor].read_bytes()).decode() for anchor in chosen}


def _is_own(path: Path) -> bool:
    """Whether it is a file that can have been written here: no link, which could lead to any file, and not too large."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= _MOST_BYTES
