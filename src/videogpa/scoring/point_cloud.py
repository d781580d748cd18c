"""The coloured points of a reconstruction: what is rendered back into its frames."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from videogpa.critics.base import ReconstructionFailed
from videogpa.maths.cameras import unproject
from videogpa.reconstruction import Reconstruction

LEAST_CONFIDENCE = 1e-5  # official code of VideoGPA: points at or below it are no points


@dataclass(frozen=True, eq=False)
class Cloud:
    """Coloured points in the order of frames and pixels; `frame` is the index of the frame that each point came from."""

    points: Float[Tensor, "points 3"]
    """World coordinates."""
    colors: Float[Tensor, "points 3"]
    """RGB in [0, 1]."""
    confidence: Float[Tensor, " points"]
    frame: Int64[Tensor, " points"]

    def most_confident(self, share: float) -> "Cloud":
        """Return that share of the points, rounded up, in their order; of equally confident ones the first."""
        kept = math.ceil(len(self.points) * share)
        if kept == len(self.points):
            return self  # sorting a long clip's anchors takes longer than to render them
        return self[self.confidence.argsort(descending=True, stable=True)[:kept].sort().values]

    def __getitem__(self, chosen: Int64[Tensor, " chosen"]) -> "Cloud":
        """Return the points of the given indices."""
        return Cloud(self.points[chosen], self.colors[chosen], self.confidence[chosen], self.frame[chosen])

    def followed_by(self, other: "Cloud") -> "Cloud":
        """Return the points of both clouds, this one's first. The frames of `other` must be numbered on from this cloud's."""
        names = ("points", "colors", "confidence", "frame")
        return Cloud(*(torch.cat([getattr(self, name), getattr(other, name)]) for name in names))


def cloud_of(reconstruction: Reconstruction) -> Cloud:
    """Return the usable points of all frames: confidence above 1e-5, and known depth unless the critic placed them itself.

    Raises:
        ReconstructionFailed: If there are fewer than two frames, or no usable point.
    """
    frames = len(reconstruction.images)
    if frames < 2:
        raise ReconstructionFailed(f"{frames} frame cannot be compared with another; at least two are needed")
    cloud = points_of(reconstruction)
    if not len(cloud.points):
        raise ReconstructionFailed("no pixel has a usable depth")
    return cloud


def points_of(reconstruction: Reconstruction, *, first: int = 0) -> Cloud:
    """Return what `cloud_of` returns, also of a single frame, and if there is none; frames are numbered from `first` on."""
    confidence, points = reconstruction.confidence, reconstruction.points
    usable = confidence.isfinite() & (confidence > LEAST_CONFIDENCE)
    if points is None:
        points = unproject(reconstruction.depth, reconstruction.intrinsics, reconstruction.camera_from_world)
        usable = usable & (reconstruction.depth > 0)
    numbers = torch.arange(first, first + len(confidence), device=confidence.device)
    frame = numbers[:, None, None].expand_as(confidence)
    return Cloud(points[usable], reconstruction.images.movedim(1, -1)[usable], confidence[usable], frame[usable])
