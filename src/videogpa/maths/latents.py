"""A penalty on static clips, computed from their latents.

The penalty is that of Kupyn et al. 2025, "Epipolar Geometry Improves Video Generation Models",
https://arxiv.org/abs/2510.21615: a model rewarded for geometry tends to static clips, and the penalty counteracts this.
"""

from jaxtyping import Float
from torch import Tensor

_VARIANCE, _DIFFERENCE = 0.7, 0.3  # the shares in the authors' code (StaticPenaltyLoss)


def static_penalty(clean: Float[Tensor, "batch latent_frames channels h w"]) -> Float[Tensor, " batch"]:
    """Return minus the change of the latents over time.

    The change is 0.7 times the variance over time plus 0.3 times the mean squared difference of neighbouring latent frames. The
    penalty should be added to a loss with a small weight: it has no lower bound, and noise lowers it as camera motion does.

    Args:
        clean: The clean latents.

    Returns:
        One penalty per clip: 0 for a static clip, lower for more motion.
    """
    variance = clean.var(dim=1, unbiased=False).flatten(1).mean(1)
    if clean.shape[1] == 1:
        return -_VARIANCE * variance
    return -(_VARIANCE * variance + _DIFFERENCE * clean.diff(dim=1).square().flatten(1).mean(1))
