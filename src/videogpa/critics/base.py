"""The contract of a geometry critic: frames in, cameras and depth out, or a reason why not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from videogpa.critics.cards import Card
from videogpa.maths.alignment import Similarity
from videogpa.records import Reconstruction, Scene


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


@dataclass(frozen=True, eq=False)
class CriticInput:
    """The frames of one clip that a critic is given, and which of them it must reconstruct.

    Examples:
        >>> clip = CriticInput(torch.rand(25, 3, 96, 128), judged=(0, 8, 16, 24))
        >>> reconstruction = SfmCritic().reconstruct(clip)  # cameras and depth of four frames

    Raises:
        ValueError: If `judged` or `frame_indices` do not fit the frames.
    """

    frames: Float[Tensor, "frames 3 height width"]
    """RGB in [0, 1], float32, in order of time. Those that are not judged may help to find the cameras."""
    judged: tuple[int, ...] = ()
    """Positions in `frames`, ascending, of the frames to reconstruct. Left empty it becomes all of them."""
    scene: Scene | None = None
    """The scene of the miniature world that the clip was made for, if it was; only the oracle reads it."""
    frame_indices: tuple[int, ...] | None = None
    """The index in the whole clip of every given frame, if the frames were read from a clip."""

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

    def reconstruct(self, clip: CriticInput) -> Reconstruction:
        """Estimate cameras and depth of the frames `clip.judged`; the other frames may help to find the cameras.

        Args:
            clip: The frames, RGB in [0, 1], and which of them to reconstruct.

        Returns:
            One camera and one depth map for each judged frame, in order of time. `images` are the pixels that the critic saw.
            With status `partial`, judged frames may be missing.

        Raises:
            ReconstructionFailed: If no reliable geometry could be estimated.
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
