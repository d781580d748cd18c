"""Plug-ins by name. A plug-in is imported only when it is asked for.

To add one, write its file and one line here: docs/adding-a-critic.md, docs/adding-a-model.md.
"""

from importlib import import_module
from typing import Any

CRITICS = {
    "sfm": "videogpa.critics.sfm:SfmCritic",  # COLMAP cameras, plane-sweep depth; no weights, runs on a CPU
    "oracle": "videogpa.critics.oracle:OracleCritic",  # the exact geometry of a scene of the miniature world
}

MODELS = {
    "cogvideox-i2v": "videogpa.models.cogvideox:CogVideoXImageToVideo",  # CogVideoX-5B-I2V and its miniatures
}


def load(table: dict[str, str], name: str) -> Any:
    """Return the class registered under `name`.

    Raises:
        KeyError: If nothing is registered under that name; the message lists what is.
    """
    try:
        module, attribute = table[name].split(":")
    except KeyError:
        raise KeyError(f"unknown name {name!r}; registered: {', '.join(sorted(table))}") from None
    return getattr(import_module(module), attribute)
