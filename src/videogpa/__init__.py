"""Score the 3D consistency of videos, and align video diffusion models with it.

import videogpa

row = videogpa.score("clip.mp4")            # a typed row: status, loo_error, motion, ...
geometry = videogpa.reconstruct("clip.mp4")  # cameras and depth
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "reconstruct", "score"]

if TYPE_CHECKING:
    from videogpa.api import reconstruct, score


def __getattr__(name: str) -> Any:
    """Import the interface when it is first used, so that `import videogpa` stays light."""
    if name in ("score", "reconstruct"):
        from videogpa import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
