"""Choice of the reference view among several: the rule `saddle_balanced` of Depth Anything 3's official code.

The source is https://github.com/ByteDance-Seed/Depth-Anything-3 (`reference_view_selector.py`); the paper, arXiv 2511.10647,
does not describe it. The reference view gets a token of its own, and its camera defines the world's axes.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

LEAST_VIEWS = 3  # official code; of one or two views the first is the reference
_EPSILON = 1e-8  # official code: avoids division by zero for identical views


def choose_reference(class_tokens: Float[Tensor, "batch views channels"]) -> Int[Tensor, " batch"]:
    """Return the index of the most middling view: neither the most typical nor the oddest of its set.

    Three figures of each view are scaled to [0, 1] over the set: its mean cosine similarity to the others, the norm of its
    token and the variance of its normalised token. The view with the smallest sum of distances to 1/2 is chosen, the first of
    equals.
    """
    views = class_tokens.shape[1]
    if views < LEAST_VIEWS:
        return torch.zeros(len(class_tokens), dtype=torch.long, device=class_tokens.device)
    tokens = class_tokens.float()  # the choice must not depend on the rounding of bfloat16
    directions = normalize(tokens, dim=-1)
    likeness = (torch.einsum("bvc,bwc->bv", directions, directions) - 1) / (views - 1)  # without the similarity to itself
    figures = torch.stack([likeness, tokens.norm(dim=-1), directions.var(dim=-1)])
    low, high = figures.amin(dim=-1, keepdim=True), figures.amax(dim=-1, keepdim=True)
    return ((figures - low) / (high - low + _EPSILON) - 0.5).abs().sum(dim=0).argmin(dim=-1)
