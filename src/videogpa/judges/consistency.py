"""How much the frames of a clip resemble the first one and the one before, in the features of a network.

VBench's rule for subject and background consistency (Huang et al. 2023, https://arxiv.org/abs/2311.17982,
`vbench/subject_consistency.py`): of each frame but the first, the mean of its cosine similarity with the first frame and with
the one before, negative ones counted as 0; of the clip, the mean over these frames. A clip that stands still has 1.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from videogpa.judges.base import CannotJudge


def consistency(features: Float[Tensor, "frames dimensions"]) -> float:
    """Return the consistency of a clip, in [0, 1].

    Args:
        features: A feature of each frame, of any length.

    Raises:
        CannotJudge: If there is only one frame.
    """
    if len(features) < 2:
        raise CannotJudge("the clip has one frame, and consistency is that of two or more")
    with_previous = cosine_similarity(features[1:], features[:-1], dim=-1).clamp(min=0)
    with_first = cosine_similarity(features[1:], features[:1], dim=-1).clamp(min=0)
    return float(((with_previous + with_first) / 2).double().mean())
