"""Depth from one critic and cameras from another, to measure the error of each where the other is exact.

For ablations (docs/science/demo.md). Costs as much as both critics together.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.critics import cards
from videogpa.critics.base import Critic, CriticInput, ReconstructionFailed
from videogpa.errors import InvalidInput
from videogpa.reconstruction import Reconstruction
from videogpa.registry import CRITICS, build


class MixedCritic:
    """The depth and confidence of one critic, in the unit of length and with the cameras of another.

    Args:
        depth: Name of the critic that estimates the depth. Both critics must use the whole frame.
        cameras: Name of the critic that estimates the cameras.
        depth_options: Options of the first.
        cameras_options: Options of the second.
        drop_fraction: Share of a clip's least confident pixels, in [0, 1), whose depth is not used.

    Raises:
        InvalidInput: If one of the two is not a critic's name, or is `mixed` itself.
        ValueError: If an option of the two is unknown or impossible.
    """

    CARDS: ClassVar = cards.CARDS["mixed"]

    def __init__(
        self,
        depth: str = "oracle",
        cameras: str = "oracle",
        depth_options: dict[str, Any] = {},  # noqa: B006 - never written
        cameras_options: dict[str, Any] = {},  # noqa: B006
        drop_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        for name in (depth, cameras):
            if name not in CRITICS or name == "mixed":
                known = ", ".join(sorted(set(CRITICS) - {"mixed"}))
                raise InvalidInput(f"`mixed` takes depth and cameras from one of {known}; not from {name!r}")
        self._names = {"depth": depth, "cameras": cameras}
        self._depth: Critic = build(CRITICS, depth, depth_options)
        self._cameras: Critic = build(CRITICS, cameras, cameras_options)
        self._drop_fraction = drop_fraction

    @property
    def details(self) -> Mapping[str, str]:
        """The names of the two critics, the details of each, and the share of pixels left out."""
        parts = {"depth": self._depth, "cameras": self._cameras}
        told = {f"{part} {name}": value for part, critic in parts.items() for name, value in critic.details.items()}
        return {**self._names, **told, "drop_fraction": f"{self._drop_fraction:g}"}

    def frames_to_read(self, judged: int) -> int:
        """Return the larger of the two critics' requests."""
        return max(self._depth.frames_to_read(judged), self._cameras.frames_to_read(judged))

    def reconstruct(self, clip: CriticInput) -> Reconstruction:
        """Return the images and cameras of the cameras' critic with the depth and confidence of the other critic.

        Raises:
            ReconstructionFailed: If a critic fails or reconstructs only a part of the clip, or if no pixel has depth from both.
        """
        far, seen = (critic.reconstruct(clip) for critic in (self._depth, self._cameras))
        for part, name in ((far, self._names["depth"]), (seen, self._names["cameras"])):
            if part.status != "ok":
                raise ReconstructionFailed(f"{name} reconstructed a part of the clip only: {part.reason}")
        depth, confidence = (_resized(part, seen.images) for part in (far.depth, far.confidence))
        confidence = confidence * (confidence >= confidence.flatten().quantile(self._drop_fraction))  # equals stay together
        depth = depth * _unit(depth * (confidence > 0), seen.depth * (seen.confidence > 0))
        return Reconstruction(
            images=seen.images,
            depth=depth,
            confidence=confidence,
            intrinsics=seen.intrinsics,
            camera_from_world=seen.camera_from_world,
            measures={"registered": len(seen.images), "points": int((confidence > 0).sum())},
        )


def _resized(
    maps: Float[Tensor, "frames any_height any_width"], images: Float[Tensor, "frames 3 height width"]
) -> Float[Tensor, "frames height width"]:
    """Resize maps to the images by nearest neighbour: a mean of a near and a far depth would be the depth of no surface."""
    return interpolate(maps[:, None], images.shape[-2:], mode="nearest-exact")[:, 0]


def _unit(mine: Float[Tensor, "frames height width"], theirs: Float[Tensor, "frames height width"]) -> Float[Tensor, ""]:
    """Return one unit of length expressed in the other: the median ratio of depths where both maps have one (depth > 0)."""
    known = (mine > 0) & (theirs > 0)
    if not bool(known.any()):
        raise ReconstructionFailed("the two critics know the depth of no pixel in common: their units cannot be compared")
    return torch.median(theirs[known] / mine[known])
