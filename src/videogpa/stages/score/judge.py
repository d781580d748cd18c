"""One clip, one critic: frames in, a row out, with what the report shows of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from videogpa.config import ScoreConfig
from videogpa.critics import reprojection
from videogpa.critics.base import Critic, ReconstructionFailed
from videogpa.maths.cameras import camera_jerk
from videogpa.perceptual import Lpips, Net
from videogpa.records import Prompt, Reconstruction, Score, Source
from videogpa.registry import CRITICS, build
from videogpa.runs import path_fingerprint
from videogpa.stages.score.flow import mean_flow
from videogpa.video import UnreadableVideo, probe, read_frames, sample_indices

LEAST_FOR_JERK = 4  # cameras: it is a third difference


@dataclass(frozen=True, eq=False)
class Footage:
    """The frames a critic is given, and which of them it is to judge."""

    frames: Float[Tensor, "frames 3 height width"]
    judged: tuple[int, ...]
    source: Source


@dataclass(frozen=True, eq=False)
class Verdict:
    """A score, and for clips that could be reconstructed what the score was computed from."""

    score: Score
    reconstruction: Reconstruction | None = None
    rendered: reprojection.Rendered | None = None
    """The leave-one-out render, and which pixels it covers."""


def weights_identity(config: ScoreConfig) -> str | None:
    """Return a fingerprint of the files that the critic's `weights` name, if they lie on this machine.

    Rows made with weights that were exchanged under the same name are stale; the settings alone would not tell.
    """
    weights = Path(str(config.options.get("weights", ""))).expanduser()
    return path_fingerprint(weights) if config.options.get("weights") and weights.exists() else None


class Judge:
    """A critic and a perceptual distance, loaded once and put to many clips."""

    def __init__(self, config: ScoreConfig) -> None:
        self._config = config
        self._critic: Critic = build(CRITICS, config.critic, config.options)

    def judge(self, video: Path | Tensor, *, clip: str, prompt: Prompt | None = None) -> Verdict:
        """Score a file, or a tensor [frames 3 height width] of RGB in [0, 1].

        A file that cannot be read, and a clip without geometry that deserves the name, give a row that says why.

        Raises:
            ValueError: If a tensor has too few frames or values outside [0, 1].
        """
        started = time.perf_counter()
        row: dict[str, Any] = {"clip": clip, "critic": self._config.critic, "details": dict(self._critic.details) or None}
        try:
            footage = self.footage(video, prompt)
            row["flow"] = mean_flow(footage.frames[list(footage.judged)])
            reconstruction = self.reconstruct(footage)
            numbers, rendered = self._measure(reconstruction)
        except UnreadableVideo as error:
            return Verdict(Score(**row, status="unreadable", reason=error.reason))
        except ReconstructionFailed as failure:
            row |= {"status": failure.status, "reason": failure.reason, "seconds": time.perf_counter() - started}
            return Verdict(Score(**row, **failure.measures))
        row |= {"status": reconstruction.status, "reason": reconstruction.reason, "perceptual": self._config.perceptual}
        row |= {"frames": len(reconstruction.images), "seconds": time.perf_counter() - started}
        return Verdict(Score(**row, **numbers), reconstruction, rendered)

    def footage(self, video: Path | Tensor, prompt: Prompt | None = None) -> Footage:
        """Read the frames that the critic wants, evenly spread, and mark those to be judged.

        Raises:
            UnreadableVideo: If a file cannot be read, or has too few frames.
            ValueError: If a tensor has too few frames or values outside [0, 1].
        """
        if isinstance(video, Tensor):
            _check(video, self._config.frames)
            return self._sample(len(video), lambda indices: video[indices], prompt)
        total = probe(video).frames
        if total < self._config.frames:
            raise UnreadableVideo(video, f"it has {total} frames, fewer than the {self._config.frames} to be judged")
        return self._sample(total, lambda indices: read_frames(video, len(indices)), prompt)

    def reconstruct(self, footage: Footage) -> Reconstruction:
        """Return the critic's reconstruction of the judged frames.

        Raises:
            ReconstructionFailed: If it finds no geometry that deserves the name.
        """
        return self._critic.reconstruct(footage.frames, judged=footage.judged, source=footage.source)

    def _sample(self, total: int, read: Callable[[list[int]], Tensor], prompt: Prompt | None) -> Footage:
        count = min(total, max(self._config.frames, self._critic.frames_to_read(self._config.frames)))
        indices = sample_indices(total, count)
        judged = tuple(sample_indices(count, self._config.frames))
        return Footage(read(indices), judged, Source(prompt, tuple(indices)))

    def _measure(self, reconstruction: Reconstruction) -> tuple[dict[str, Any], reprojection.Rendered]:
        perceptual = _perceptual(self._config.perceptual)
        rendered = reprojection.leave_one_out_render(reconstruction)
        numbers: dict[str, Any] = reprojection.paper_scores(reconstruction, perceptual)
        numbers |= reprojection.leave_one_out_scores(reconstruction, perceptual, rendered=rendered)
        if len(reconstruction.camera_from_world) >= LEAST_FOR_JERK:
            numbers["jerk"] = float(camera_jerk(reconstruction.camera_from_world))
        return {**numbers, **reconstruction.measures}, rendered


def _check(video: Float[Tensor, "frames 3 height width"], least: int) -> None:
    if len(video) < least:
        raise ValueError(f"the video has {len(video)} frames, fewer than the {least} to be judged")
    low, high = float(video.min()), float(video.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"expected RGB in [0, 1], got values from {low:.3g} to {high:.3g}")


@cache
def _perceptual(net: Net) -> Lpips:
    return Lpips(net).eval()
