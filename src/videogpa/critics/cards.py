"""What a user must know of each critic's weights before choosing them: licence, size, memory, paper.

One table for the critics of this package, read by `videogpa list critics` and `videogpa doctor` without importing a critic.
A critic from another package carries its own cards as the class attribute `CARDS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from videogpa.registry import CRITICS, load


@dataclass(frozen=True)
class Card:
    """Licence, size and source of one set of weights, or of a critic that needs none."""

    weights: str
    """A hub id, `tiny:NAME` for weights that ship with the package, or `none`."""
    licence: str
    commercial: bool
    """Whether the licence allows commercial use."""
    memory: str
    """Peak memory with the default settings, and for how many frames."""
    paper: str
    parameters: str | None = None
    """Number of parameters; None where there are no weights."""
    download: str | None = None
    """Size of the download; None where there are no weights."""


_VGGT_PARAMETERS = "1.19 billion (1.26 with the tracking head)"
_DA3_PAPER = "arXiv 2511.10647"

CARDS: Mapping[str, tuple[Card, ...]] = {
    "sfm": (
        Card(
            weights="none",
            licence="BSD-3-Clause (COLMAP), Apache-2.0 (OpenCV)",
            commercial=True,
            memory="1.3 GB, 10 frames",
            paper="Schönberger 2016, Pan 2024",
        ),
    ),
    "vggt": (
        Card(
            weights="facebook/VGGT-1B-Commercial",
            licence="VGGT licence (no military use), gated",
            commercial=True,
            memory="about 6 GB of a GPU, 10 frames (estimated)",
            paper="arXiv 2503.11651",
            parameters=_VGGT_PARAMETERS,
            download="5.0 GB",
        ),
        Card(
            weights="facebook/VGGT-1B",
            licence="CC BY-NC 4.0",
            commercial=False,
            memory="about 6 GB of a GPU, 10 frames (estimated)",
            paper="arXiv 2503.11651; the weights of arXiv 2601.23286",
            parameters=_VGGT_PARAMETERS,
            download="5.0 GB",
        ),
        Card(
            weights="tiny:vggt",
            licence="Apache-2.0",
            commercial=True,
            memory="under 0.5 GB",
            paper="none: docs/science/miniatures.md",
            parameters="4.4 million (for the miniature world alone)",
            download="none: ships with the package",
        ),
    ),
    "da3": (
        Card(
            weights="depth-anything/DA3-BASE",
            licence="Apache-2.0",
            commercial=True,
            memory="1.8 GB on a CPU, 10 frames of 504 x 336",
            paper=_DA3_PAPER,
            parameters="103 million (135 with the branches left out)",
            download="0.54 GB",
        ),
        Card(
            weights="depth-anything/DA3-SMALL",
            licence="Apache-2.0",
            commercial=True,
            memory="0.9 GB on a CPU, 10 frames of 504 x 336",
            paper=_DA3_PAPER,
            parameters="26 million (34 with the branches left out)",
            download="0.14 GB",
        ),
        Card(
            weights="depth-anything/DA3-LARGE-1.1",
            licence="CC BY-NC 4.0",
            commercial=False,
            memory="not measured",
            paper=_DA3_PAPER,
            parameters="345 million (411 with the branches left out)",
            download="1.64 GB",
        ),
        Card(
            weights="depth-anything/DA3-GIANT-1.1",
            licence="CC BY-NC 4.0",
            commercial=False,
            memory="not measured",
            paper=_DA3_PAPER,
            parameters="1.15 billion, with the branches left out",
            download="about 4.6 GB (estimated)",
        ),
    ),
    "oracle": (Card(weights="none", licence="Apache-2.0", commercial=True, memory="under 0.1 GB", paper="none"),),
    "mixed": (
        Card(weights="none", licence="those of its two critics", commercial=True, memory="that of both critics", paper="none"),
    ),
}
"""By the critic's name; the default weights come first."""


def cards_of(critic: str) -> tuple[Card, ...]:
    """Return what is known of a critic's weights, the default's first. Only a critic of another package is imported for it.

    Raises:
        KeyError: If there is no such critic.
        UserError: If the critic comes from another package and cannot be imported.
    """
    found: tuple[Card, ...] = CARDS[critic] if critic in CARDS else load(CRITICS, critic).CARDS
    return found
