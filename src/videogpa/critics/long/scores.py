"""Scores of a long reconstruction, a few frames at a time.

A frame is rendered from a bounded number of frames, so that time is linear and memory constant: those around it, and others
spread over the whole clip. The neighbours alone would not do: over a few frames a slow drift is nothing, and only a frame
from long before shows that a thing has moved.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from videogpa.critics import reprojection
from videogpa.critics.long.store import FrameStore
from videogpa.maths.cameras import depth_disagreements
from videogpa.maths.exposure import gains_of
from videogpa.perceptual import Lpips
from videogpa.records import Reconstruction
from videogpa.video import sample_indices

BLOCK = 8  # frames rendered at once, from the same sources

Films = tuple[Reconstruction, reprojection.Rendered]


def stream_scores(store: FrameStore, perceptual: Lpips, *, sources: int, shown: int) -> tuple[dict[str, float], Films]:
    """Return what `paper_scores` and `leave_one_out_scores` return, with every frame rendered from `sources` frames at most.

    Of a clip that has no more frames than that the numbers are those of one pass. Also returns `shown` frames, evenly spread,
    with their leave-one-out renders, for people to look at.

    Raises:
        ReconstructionFailed: As those do.
    """
    disagreements, steps = _between_neighbours(store)
    whole = reprojection.Clip(gains_of(steps), reprojection.parallax_tolerance(store.intrinsics, store.camera_from_world))
    wanted = set(sample_indices(len(store), min(shown, len(store))))
    paper: list[dict[str, Tensor]] = []
    left_out: list[dict[str, Tensor]] = []
    films: list[tuple[Tensor, Tensor]] = []
    for block, chosen in _blocks(len(store), sources):
        part = store.load(chosen)
        views = [chosen.index(frame) for frame in block]
        clip = reprojection.Clip(whole.gains[list(chosen)], whole.tolerance[list(chosen)])
        rendered = reprojection.leave_one_out_render(part, views=views, clip=clip)
        images = part.images[views]
        paper.append(reprojection.paper_errors(reprojection.paper_render(part, views=views), images, perceptual))
        left_out.append(reprojection.leave_one_out_errors(rendered, images, perceptual))
        films += [(rendered[0][i], rendered[1][i]) for i, frame in enumerate(block) if frame in wanted]
    numbers = reprojection.paper_summary(_joined(paper), disagreements, store.camera_from_world)
    numbers |= reprojection.leave_one_out_summary(_joined(left_out))
    seen, covered = zip(*films, strict=True)
    return numbers, (store.load(sorted(wanted)), (torch.stack(seen), torch.stack(covered)))


def _between_neighbours(store: FrameStore) -> tuple[Tensor, Tensor]:
    """What is told of two adjacent frames: how much their depths disagree, and by how much the exposure steps."""
    disagreements, steps = [], []
    for frame in range(len(store) - 1):
        pair = store.load([frame, frame + 1])
        disagreements.append(depth_disagreements(pair.depth, pair.intrinsics, pair.camera_from_world))
        steps.append(reprojection.exposure_changes(pair))
    return torch.cat(disagreements), torch.cat(steps)


def _blocks(frames: int, sources: int) -> Iterator[tuple[range, list[int]]]:
    """Yield neighbouring frames, and the frames (these included, ascending) that they are rendered from."""
    for start in range(0, frames, BLOCK):
        block = range(start, min(start + BLOCK, frames))
        yield block, choose_sources(block, frames, sources)


def choose_sources(block: Sequence[int], frames: int, sources: int) -> list[int]:
    """Return the frames that a block is rendered from: itself, its neighbours, and for one half others spread over the clip."""
    if frames <= sources:
        return list(range(frames))
    near = max((sources // 2 - len(block)) // 2, 1)
    chosen = set(range(max(block[0] - near, 0), min(block[-1] + 1 + near, frames)))
    spread = [frame for frame in sample_indices(frames, max(sources - len(chosen), 2)) if frame not in chosen]
    return sorted(chosen | set(spread))


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
