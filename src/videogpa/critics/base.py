"""The contract of a geometry critic: frames in, cameras and depth out, or a reason why not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from videogpa.maths.alignment import Similarity
from videogpa.records import ClipInfo, Reconstruction


class ReconstructionFailed(Exception):  # noqa: N818 - a finding about the clip, not an error of the program
    """The critic cannot say what the clip's geometry is. Becomes a row with status and reason, never a number."""

    def __init__(
        self,
        reason: str,
        *,
        status: Literal["failed", "no_parallax"] = "failed",
        measures: Mapping[str, float | int] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.measures = dict(measures or {})


@dataclass(frozen=True)
class Card:
    """What a user must know of a critic, or of one of its weights, before choosing it: a line of `videogpa list critics`."""

    weights: str
    """A hub id, or what stands for weights."""
    licence: str
    commercial: bool
    """Whether the licence allows commercial use."""
    memory: str
    """At the peak, with the default settings, for as many frames as it says."""
    paper: str
    parameters: str | None = None
    download: str | None = None


@runtime_checkable
class Critic(Protocol):
    """Reconstructs the geometry of a clip. Objects take plain arguments; building one may load weights.

    The arguments of the constructor, all with defaults, are the critic's options in a recipe; one that names weights is called
    `weights`. A critic with which the paper scored tells its options for that in `PAPER`.
    """

    CARDS: ClassVar[tuple[Card, ...]]
    """One for each of the published weights, the default's first."""

    @property
    def details(self) -> Mapping[str, str]:
        """How it looks at clips, for their rows: weights, crop, ...; nothing where there is nothing to choose."""
        ...

    def frames_to_read(self, judged: int) -> int:
        """How many frames, uniformly sampled from the clip, the critic wants in order to judge `judged` of them."""
        ...

    def reconstruct(
        self,
        frames: Float[Tensor, "frames 3 height width"],
        *,
        judged: Sequence[int] | None = None,
        source: ClipInfo | None = None,
    ) -> Reconstruction:
        """Reconstruct the frames at the indices `judged` (all, if None); the others may help to find the cameras.

        `frames` are RGB in [0, 1], float32, in order of time.

        Raises:
            ReconstructionFailed: If no geometry was found that deserves the name.
        """
        ...


def transform(reconstruction: Reconstruction, similarity: Similarity) -> Reconstruction:
    """Return the same geometry in another world."""
    return replace(
        reconstruction,
        depth=similarity.scale * reconstruction.depth,
        camera_from_world=similarity.cameras(reconstruction.camera_from_world),
        points=None if reconstruction.points is None else similarity(reconstruction.points),
    )
