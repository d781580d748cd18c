"""Which names of files some system does not take."""

import re
from collections import Counter
from pathlib import Path

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
LONGEST_PATH = 150
"""Characters of a path within a run folder: Windows takes 259 in all, unless it is set up to take more."""


def why_not(name: str) -> str | None:
    """Return what is wrong with a name on Windows, macOS or Linux; None if nothing is."""
    if _FORBIDDEN.search(name):
        return "a character that Windows does not take"
    if name.endswith((".", " ")) or not name:
        return "it ends in a dot or a space, or is empty"
    if _RESERVED.fullmatch(name):
        return "a name of a device of Windows"
    return "too long" if len(name.encode()) > 255 else None


def problems(folder: Path) -> dict[str, str]:
    """Return the paths below a folder that some system does not take, and why."""
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    found = {path: why for path in paths if (why := why_not(path.rpartition("/")[2])) is not None}
    found |= {path: "too long a path" for path in paths if len(path) > LONGEST_PATH}
    alike = Counter(path.casefold() for path in paths)
    return found | {path: "differs from another by case alone" for path in paths if alike[path.casefold()] > 1}
