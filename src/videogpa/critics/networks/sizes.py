"""The sizes that a config.json may give a network. They are checked before anything of such a size is built.

The bounds are far above those of any published network.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

Width = Annotated[int, Field(ge=1, le=16384)]
Depth = Annotated[int, Field(ge=1, le=256)]
Block = Annotated[int, Field(ge=0, le=255)]
Pixels = Annotated[int, Field(ge=1, le=8192)]
Factor = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]

_WIDEST = 10**6  # channels within a block


def check_transformer(width: int, heads: int, mlp_ratio: float, image: int, patch: int) -> None:
    """Check that the sizes of a vision transformer with rotary embeddings of two axes fit each other.

    Raises:
        ValueError: If they do not.
    """
    if width % (4 * heads):
        raise ValueError(f"embed_dim is {width}, which is not a multiple of four times num_heads ({heads})")
    if not 1 <= width * mlp_ratio <= _WIDEST:
        raise ValueError(f"mlp_ratio is {mlp_ratio}, which gives layers of {width * mlp_ratio:.0f} channels")
    if image < patch:
        raise ValueError(f"img_size is {image}, less than a patch ({patch})")


def check_head(layers: Sequence[int], depth: int, channels: Sequence[int], features: int) -> None:
    """Check that a DPT head reads four blocks of a trunk in their order.

    Raises:
        ValueError: If it does not.
    """
    if len(layers) != 4 or list(layers) != sorted(set(layers)) or layers[-1] >= depth:
        raise ValueError(f"the head's layers are {list(layers)[:8]}; expected four rising numbers below the depth ({depth})")
    if len(channels) != 4:
        raise ValueError(f"the head has {len(channels)} numbers of channels; expected four")
    if features < 2:
        raise ValueError("dpt_features is 1; expected 2 or more")
