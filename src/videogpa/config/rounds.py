"""The settings of several rounds."""

from typing import Annotated, Literal

from pydantic import Field

from videogpa.config.base import Config

MOST_ROUNDS = 100


class RoundsConfig(Config):
    """Several rounds of the whole loop: each makes its candidates with the adapter of the one before, and trains on from it."""

    count: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] = 1
    """Number of rounds (`videogpa run --rounds`). The first lies in the run folder itself, later ones in rounds/2, rounds/3 and
    so on. Their reference is `train.reference`."""
    prompts: Literal["same", "next"] = "same"
    """Training prompts of later rounds: those of the first again, with other seeds, or with `prompts.part` the next part. SPPO
    (arXiv 2405.00675) gives every round a part of its own, against overfitting."""
    stop: bool = True
    """Begin no round after one that the verdict is against: worse geometry, or a gain paid for with motion, quality or
    diversity."""
