"""A clip of more frames than a critic takes at once: window by window, joined, scored in a stream."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from videogpa.critics.base import Critic, ReconstructionFailed
from videogpa.critics.long.store import FrameStore
from videogpa.critics.long.windows import Chain, NotJoined, plan_windows
from videogpa.records import Prompt, Reconstruction
from videogpa.stages.score.flow import flow_lengths
from videogpa.stages.score.footage import Footage, Material, window_footage
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
    material: Material,
    indices: Sequence[int],
    critic: Critic,
    folder: Path,
    *,
    window: int,
    overlap: int,
    prompt: Prompt | None,
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
            footage = window_footage(material, [indices[frame] for frame in frames], critic, prompt)
            flow += _flow_of(footage, frames, kept)
            try:
                reconstruction = _whole(critic, footage, frames)
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


def _whole(critic: Critic, footage: Footage, frames: range) -> Reconstruction:
    reconstruction = critic.reconstruct(footage.frames, judged=footage.judged, source=footage.source)
    if reconstruction.status != "ok":
        raise ReconstructionFailed(f"frames {frames.start} to {frames.stop - 1}: {reconstruction.reason}")
    return reconstruction


def _flow_of(footage: Footage, frames: range, kept: range) -> list[float]:
    """The flow from every frame that is kept to the next one."""
    first = kept.start - frames.start
    shown = [footage.judged[i] for i in range(first, min(kept.stop - frames.start + 1, len(frames)))]
    return flow_lengths(footage.frames[shown]) if len(shown) > 1 else []


def reason_of(found: Walk, segment: Segment, frames: int) -> str | None:
    """Say which frames the numbers are about, if not all."""
    if len(segment.store) == frames:
        return None
    last = segment.start + len(segment.store) - 1
    return f"only frames {segment.start} to {last} of {frames} fit together; {found.failures[0].reason}"
