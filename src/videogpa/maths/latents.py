"""What a clip's latents say of its motion.

Kupyn et al. 2025, "Epipolar Geometry Improves Video Generation Models", https://arxiv.org/abs/2510.21615: a model that is
rewarded for geometry freezes, and a penalty on clips that stand still works against it.
"""

from jaxtyping import Float
from torch import Tensor

_VARIANCE, _DIFFERENCE = 0.7, 0.3  # the shares in the authors' code (StaticPenaltyLoss)


def static_penalty(clean: Float[Tensor, "batch latent_frames channels h w"]) -> Float[Tensor, " batch"]:
    """Return minus how much the latents change over time: 0 for a clip that stands still, the lower the more moves.

    Seven parts of the variance over time, three of the mean squared difference of neighbouring frames. To be added to a loss
    with a small weight: it has no lower bound, and noise moves as well as any camera.
    """
    variance = clean.var(dim=1, unbiased=False).flatten(1).mean(1)
    if clean.shape[1] == 1:
        return -_VARIANCE * variance
    return -(_VARIANCE * variance + _DIFFERENCE * clean.diff(dim=1).square().flatten(1).mean(1))
