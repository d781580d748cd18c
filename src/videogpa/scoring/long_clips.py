"""Clips of more frames than a critic takes at once: reconstructed in windows, joined, and scored a frame at a time.

Every frame is rendered from the same few frames, spread evenly over the clip, and for the paper's score from itself: its
anchors. So time is linear and memory constant, and what a frame is compared with is a sample of what it would be compared with
in one pass. Its neighbours would not do: over a few frames a slow drift is nothing, and only a frame from long before shows
that a thing has moved.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from videogpa.critics.base import Critic, CriticInput, ReconstructionFailed
from videogpa.maths.cameras import depth_disagreements
from videogpa.maths.exposure import gains_of
from videogpa.records import Reconstruction, Scene
from videogpa.scoring import reprojection
from videogpa.scoring.frame_store import FrameStore
from videogpa.scoring.frames import Video, read_window
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.optical_flow import flow_lengths
from videogpa.scoring.point_cloud import Cloud, cloud_of, points_of
from videogpa.scoring.window_alignment import Chain, NotJoined, plan_windows
from videogpa.video import sample_indices
from videogpa.workers import progress


@dataclass
class Segment:
    """Neighbouring windows that fit together, and what their critic measured besides."""

    start: int
    store: FrameStore
    chain: Chain = field(default_factory=Chain)
    measures: dict[str, list[float | int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, window: range, kept: range, reconstruction: Reconstruction) -> None:
        """Add a window, and of its frames those `kept`; the others are another window's."""
        joined = self.chain.add(window, reconstruction)
        self.store.append(joined, [frame - window.start for frame in kept])
        for name, value in reconstruction.measures.items():
            self.measures[name].append(value)

    def summary(self) -> dict[str, float | int]:
        """Return the measures over the windows: counts are added, others averaged; and how well the windows fit."""
        numbers = {name: sum(each) if isinstance(each[0], int) else fmean(each) for name, each in self.measures.items()}
        if "registered" in numbers:
            numbers["registered"] = len(self.store)  # frames in two windows count once
        if self.chain.errors:
            numbers["join_error"] = max(self.chain.errors)
        return numbers


@dataclass(frozen=True)
class Walk:
    """What a walk over all windows found: segments in order, the reasons for the breaks between them, and the flow."""

    segments: Sequence[Segment]
    failures: Sequence[ReconstructionFailed]
    flow: float

    def best(self) -> Segment:
        """Return the longest segment.

        Raises:
            ReconstructionFailed: If no two frames belong together; the first failure says why.
        """
        longest = max(self.segments, key=lambda segment: len(segment.store), default=None)
        if longest is None or len(longest.store) < 2:
            raise self.failures[0]
        return longest


def walk(
    video: Video,
    indices: Sequence[int],
    critic: Critic,
    folder: Path,
    *,
    window: int,
    overlap: int,
    scene: Scene | None,
) -> Walk:
    """Reconstruct the frames with these indices in windows, and keep what fits together in `folder`.

    A window that the critic cannot reconstruct, or not whole, ends a segment; so does one that does not fit the one before.
    """
    segments: list[Segment] = []
    failures: list[ReconstructionFailed] = []
    flow: list[float] = []
    broken = True
    windows = plan_windows(len(indices), window, overlap)
    with progress("windows", len(windows)) as advance:
        for frames, kept in _with_kept(windows):
            given = read_window(video, [indices[frame] for frame in frames], critic, scene)
            flow += _flow_of(given, frames, kept)
            try:
                reconstruction = _whole(critic, given, frames)
                if broken:
                    segments.append(_segment(folder, len(segments), kept.start))
                segments[-1].add(frames, kept, reconstruction)
                broken = False
            except NotJoined as failure:  # two scenes, each of which may be sound
                failures.append(failure)
                segments.append(_segment(folder, len(segments), kept.start))
                segments[-1].add(frames, kept, reconstruction)
            except ReconstructionFailed as failure:
                failures.append(failure)
                broken = True
            advance("")
    return Walk(segments, failures, fmean(flow))


def _with_kept(windows: Sequence[range]) -> Iterator[tuple[range, range]]:
    """Yield every window with the frames that are taken from it: an overlap is shared out, half to each."""
    start = 0
    for number, window in enumerate(windows):
        last = number == len(windows) - 1
        stop = window.stop if last else (windows[number + 1].start + window.stop) // 2
        yield window, range(start, stop)
        start = stop


def _segment(folder: Path, number: int, start: int) -> Segment:
    path = folder / f"segment-{number}"
    path.mkdir()
    return Segment(start, FrameStore(path))


def _whole(critic: Critic, given: CriticInput, frames: range) -> Reconstruction:
    reconstruction = critic.reconstruct(given)
    if reconstruction.status != "ok":
        raise ReconstructionFailed(f"frames {frames.start} to {frames.stop - 1}: {reconstruction.reason}")
    return reconstruction


def _flow_of(given: CriticInput, frames: range, kept: range) -> list[float]:
    """The flow from every frame that is kept to the next one."""
    first = kept.start - frames.start
    shown = given.judged_frames[first : kept.stop - frames.start + 1]
    return flow_lengths(shown) if len(shown) > 1 else []


def reason_of(found: Walk, segment: Segment, frames: int) -> str | None:
    """Say which frames the numbers are about, if not all."""
    if len(segment.store) == frames:
        return None
    last = segment.start + len(segment.store) - 1
    return f"only frames {segment.start} to {last} of {frames} fit together; {found.failures[0].reason}"


Films = tuple[Reconstruction, reprojection.Rendered]
"""Frames to look at, with their leave-one-out renders."""


def stream_scores(store: FrameStore, lpips: Lpips, *, anchors: int, shown: int) -> tuple[dict[str, float], Films]:
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
        paper.append(reprojection.paper_errors(reprojection.paper_render(part, views=view, cloud=cloud), image, lpips))
        left_out.append(reprojection.leave_one_out_errors(rendered, image, lpips))
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
