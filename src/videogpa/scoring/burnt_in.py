"""Bars, logos, subtitles and watermarks are looked for before the critic sees a clip, and left out of all that is measured.

Bars are cut off: what is left is the clip as it was before they were added, so that its intrinsics are right and its numbers
are those of that clip. What is burnt into the picture stays in it, since a hole has to be filled with something; but a critic
that matches features is told to take none there, and its pixels leave the point cloud and every error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, max_pool2d

from videogpa.critics.base import Critic, CriticInput
from videogpa.critics.cards import Card
from videogpa.reconstruction import Reconstruction
from videogpa.scoring.bars import Bars, find_bars
from videogpa.scoring.dense_flow import SAME_ASPECT
from videogpa.scoring.frames import Video, read_at
from videogpa.scoring.overlays import SEARCHED, find_overlays
from videogpa.video import sample_indices

BESIDE = 2  # pixels of the reconstruction around an overlay, whose depth was matched together with it


NO_BARS = Bars()


@dataclass(frozen=True, eq=False)
class BurntIn:
    """What is burnt into a clip; by default nothing."""

    bars: Bars = NO_BARS
    searched: tuple[int, ...] = ()
    """The indices of the frames that were searched."""
    masks: Bool[Tensor, "searched mask_height mask_width"] | None = None
    """Where something is burnt into them, without the bars; None where nothing was found."""
    size: tuple[int, int] = (1, 1)
    """Height and width of the frames with the bars."""

    @property
    def columns(self) -> dict[str, float]:
        """What it contributes to a row besides the scores: the share of the bars, if there are any."""
        return {"bars_share": self.bars.share(*self.size)} if self.bars else {}

    def uncovered(self, clip: CriticInput) -> CriticInput:
        """Return what the critic is given: the frames without bars, and where something is burnt in."""
        if self.bars:
            clip = replace(clip, frames=self.bars.cut(clip.frames))
        masks = self._masks_of(clip.frame_indices or range(len(clip.frames)))
        return clip if masks is None else replace(clip, overlay=masks)

    def without_bars(self, masks: Bool[Tensor, "frames height width"]) -> Bool[Tensor, "frames new_height new_width"]:
        """Return a user's masks, of any size, as they are for the frames without bars."""
        height, width = masks.shape[1:]
        y, x = height / self.size[0], width / self.size[1]
        top, left = round(self.bars.top * y), round(self.bars.left * x)
        return masks[:, top : height - round(self.bars.bottom * y), left : width - round(self.bars.right * x)]

    def seen_by(self, critic: Critic) -> Critic:
        """Return the critic, with reconstructions from which the pixels that show no scene are left out."""
        return critic if self.masks is None else _Uncovering(critic)

    def _masks_of(self, frames: Sequence[int]) -> Bool[Tensor, "frames mask_height mask_width"] | None:
        """Return the masks of any frames of the clip, each that of the searched frame nearest in time."""
        if self.masks is None:
            return None
        nearest = [min(range(len(self.searched)), key=lambda place: abs(self.searched[place] - frame)) for frame in frames]
        return self.masks[nearest]


@dataclass(frozen=True)
class _Uncovering:
    """A critic whose reconstructions say which pixels show no scene."""

    CARDS: ClassVar[tuple[Card, ...]] = ()
    critic: Critic

    @property
    def details(self) -> Mapping[str, str]:
        return self.critic.details

    def frames_to_read(self, judged: int) -> int:
        return self.critic.frames_to_read(judged)

    def reconstruct(self, clip: CriticInput) -> Reconstruction:
        found = self.critic.reconstruct(clip)
        if clip.overlay is None:
            return found
        kept = clip.judged if found.frames is None else found.frames
        masks = clip.overlay[list(kept)]
        if len(masks) != len(found.images):  # the critic left out frames, and does not say which
            masks = masks.any(0, keepdim=True).expand(len(found.images), -1, -1)
        left_out = _at_size(masks, *found.depth.shape[1:]).to(found.depth.device)
        depth, confidence = (torch.where(left_out, 0, part) for part in (found.depth, found.confidence))
        return replace(found, depth=depth, confidence=confidence, left_out=left_out)


def find_burnt_in(video: Video, total: int, given: CriticInput | None = None) -> BurntIn:
    """Search a clip for bars and overlays.

    Args:
        video: A file, or a tensor of RGB in [0, 1].
        total: How many frames it has.
        given: What was read of it already, which is searched if it holds the frames in question.

    Raises:
        UnreadableVideo: If a file cannot be read.
    """
    indices = tuple(sample_indices(total, min(total, SEARCHED)))
    frames = given.frames if given is not None and given.frame_indices == indices else read_at(video, indices)
    bars = find_bars(frames)
    height, width = frames.shape[2:]
    return BurntIn(bars, indices, find_overlays(bars.cut(frames)), (height, width))


def _at_size(
    masks: Bool[Tensor, "frames mask_height mask_width"], height: int, width: int
) -> Bool[Tensor, "frames height width"]:
    """Return masks at the size of a reconstruction, of the middle of the frames if it has another aspect, and a little more."""
    tall, wide = masks.shape[1:]
    if abs(wide / tall / (width / height) - 1) > SAME_ASPECT:
        down, across = min(tall, round(wide * height / width)), min(wide, round(tall * width / height))
        top, left = (tall - down) // 2, (wide - across) // 2
        masks = masks[:, top : top + down, left : left + across]
    small = adaptive_max_pool2d(masks[:, None].float(), (height, width))
    return max_pool2d(small, 2 * BESIDE + 1, stride=1, padding=BESIDE)[:, 0] > 0
