"""One clip, one critic: frames in, a row out, with what the report shows of it."""

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jaxtyping import Float
from torch import Tensor

from videogpa.bundled import TINY, bundled_folder
from videogpa.config import ScoreConfig
from videogpa.critics.base import Critic, CriticInput, ReconstructionFailed
from videogpa.maths.cameras import camera_jerk
from videogpa.records import Prompt, Reconstruction, Scene, Score
from videogpa.registry import CRITICS, build
from videogpa.scoring import reprojection
from videogpa.scoring.frames import Video, count_frames, read_clip
from videogpa.scoring.long_clips import reason_of, stream_scores, walk
from videogpa.scoring.lpips import Lpips, Net
from videogpa.scoring.optical_flow import mean_flow
from videogpa.storage.fingerprints import path_fingerprint
from videogpa.video import UnreadableVideo, sample_indices

LEAST_FOR_JERK = 4  # cameras: it is a third difference
SHOWN = 10  # frames of a long clip that are kept for people to look at; as many as of a short one


@dataclass(frozen=True, eq=False)
class ScoredClip:
    """A score, and for clips that could be reconstructed what the score was computed from."""

    score: Score
    reconstruction: Reconstruction | None = None
    rendered: reprojection.Rendered | None = None
    """The leave-one-out render, and which pixels it covers."""


def weights_identity(config: ScoreConfig) -> str | None:
    """Return a fingerprint of the files that the critic's `weights` name, if they lie on this machine.

    Rows made with weights that were exchanged under the same name are stale; the settings alone would not tell.
    """
    name = str(config.options.get("weights", ""))
    weights = bundled_folder(name) if name.startswith(TINY) else Path(name).expanduser()
    return path_fingerprint(weights) if name and weights.exists() else None


class Scorer:
    """A critic and a perceptual distance, loaded once and put to many clips."""

    def __init__(self, config: ScoreConfig) -> None:
        self._config = config
        self._critic: Critic = build(CRITICS, config.critic, config.options)

    def score_clip(self, video: Path | Tensor, *, clip: str, prompt: Prompt | None = None) -> ScoredClip:
        """Score a file, or a tensor [frames 3 height width] of RGB in [0, 1].

        A file that cannot be read, and a clip without geometry that deserves the name, give a row that says why.

        Raises:
            ValueError: If a tensor has too few frames or values outside [0, 1].
        """
        started = time.perf_counter()
        scene = prompt.scene if prompt else None
        row: dict[str, Any] = {"clip": clip, "critic": self._config.critic, "details": dict(self._critic.details) or None}
        try:
            total = count_frames(video, self._least)
            count = total if self._config.frames == "all" else self._config.frames
            if count <= self._config.window:
                finding = self._at_once(video, total, count, scene, row)
            else:
                finding = self._in_windows(video, total, count, scene, row)
        except UnreadableVideo as error:
            return ScoredClip(Score(**row, status="unreadable", reason=error.reason))
        except ReconstructionFailed as failure:
            row |= {"status": failure.status, "reason": failure.reason, "seconds": time.perf_counter() - started}
            return ScoredClip(Score(**row, **failure.measures))
        row |= {"lpips_net": self._config.lpips_net, "seconds": time.perf_counter() - started}
        return ScoredClip(Score(**row, **finding.numbers), finding.reconstruction, finding.rendered)

    def read(self, video: Video, prompt: Prompt | None = None) -> CriticInput:
        """Read the frames that the critic wants in order to reconstruct the clip at once, and mark those to be judged.

        Raises:
            UnreadableVideo: If a file cannot be read, or has too few frames.
            ValueError: If a tensor has too few frames or values outside [0, 1].
        """
        total = count_frames(video, self._least)
        count = total if self._config.frames == "all" else self._config.frames
        return read_clip(video, total, count, self._critic, prompt.scene if prompt else None)

    def reconstruct(self, given: CriticInput) -> Reconstruction:
        """Return the critic's reconstruction of the judged frames.

        Raises:
            ReconstructionFailed: If it finds no geometry that deserves the name.
        """
        return self._critic.reconstruct(given)

    @property
    def _lpips(self) -> Lpips:
        return _perceptual(self._config.lpips_net)

    @property
    def _least(self) -> int:
        return 2 if self._config.frames == "all" else self._config.frames

    def _at_once(self, video: Video, total: int, count: int, scene: Scene | None, row: dict[str, Any]) -> "_Finding":
        given = read_clip(video, total, count, self._critic, scene)
        row["flow"] = mean_flow(given.judged_frames)
        reconstruction = self.reconstruct(given)
        perceptual = self._lpips
        rendered = reprojection.leave_one_out_render(reconstruction)
        numbers = reprojection.paper_scores(reconstruction, perceptual)
        numbers |= reprojection.leave_one_out_scores(reconstruction, perceptual, rendered=rendered)
        numbers |= reprojection.baseline_scores(reconstruction.images, perceptual, numbers["loo_error"])
        numbers |= _failing(numbers["loo_error"], reconstruction.loo_limit)
        row |= {"status": reconstruction.status, "reason": reconstruction.reason, "frames": len(reconstruction.images)}
        return _Finding(
            {**numbers, **_jerk(reconstruction.camera_from_world), **reconstruction.measures}, reconstruction, rendered
        )

    def _in_windows(self, video: Video, total: int, count: int, scene: Scene | None, row: dict[str, Any]) -> "_Finding":
        size, overlap = self._config.window, self._config.overlap
        indices = sample_indices(total, count)
        with TemporaryDirectory(prefix="videogpa-") as folder:
            found = walk(video, indices, self._critic, Path(folder), window=size, overlap=overlap, scene=scene)
            row["flow"] = found.flow
            best = found.best()
            scores, (reconstruction, rendered) = stream_scores(
                best.store, self._lpips, anchors=self._config.anchors, shown=SHOWN
            )
            scores |= reprojection.baseline_scores(reconstruction.images, self._lpips, scores["loo_error"])
            whole = len(best.store) == count
            row |= {"status": "ok" if whole else "partial", "reason": reason_of(found, best, count), "frames": len(best.store)}
            numbers = {**scores, **_jerk(best.store.camera_from_world), **best.summary()}
        return _Finding(numbers, reconstruction, rendered)


@dataclass(frozen=True, eq=False)
class _Finding:
    """The numbers of a clip, and frames to look at: all that were judged, or some of a long clip's."""

    numbers: dict[str, Any]
    reconstruction: Reconstruction
    rendered: reprojection.Rendered


def _jerk(camera_from_world: Float[Tensor, "frames 4 4"]) -> dict[str, float]:
    return {"jerk": float(camera_jerk(camera_from_world))} if len(camera_from_world) >= LEAST_FOR_JERK else {}


def _failing(loo_error: float, limit: float | None) -> dict[str, float]:
    return {} if limit is None else {"failing": float(loo_error > limit)}


@cache
def _perceptual(net: Net) -> Lpips:
    return Lpips(net).eval()
