"""Scores a clip whose pixels are named: what moves is found or given, kept from the critic, and taken out of the background."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.critics.base import Critic, CriticInput
from videogpa.scoring.dense_flow import DenseFlow, grey_frames
from videogpa.scoring.independent_motion import at_frames, moving_by_itself, off_their_lines
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.regions import Regions, name_regions
from videogpa.scoring.scores import Scores, score_reconstruction


@dataclass(frozen=True, eq=False)
class Between:
    """What the optical flow looks at: the frames that a critic is given, and others between them."""

    frames: Float[Tensor, "all 3 height width"]
    indices: Sequence[int]
    """The index of each frame in the clip."""
    masks: Bool[Tensor, "all mask_height mask_width"] | None = None
    """What moves in each frame, where the user says so."""

    def masks_of(self, chosen: Sequence[int], aspect: float) -> list[Bool[np.ndarray, "height width"]] | None:
        """Return the masks of some frames at the size of the flow, cut as frames are of which a critic sees the middle."""
        if self.masks is None:
            return None
        large = interpolate(self.masks[list(chosen), None].float(), self.frames.shape[2:], mode="nearest")
        return [picture > 127 for picture in grey_frames(large.expand(-1, 3, -1, -1), aspect=aspect)]


def score_by_regions(
    critic: Critic, given: CriticInput, between: Between, lpips: Lpips, *, dynamic: bool
) -> tuple[Scores, Regions | None]:
    """Score a clip and name its pixels; where something may move, the critic finds its cameras without what does.

    Args:
        critic: Reconstructs the clip.
        given: What it is given.
        between: These frames and others between them.
        lpips: The perceptual distance.
        dynamic: Whether something may move; if not, what moves is broken.

    Returns:
        The scores, and the names: None where the critic left out judged frames and does not say which.

    Raises:
        ReconstructionFailed: As `score_reconstruction` does, and if too little stands still.
    """
    places = [between.indices.index(index) for index in given.frame_indices or range(len(given.frames))]
    judged = [places[position] for position in given.judged]
    flow = DenseFlow(grey_frames(between.frames))
    off_lines = off_their_lines(flow, judged)
    if between.masks is not None:
        given = replace(given, moving=between.masks[places])
    elif dynamic:
        found = at_frames(moving_by_itself(off_lines), flow, judged, places)
        given = replace(given, moving=torch.from_numpy(np.stack(found)))
    reconstruction = critic.reconstruct(given)
    scores = score_reconstruction(reconstruction, lpips)
    kept = given.judged if reconstruction.frames is None else reconstruction.frames
    if len(reconstruction.images) != len(kept):
        return scores, None
    height, width = reconstruction.depth.shape[1:]
    seen = grey_frames(between.frames, aspect=width / height)
    if seen[0].shape != flow.grey[0].shape:  # the critic looks at the middle of the frames
        flow = DenseFlow(seen)
        off_lines = off_their_lines(flow, judged)
    off_lines = [off_lines[given.judged.index(position)] for position in kept]
    judged = [places[position] for position in kept]
    masks = between.masks_of(judged, width / height)
    regions = name_regions(reconstruction, scores.render, flow, judged, off_lines, lpips, dynamic=dynamic, masks=masks)
    if dynamic:
        regions.require_still()
    return scores.of_background(regions.background_error, regions.shares["still_share"]), regions
