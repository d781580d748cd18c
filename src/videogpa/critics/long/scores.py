"""Scores of a long reconstruction, a frame at a time.

Every frame is rendered from the same few frames, spread evenly over the clip, and for the paper's score from itself: its
anchors. So time is linear and memory constant, and what a frame is compared with is a sample of what it would be compared with
in one pass. Its neighbours would not do: over a few frames a slow drift is nothing, and only a frame from long before shows
that a thing has moved.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from videogpa.critics import reprojection
from videogpa.critics.clouds import Cloud, cloud_of, points_of
from videogpa.critics.long.store import FrameStore
from videogpa.maths.cameras import depth_disagreements
from videogpa.maths.exposure import gains_of
from videogpa.perceptual import Lpips
from videogpa.records import Reconstruction
from videogpa.video import sample_indices

Films = tuple[Reconstruction, reprojection.Rendered]
"""Frames to look at, with their leave-one-out renders."""


def stream_scores(store: FrameStore, perceptual: Lpips, *, anchors: int, shown: int) -> tuple[dict[str, float], Films]:
    """Return what `paper_scores` and `leave_one_out_scores` return, with at most `anchors` frames in place of all.

    Of a clip that has no more frames than that the numbers are those of one pass. Also returns `shown` frames, evenly spread,
    with their leave-one-out renders.

    Raises:
        ReconstructionFailed: As those do.
    """
    disagreements, steps = _between_neighbours(store)
    clip = reprojection.Clip(gains_of(steps), reprojection.parallax_tolerance(store.intrinsics, store.camera_from_world))
    wanted = set(sample_indices(len(store), min(shown, len(store))))
    paper: list[dict[str, Tensor]] = []
    left_out: list[dict[str, Tensor]] = []
    films: list[reprojection.Rendered] = []
    for frame, part, cloud, members in _with_anchors(store, anchors):
        view = [members.index(frame)]
        there = reprojection.Clip(clip.gains[members], clip.tolerance[members])
        rendered = reprojection.leave_one_out_render(part, views=view, clip=there, cloud=cloud)
        image = part.images[view]
        paper.append(reprojection.paper_errors(reprojection.paper_render(part, views=view, cloud=cloud), image, perceptual))
        left_out.append(reprojection.leave_one_out_errors(rendered, image, perceptual))
        films += [rendered] if frame in wanted else []
    numbers = reprojection.paper_summary(_joined(paper), disagreements, store.camera_from_world)
    numbers |= reprojection.leave_one_out_summary(_joined(left_out))
    seen, covered = zip(*films, strict=True)
    return numbers, (store.load(sorted(wanted)), (torch.cat(seen), torch.cat(covered)))


def _between_neighbours(store: FrameStore) -> tuple[Tensor, Tensor]:
    """What is told of two adjacent frames: how much their depths disagree, and by how much the exposure steps."""
    disagreements, steps = [], []
    for frame in range(len(store) - 1):
        pair = store.load([frame, frame + 1])
        disagreements.append(depth_disagreements(pair.depth, pair.intrinsics, pair.camera_from_world))
        steps.append(reprojection.exposure_changes(pair))
    return torch.cat(disagreements), torch.cat(steps)


def _with_anchors(store: FrameStore, anchors: int) -> Iterator[tuple[int, Reconstruction, Cloud, list[int]]]:
    """Yield every frame with the reconstruction of the anchors and itself, its cloud, and the numbers of the frames in it."""
    members = sample_indices(len(store), min(anchors, len(store)))
    kept = store.load(members)
    cloud = cloud_of(kept)  # most of every frame's, so it is made once
    for frame in range(len(store)):
        if frame in members:
            yield frame, kept, cloud, members
        else:
            own = store.load([frame])
            both = cloud.followed_by(points_of(own, first=len(members)))
            yield frame, _stacked(kept, own), both, [*members, frame]


def _stacked(a: Reconstruction, b: Reconstruction) -> Reconstruction:
    names = ("images", "depth", "confidence", "intrinsics", "camera_from_world")
    both: dict[str, Any] = {name: torch.cat([getattr(a, name), getattr(b, name)]) for name in names}
    return replace(a, **both, points=None)  # the cloud has them


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
