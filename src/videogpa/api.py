"""The two calls of the Python interface: `videogpa.score` and `videogpa.reconstruct`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from videogpa.config import score_config
from videogpa.records import Reconstruction, Score
from videogpa.scoring.scorer import Scorer

Video = str | Path | Float[Tensor, "frames 3 height width"]


def score(
    video: Video,
    *,
    critic: str = "sfm",
    frames: int | Literal["all"] = 10,
    lpips_net: str = "alex",
    window: int = 32,
    overlap: int = 8,
    options: Mapping[str, Any] | None = None,
) -> Score:
    """Score one video: a file, or a tensor of RGB in [0, 1]. `options` are the critic's own (docs/critics.md).

    Returns the row that `videogpa score` would write. Look at its `status` first: numbers stand only where it is `ok` (or
    `partial`: for a part of the clip), else `reason` says why there are none. `videogpa.measures.MEASURES` says what each
    number means and which direction is better. More frames than `window` are reconstructed in windows that share `overlap`
    frames with the next.

    Raises:
        ValueError: If a tensor has fewer than `frames` frames or values outside [0, 1].
        UserError: If a name is unknown or a number impossible.
    """
    clip = "tensor" if isinstance(video, Tensor) else str(video)
    config = score_config(
        critic=critic, frames=frames, lpips_net=lpips_net, window=window, overlap=overlap, options=dict(options or {})
    )
    with Scorer.from_config(config) as scorer:
        return scorer.score_clip(video, clip=clip).score


def reconstruct(
    video: Video, *, critic: str = "sfm", frames: int | Literal["all"] = 10, options: Mapping[str, Any] | None = None
) -> Reconstruction:
    """Reconstruct the geometry of one video: a file, or a tensor of RGB in [0, 1]. See `Reconstruction` for what comes back.

    All frames asked for are given to the critic at once, and held in memory.

    Raises:
        ReconstructionFailed: If the critic finds no geometry that deserves the name.
        UnreadableVideo: If the file cannot be read.
        ValueError: If a tensor has fewer than `frames` frames or values outside [0, 1].
        UserError: If a name is unknown or a number impossible.
    """
    config = score_config(critic=critic, frames=frames, options=dict(options or {}))
    with Scorer.from_config(config) as scorer:
        return scorer.reconstruct(video)
