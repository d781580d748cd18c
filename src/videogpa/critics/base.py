"""The contract of a geometry critic: frames in, cameras and depth out, or a reason why not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from videogpa.critics.cards import Card
from videogpa.maths.alignment import Similarity
from videogpa.reconstruction import Reconstruction
from videogpa.records import Scene


class ReconstructionFailed(Exception):  # noqa: N818 - a finding about the clip, not an error of the program
    """The critic cannot estimate the clip's geometry. The clip's row then holds a status and a reason, never a score.

    Args:
        reason: One sentence for the row.
        status: `no_parallax` if the cameras do not move enough to determine depth, else `failed`.
        measures: What was measured before the failure, by column name.
    """

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


@dataclass(frozen=True, eq=False)
class CriticInput:
    """The input of a critic: frames of one clip, and which of them it must reconstruct.

    Examples:
        >>> clip = CriticInput(torch.rand(25, 3, 96, 128), judged=(0, 8, 16, 24))
        >>> reconstruction = SfmCritic().reconstruct(clip)  # cameras and depth of four frames

    Raises:
        ValueError: If `judged` or `frame_indices` do not fit the frames.
    """

    frames: Float[Tensor, "frames 3 height width"]
    """RGB in [0, 1], float32, in order of time. Frames that are not judged may help to estimate the cameras."""
    judged: tuple[int, ...] = ()
    """Positions in `frames`, ascending, of the frames to reconstruct. An empty tuple is replaced by all positions."""
    scene: Scene | None = None
    """The synthetic scene that the clip was generated for, if any; only the oracle reads it."""
    frame_indices: tuple[int, ...] | None = None
    """For each of `frames` its index in the whole clip, if the frames were read from a clip."""
    moving: Bool[Tensor, "frames mask_height mask_width"] | None = None
    """What moves by itself, at any size. A critic that matches features finds its cameras without it; others need not look."""

    overlay: Bool[Tensor, "frames mask_height mask_width"] | None = None
    """What is burnt into the frames, at any size. As with `moving`, features there say nothing about the cameras."""

    def __post_init__(self) -> None:
        count = len(self.frames)
        judged = tuple(self.judged) or tuple(range(count))
        if not judged or list(judged) != sorted(set(judged)) or not 0 <= judged[0] <= judged[-1] < count:
            raise ValueError(f"`judged` holds ascending positions among {count} frames, each once; got {judged}")
        if self.frame_indices is not None and len(self.frame_indices) != count:
            raise ValueError(f"`frame_indices` has one index for each of {count} frames; got {len(self.frame_indices)}")
        object.__setattr__(self, "judged", judged)

    @property
    def judged_frames(self) -> Float[Tensor, "judged 3 height width"]:
        """The frames to reconstruct."""
        return self.frames[list(self.judged)]


@runtime_checkable
class Critic(Protocol):
    """Interface of the critics, which reconstruct the geometry of a clip. Constructing a critic may load weights.

    The arguments of the constructor, all with defaults, are the critic's options in a recipe; an option that names weights is
    called `weights`. For a critic that the paper scored with, the class attribute `PAPER` holds the paper's options. A critic
    that finds cuts itself has the class attribute `FINDS_CUTS = True`: clips are not searched for cuts before it sees them.
    """

    CARDS: ClassVar[tuple[Card, ...]]
    """One card for each of the published weights; the card of the default weights comes first."""

    @property
    def details(self) -> Mapping[str, str]:
        """The settings in use (weights, crop, ...), for the rows of clips; empty for a critic without settings."""
        ...

    def frames_to_read(self, judged: int) -> int:
        """Return how many uniformly sampled frames of the clip the critic needs to reconstruct `judged` of them."""
        ...

    def reconstruct(self, clip: CriticInput) -> Reconstruction:
        """Estimate cameras and depth of the frames `clip.judged`; the other frames may help to estimate the cameras.

        Args:
            clip: The frames, RGB in [0, 1], and which of them to reconstruct.

        Returns:
            One camera and one depth map for each judged frame, in order of time. `images` are the pixels of the depth maps.
            With status `partial`, judged frames may be missing.

        Raises:
            ReconstructionFailed: If no reliable geometry could be estimated.
        """
        ...


def transform(reconstruction: Reconstruction, similarity: Similarity) -> Reconstruction:
    """Return the same geometry in another world coordinate system.

    Args:
        reconstruction: The geometry to transform; its depth is scaled, its cameras and points are moved.
        similarity: Scale, rotation and translation from the old world coordinates to the new ones.
    """
    return replace(
        reconstruction,
        depth=similarity.scale * reconstruction.depth,
        camera_from_world=similarity.cameras(reconstruction.camera_from_world),
        points=None if reconstruction.points is None else similarity(reconstruction.points),
    )
