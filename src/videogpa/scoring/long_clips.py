"""Clips of more frames than a critic takes at once: reconstructed in windows, joined, and scored a frame at a time.

1. `reconstruct_in_windows` gives the critic one window after another and brings each into the world of the one before. What
   fits together is a `Segment`; a cut, or a window that the critic cannot reconstruct, begins a new one.
2. `score_segment` scores the longest segment, by the functions that score a short clip. Every frame is rendered from the same
   few frames, its anchors, which are spread evenly over the clip; and for the paper's score also from itself.

So time is linear in the frames and memory constant, and what a frame is compared with is a sample of what it would be compared
with in one pass. Its neighbours alone would not do: over a few frames a slow drift is nothing, and only a frame from long
before shows that a thing has moved.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.critics.base import Critic, CriticInput, ReconstructionFailed
from videogpa.maths.cameras import depth_disagreements
from videogpa.maths.exposure import gains_of
from videogpa.maths.render import one_thread
from videogpa.reconstruction import Reconstruction
from videogpa.records import Scene
from videogpa.scoring.burnt_in import BurntIn
from videogpa.scoring.frame_store import FrameStore
from videogpa.scoring.frames import Video, read_window
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.optical_flow import flow_lengths
from videogpa.scoring.point_cloud import Cloud, cloud_of, points_of
from videogpa.scoring.reprojection import Calibration, Render, exposure_changes, frame_errors, parallax_tolerance
from videogpa.scoring.scores import Scores, summarise
from videogpa.scoring.window_alignment import Chain, NotJoined, plan_windows
from videogpa.video import sample_indices
from videogpa.workers import progress


@dataclass
class Segment:
    """Consecutive windows that were aligned, with the measures that the critic returned for each."""

    start: int
    store: FrameStore
    chain: Chain = field(default_factory=Chain)
    measures: dict[str, list[float | int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, window: range, kept: range, reconstruction: Reconstruction) -> None:
        """Align a window with the one before, and store its frames `kept`; the others belong to a neighbouring window."""
        joined = self.chain.add(window, reconstruction)
        self.store.append(joined, [frame - window.start for frame in kept])
        for name, value in reconstruction.measures.items():
            self.measures[name].append(value)

    def summary(self) -> dict[str, float | int]:
        """Return the critic's measures over all windows, counts added and others averaged, and the worst `join_error`."""
        numbers = {name: sum(each) if isinstance(each[0], int) else fmean(each) for name, each in self.measures.items()}
        if "registered" in numbers:
            numbers["registered"] = len(self.store)  # frames in two windows count once
        if self.chain.errors:
            numbers["join_error"] = max(self.chain.errors)
        return numbers


@dataclass(frozen=True)
class Segments:
    """All segments of a clip in order, the reasons for the breaks between them, and the clip's mean optical flow."""

    found: Sequence[Segment]
    failures: Sequence[ReconstructionFailed]
    flow: float

    def longest(self) -> Segment:
        """Return the segment with the most frames.

        Raises:
            ReconstructionFailed: If no segment has two frames; the first failure says why.
        """
        longest = max(self.found, key=lambda segment: len(segment.store), default=None)
        if longest is None or len(longest.store) < 2:
            raise self.failures[0]
        return longest


def reconstruct_in_windows(
    video: Video,
    indices: Sequence[int],
    critic: Critic,
    folder: Path,
    *,
    window: int,
    overlap: int,
    scene: Scene | None = None,
    burnt_in: BurntIn | None = None,
) -> Segments:
    """Reconstruct frames of a video in windows, and keep what fits together on the disk.

    A window that the critic cannot reconstruct, or not whole, ends a segment; so does one that does not fit the one before.

    Args:
        video: A file, or a tensor of RGB in [0, 1].
        indices: The frames to reconstruct, ascending.
        critic: Reconstructs the windows.
        folder: An empty folder for the frames, which must outlive the segments.
        window: Frames of a window.
        overlap: Frames that a window shares with the next.
        scene: The scene of the miniature world that the clip was made for, if it was.
        burnt_in: What is burnt into the clip and left out; nothing by default.
    """
    burnt_in = burnt_in or BurntIn()
    critic = burnt_in.seen_by(critic)
    segments: list[Segment] = []
    failures: list[ReconstructionFailed] = []
    flow: list[float] = []
    broken = True
    windows = plan_windows(len(indices), window, overlap)
    with progress("windows", len(windows)) as advance:
        for frames, kept in _with_kept(windows):
            clip = burnt_in.uncovered(read_window(video, [indices[frame] for frame in frames], critic, scene))
            flow += _flow_of(clip, frames, kept)
            try:
                reconstruction = _reconstruct_whole(critic, clip, frames)
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
    return Segments(segments, failures, fmean(flow))


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


def _reconstruct_whole(critic: Critic, clip: CriticInput, frames: range) -> Reconstruction:
    reconstruction = critic.reconstruct(clip)
    if reconstruction.status != "ok":
        raise ReconstructionFailed(f"frames {frames.start} to {frames.stop - 1}: {reconstruction.reason}")
    return reconstruction


def _flow_of(clip: CriticInput, frames: range, kept: range) -> list[float]:
    """Return the flow from every frame that is kept to the next one."""
    seen = clip.judged_frames[kept.start - frames.start : kept.stop - frames.start + 1]
    return flow_lengths(seen) if len(seen) > 1 else []


@one_thread()
def score_segment(segments: Segments, lpips: Lpips, *, frames: int, anchors: int, shown: int) -> Scores:
    """Score the longest segment of a clip.

    With no more frames than anchors the numbers are those of one pass over the segment.

    Args:
        segments: What `reconstruct_in_windows` returned; the folder must still exist.
        lpips: The perceptual distance.
        frames: How many frames the clip has; with a shorter segment the status is `partial`.
        anchors: With how many frames, evenly spread, every frame is compared.
        shown: How many frames, evenly spread, are returned to look at.

    Raises:
        ReconstructionFailed: If no two frames belong together, or as `score_reconstruction` does.
    """
    segment = segments.longest()
    store = segment.store
    disagreements, steps = _between_neighbours(store)
    calibration = Calibration(gains_of(steps), parallax_tolerance(store.intrinsics, store.camera_from_world))
    wanted = sample_indices(len(store), min(shown, len(store)))
    errors: list[dict[str, Tensor]] = []
    renders: list[Render] = []
    for frame, part, cloud, members in _with_anchors(store, anchors):
        found, render = frame_errors(part, cloud, calibration[members], lpips, views=[members.index(frame)])
        errors.append(found)
        renders += [render] if frame in wanted else []
    rendered, covered = zip(*renders, strict=True)
    reason = _reason(segments, segment, frames)
    return summarise(
        {name: torch.cat([each[name] for each in errors]) for name in errors[0]},
        disagreements,
        store.camera_from_world,
        lpips,
        status="ok" if reason is None else "partial",
        reason=reason,
        measures=segment.summary(),
        shown=store.load(wanted),
        render=Render(torch.cat(rendered), torch.cat(covered)),
    )


def _reason(segments: Segments, segment: Segment, frames: int) -> str | None:
    """Say which frames the numbers are about, if not all."""
    if len(segment.store) == frames:
        return None
    last = segment.start + len(segment.store) - 1
    return f"only frames {segment.start} to {last} of {frames} fit together; {segments.failures[0].reason}"


def _between_neighbours(store: FrameStore) -> tuple[Float[Tensor, " steps"], Float[Tensor, " steps"]]:
    """Return how much the depths of adjacent frames disagree, and by how much the exposure changes between them."""
    disagreements, steps = [], []
    for frame in range(len(store) - 1):
        pair = store.load([frame, frame + 1])
        disagreements.append(depth_disagreements(pair.depth, pair.intrinsics, pair.camera_from_world))
        steps.append(exposure_changes(pair))
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
    return replace(
        a,
        images=torch.cat([a.images, b.images]),
        depth=torch.cat([a.depth, b.depth]),
        confidence=torch.cat([a.confidence, b.confidence]),
        intrinsics=torch.cat([a.intrinsics, b.intrinsics]),
        camera_from_world=torch.cat([a.camera_from_world, b.camera_from_world]),
        points=None,  # the cloud has them
        left_out=None if a.left_out is None or b.left_out is None else torch.cat([a.left_out, b.left_out]),
    )
