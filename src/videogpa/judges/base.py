"""The contract of a judge: a clip, and for some its prompt's text, in; numbers out, or a reason why not."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from videogpa.critics.cards import Card
from videogpa.measures import Measure
from videogpa.video import probe, read_frames_at

AT_ONCE = 1 << 26
"""Values of the frames that are read at once: 256 MB. Long clips and large ones are judged in parts."""
MOST_AT_ONCE = 32
"""Frames that are read at once: small ones are enlarged for a network."""
MOST_ASPECT = 16
"""How many times as long as the short side of a frame its long side may be."""


class CannotJudge(Exception):  # noqa: N818 - a finding about the clip, not an error of the program
    """A judge has no number for a clip. The clip's row then holds the reason, which is one sentence."""


@dataclass(frozen=True, eq=False)
class JudgedClip:
    """The input of a judge.

    Examples:
        >>> clip = of_frames(torch.rand(25, 3, 96, 128), fps=8.0, text="a red house")
        >>> DinoJudge(weights).judge(clip)["subject_consistency"]
    """

    frames: int
    """How many there are."""
    fps: float
    """Frames a second."""
    height: int
    width: int
    """In pixels."""
    text: str | None
    """What the clip was asked to show; None where that is not known."""
    read: Callable[[Sequence[int]], Float[Tensor, "chosen 3 height width"]]
    """Returns the frames of ascending indices: RGB in [0, 1], float32, at full size."""

    def parts(self, indices: Sequence[int] | None = None) -> Iterator[Float[Tensor, "some 3 height width"]]:
        """Yield frames in order of time, up to 32 at once: those of ascending indices, or all."""
        wanted = range(self.frames) if indices is None else indices
        step = min(MOST_AT_ONCE, max(1, AT_ONCE // (3 * self.height * self.width)))
        for start in range(0, len(wanted), step):
            yield self.read(wanted[start : start + step])


def of_file(path: Path, text: str | None = None) -> JudgedClip:
    """Return the clip of a video file or a folder of numbered pictures; frames are read when they are asked for.

    Raises:
        UnreadableVideo: If the file holds no video.
        CannotJudge: If one side of its frames is far longer than the other.
    """
    info = probe(path)
    if max(info.height, info.width) > MOST_ASPECT * min(info.height, info.width):
        raise CannotJudge(
            f"its frames have {info.width:,} x {info.height:,} pixels; one side may be {MOST_ASPECT} times as long as the other"
        )

    def read(indices: Sequence[int]) -> Float[Tensor, "chosen 3 height width"]:
        return read_frames_at(path, indices)

    return JudgedClip(info.frames, info.fps, info.height, info.width, text, read)


def of_frames(frames: Float[Tensor, "frames 3 height width"], *, fps: float, text: str | None = None) -> JudgedClip:
    """Return the clip of frames in memory, RGB in [0, 1]."""
    count, _, height, width = frames.shape
    return JudgedClip(count, fps, height, width, text, lambda indices: frames[list(indices)])


@runtime_checkable
class Judge(Protocol):
    """Interface of the judges. Constructing one loads its weights.

    The first argument of the constructor, `weights`, names them: a folder, a file or a hub id. It has no default, so that
    nothing is ever fetched that was not named. The other arguments, all with defaults, are the judge's options.
    """

    CARDS: ClassVar[tuple[Card, ...]]
    """One card for each of the published weights; those that the judge is made for come first."""
    MEASURES: ClassVar[Mapping[str, Measure]]
    """The numbers that it gives. Those of this package stand in `videogpa.measures` and are named there."""
    READS_TEXT: ClassVar[bool]
    """Whether it needs the clip's text. Rows of judges that do are made again where the text changes."""

    @property
    def details(self) -> Mapping[str, str]:
        """The settings in use and the digest of the weights, for the rows of clips."""
        ...

    def judge(self, clip: JudgedClip) -> Mapping[str, float]:
        """Judge a clip.

        Args:
            clip: Its frames, RGB in [0, 1], their rate and the text.

        Returns:
            A finite number for each of `MEASURES`.

        Raises:
            CannotJudge: If the clip has no such number, such as one of a single frame.
        """
        ...
