"""The two calls of the Python interface: `videogpa.score` and `videogpa.reconstruct`."""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from videogpa.config import score_config
from videogpa.records import Reconstruction, Score
from videogpa.stages.score.judge import Judge

Video = str | Path | Float[Tensor, "frames 3 height width"]


def score(video: Video, *, critic: str = "sfm", frames: int = 10, perceptual: str = "alex") -> Score:
    """Score one video: a file, or a tensor of RGB in [0, 1].

    Returns the row that `videogpa score` would write. Look at its `status` first: numbers stand only where it is `ok` (or
    `partial`: for a part of the clip), else `reason` says why there are none. `videogpa.measures.MEASURES` says what each
    number means and which direction is better.

    Raises:
        ValueError: If a tensor has fewer than `frames` frames or values outside [0, 1].
        UserError: If a name is unknown or a number impossible.
    """
    clip = "tensor" if isinstance(video, Tensor) else str(video)
    return Judge(score_config(critic, frames, perceptual)).judge(_video(video), clip=clip).score


def reconstruct(video: Video, *, critic: str = "sfm", frames: int = 10) -> Reconstruction:
    """Reconstruct the geometry of one video: a file, or a tensor of RGB in [0, 1]. See `Reconstruction` for what comes back.

    Raises:
        ReconstructionFailed: If the critic finds no geometry that deserves the name.
        UnreadableVideo: If the file cannot be read.
        ValueError: If a tensor has fewer than `frames` frames or values outside [0, 1].
        UserError: If a name is unknown or a number impossible.
    """
    judge = Judge(score_config(critic, frames, "alex"))
    return judge.reconstruct(judge.footage(_video(video)))


def _video(video: Video) -> Path | Tensor:
    return video if isinstance(video, Tensor) else Path(video)
