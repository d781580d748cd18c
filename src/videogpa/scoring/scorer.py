"""`Scorer`: a critic and a perceptual distance, loaded once; clips in, rows of scores out."""

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import torch

from videogpa.config import ScoreConfig, score_config
from videogpa.critics.base import Critic, CriticInput, ReconstructionFailed
from videogpa.defaults import ANCHORS, CRITIC, FRAMES, LPIPS_NET, OVERLAP, WINDOW, Cuts, Overlays, Reading
from videogpa.errors import InvalidInput
from videogpa.reconstruction import Reconstruction
from videogpa.records import Prompt, Scene, Score
from videogpa.registry import CRITICS, build
from videogpa.scoring.appearance import appearance_of
from videogpa.scoring.burnt_in import BurntIn, find_burnt_in
from videogpa.scoring.by_regions import Between, score_by_regions
from videogpa.scoring.cuts import find_cuts
from videogpa.scoring.frames import Given, Shot, Video, count_frames, opened, read_at, read_between, read_clip
from videogpa.scoring.long_clips import Segments, reconstruct_in_windows, score_segment
from videogpa.scoring.lpips import Lpips, Net, TooSmall
from videogpa.scoring.masks import Masks, read_masks
from videogpa.scoring.optical_flow import mean_flow
from videogpa.scoring.regions import Regions
from videogpa.scoring.reprojection import Render
from videogpa.scoring.scores import Scores, score_reconstruction
from videogpa.temporary import temporary_folder
from videogpa.video import UnreadableVideo, sample_indices

FROZEN = 0.001  # image widths: a clip whose flow is less stands still
SHOWN = 10  # frames of a long clip that are kept for people to look at; as many as of a short one


@dataclass(frozen=True, eq=False)
class ScoredClip:
    """The row of a clip and, if it could be scored, what its report shows."""

    score: Score
    reconstruction: Reconstruction | None = None
    """The judged frames; of a long clip some of them."""
    render: Render | None = None
    """The leave-one-out render of those frames."""
    regions: Regions | None = None
    """The names of their pixels, where they were asked for."""


class Scorer:
    """Scores the 3D consistency of clips with one critic, which is loaded once.

    Args:
        critic: Estimates cameras and depth: a name that `videogpa list critics` shows.
        options: The critic's own options (docs/reference/critics.md): weights, device, ...
        frames: How many frames of each clip are judged, evenly spread, first and last included; 2 or more, or `"all"`.
        window: The most frames that the critic reconstructs in one pass; 4 or more. Longer clips are reconstructed in windows.
        overlap: Frames that a window shares with the next; 2 or more, at most half a window.
        anchors: Of a clip longer than a window: with how many of its frames each frame is compared; 2 or more.
        lpips_net: The network of the perceptual distance. `"vgg"` is the paper's, and is downloaded on first use.
        scene: Name every pixel still, moving, broken or unseen, and measure background and subjects apart: `"dynamic"` where
            something may move, `"static"` where whatever moves is broken. By default pixels are not named.
        overlays: `"leave_out"` looks for bars and for what is burnt into the picture (logos, subtitles, watermarks), and leaves
            both out of all that is measured; `"keep"` does not, as the paper.
        cuts: `"decline"` looks for cuts to another shot where the critic does not itself, and scores no clip that has one;
            `"keep"` does not, as the paper.

    Raises:
        ValueError: If a name is unknown or a number impossible.

    Examples:
        >>> with Scorer("vggt", options={"device": "cuda"}, frames=10) as scorer:
        ...     rows = [scorer.score(path) for path in Path("clips").glob("*.mp4")]
        >>> sorted((row.loo_error, row.clip) for row in rows if row.status == "ok")
    """

    def __init__(
        self,
        critic: str = CRITIC,
        *,
        options: Mapping[str, Any] | None = None,
        frames: int | Literal["all"] = FRAMES,
        window: int = WINDOW,
        overlap: int = OVERLAP,
        anchors: int = ANCHORS,
        lpips_net: Net = LPIPS_NET,
        scene: Reading | None = None,
        overlays: Overlays = "leave_out",
        cuts: Cuts = "decline",
    ) -> None:
        self.config = score_config(
            critic=critic,
            options=dict(options or {}),
            frames=frames,
            window=window,
            overlap=overlap,
            anchors=anchors,
            lpips_net=lpips_net,
            scene=scene,
            overlays=overlays,
            cuts=cuts,
        )
        self._critic: Critic | None = build(CRITICS, critic, self.config.options)
        self._lpips: Lpips | None = None

    @classmethod
    def from_config(cls, config: ScoreConfig) -> "Scorer":
        """Build the scorer that a recipe's section `score` describes."""
        return cls(
            config.critic,
            options=config.options,
            frames=config.frames,
            window=config.window,
            overlap=config.overlap,
            anchors=config.anchors,
            lpips_net=config.lpips_net,
            scene=config.scene,
            overlays=config.overlays,
            cuts=config.cuts,
        )

    def score(self, video: Given, *, masks: Masks | None = None) -> Score:
        """Score one video.

        Args:
            video: A file, or frames: a tensor or a NumPy array `[frames, 3, height, width]` or `[frames, height, width, 3]`,
                with 1 (grey) or 4 channels (alpha, laid on white) in place of 3, or grey `[frames, height, width]`; or a list
                or a generator of pictures of Pillow, arrays or tensors. Bytes, or floats of any precision in [0, 1].
            masks: What moves by itself, in place of what would be found; for a scorer with `scene="dynamic"`. One picture,
                or as many as the video has frames, as a file or in any form that a video may have; black: nothing moves.

        Returns:
            The row that `videogpa score` would write. Look at its `status` first: there are numbers where it is `ok` (or
            `partial`: about a part of the clip); else `reason` says why there are none. A file that cannot be read, and a clip
            without reliable geometry, are rows too.

        Raises:
            ValueError: If the frames are too few, of no form that is taken, or have values outside [0, 1]; or if there are
                masks and `scene` is not `"dynamic"`.
        """
        return self.score_clip(video, clip=str(video) if isinstance(video, str | Path) else "tensor", masks=masks).score

    def score_clip(self, video: Given, *, clip: str, prompt: Prompt | None = None, masks: Masks | None = None) -> ScoredClip:
        """Score one video under a name of your choice, and return besides what its report shows.

        Args:
            video: A file, or frames in any form that `score` takes.
            clip: The name that the row bears.
            prompt: What the clip was made for: its reading goes before the scorer's, and the oracle needs its scene.
            masks: What moves by itself, as `score` takes it.

        Raises:
            ValueError: If the frames are too few, of no form that is taken, or have values outside [0, 1]; or if there are
                masks and the reading is not `"dynamic"`.
        """
        started = time.perf_counter()
        reading = (prompt.reading if prompt else None) or self.config.scene
        if masks is not None and reading != "dynamic":
            raise InvalidInput("masks say what moves by itself: they are for a scorer with scene='dynamic'")
        video, scene = opened(video), prompt.scene if prompt else None
        known: dict[str, float] = {}  # before the reconstruction, so that a clip without geometry has it too
        try:
            scores, regions = self._measure(video, scene, reading, masks, known)
        except UnreadableVideo as error:
            return ScoredClip(self._row(clip, status="unreadable", reason=error.reason))
        except TooSmall as error:
            return ScoredClip(self._row(clip, status="failed", reason=str(error), **known))
        except ReconstructionFailed as failure:
            measured = {**known, "status": failure.status, "reason": failure.reason, **failure.measures}
            return ScoredClip(self._row(clip, seconds=time.perf_counter() - started, **measured))
        columns = {**known, **scores.columns(), **(regions.columns() if regions else {})}
        row = self._row(clip, lpips_net=self.config.lpips_net, seconds=time.perf_counter() - started, **columns)
        return ScoredClip(row, scores.shown, scores.render, regions)

    def _measure(
        self, video: Video, scene: Scene | None, reading: Reading | None, masks: Masks | None, known: dict[str, float]
    ) -> tuple[Scores, Regions | None]:
        """Score a clip, and name its pixels if that is asked for; what needs no geometry goes into `known`."""
        total, count = self._frames_of(video)
        self._require_one_shot(video, total, scene)
        if count > self.config.window:
            if masks is not None:
                raise ReconstructionFailed(
                    f"masks are used for clips of up to {self.config.window} judged frames (`window`); this one has {count}"
                )
            return self._measure_long(video, total, count, scene, known), None
        burnt_in, given = self._uncovered(video, total, read_clip(video, total, count, self.critic, scene))
        known |= burnt_in.columns | _motion(mean_flow(given.judged_frames))
        known |= appearance_of(video, total, given.judged_frames)
        critic = burnt_in.seen_by(self.critic)
        if reading is None:
            return score_reconstruction(critic.reconstruct(given), self.lpips), None
        frames, indices = read_between(video, total, given)
        own = None if masks is None else burnt_in.without_bars(read_masks(masks, total, indices))
        between = Between(burnt_in.bars.cut(frames), indices, own)
        return score_by_regions(critic, given, between, self.lpips, dynamic=reading == "dynamic")

    def _measure_long(self, video: Video, total: int, count: int, scene: Scene | None, known: dict[str, float]) -> Scores:
        """Score a clip of more frames than a window; see `_measure`."""
        burnt_in = self._burnt_in(video, total, scene)
        shown = read_at(video, sample_indices(total, min(total, SHOWN)))
        known |= burnt_in.columns | appearance_of(video, total, burnt_in.bars.cut(shown))
        with temporary_folder() as folder:
            segments = self._in_windows(video, sample_indices(total, count), scene, burnt_in, folder)
            known |= _motion(segments.flow)
            return score_segment(segments, self.lpips, frames=count, anchors=self.config.anchors, shown=SHOWN)

    def reconstruct(self, video: Given, *, prompt: Prompt | None = None) -> Reconstruction:
        """Reconstruct the judged frames of one video in one pass; all of them are held in memory.

        Args:
            video: A file, or frames in any form that `score` takes.
            prompt: What the clip was made for; only the oracle needs it, for the scene.

        Raises:
            ReconstructionFailed: If no reliable geometry could be estimated.
            UnreadableVideo: If a file cannot be read, or has too few frames.
            ValueError: If the frames are too few, of no form that is taken, or have values outside [0, 1].
        """
        video = opened(video)
        total, count = self._frames_of(video)
        clip = read_clip(video, total, count, self.critic, prompt.scene if prompt else None)
        burnt_in, given = self._uncovered(video, total, clip)
        return burnt_in.seen_by(self.critic).reconstruct(given)

    def close(self) -> None:
        """Free the critic and the perceptual distance, and the GPU memory that they hold. The scorer cannot be used again."""
        self._critic = self._lpips = None
        gc.collect()
        torch.cuda.empty_cache()  # does nothing where no GPU was used

    def __enter__(self) -> "Scorer":
        """Return the scorer; leaving the context closes it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close the scorer."""
        self.close()

    @property
    def critic(self) -> Critic:
        """The critic.

        Raises:
            RuntimeError: If the scorer is closed.
        """
        if self._critic is None:
            raise RuntimeError("this Scorer is closed; make a new one")
        return self._critic

    @property
    def lpips(self) -> Lpips:
        """The perceptual distance; it is loaded when it is first needed."""
        if self._lpips is None:
            self._lpips = Lpips(self.config.lpips_net).eval()
        return self._lpips

    def _frames_of(self, video: Video) -> tuple[int, int]:
        """Return how many frames a video has, and how many of them are to be judged."""
        frames = self.config.frames
        total = count_frames(video, 2 if frames == "all" else frames)
        return total, total if frames == "all" else frames

    def _require_one_shot(self, video: Video, total: int, scene: Scene | None) -> None:
        """Look for cuts, unless the critic does so itself or the clip is known to have none.

        Raises:
            ReconstructionFailed: If there is one.
        """
        known = scene is not None or isinstance(video, Shot)
        if known or self.config.cuts == "keep" or getattr(self.critic, "FINDS_CUTS", False):
            return
        try:
            cuts = find_cuts(video, total)
        except UnreadableVideo:  # the frames that are judged may be whole
            return
        if cuts:
            frames = f"frame{'s' if len(cuts) > 1 else ''} {' and '.join(map(str, cuts))}"
            raise ReconstructionFailed(
                f"a cut at {frames} (of 0 to {total - 1}): next to nothing of the frame before is found there. --shots scores "
                "each shot by itself"
            )

    def _burnt_in(self, video: Video, total: int, scene: Scene | None, given: CriticInput | None = None) -> BurntIn:
        """Return what is burnt into a clip; nothing in the miniature world, where all is known."""
        nothing = self.config.overlays == "keep" or scene is not None
        return BurntIn() if nothing else find_burnt_in(video, total, given)

    def _uncovered(self, video: Video, total: int, given: CriticInput) -> tuple[BurntIn, CriticInput]:
        found = self._burnt_in(video, total, given.scene, given)
        return found, found.uncovered(given)

    def _in_windows(
        self, video: Video, indices: Sequence[int], scene: Scene | None, burnt_in: BurntIn, folder: Path
    ) -> Segments:
        config = self.config
        sizes = {"window": config.window, "overlap": config.overlap}
        return reconstruct_in_windows(video, indices, self.critic, folder, **sizes, scene=scene, burnt_in=burnt_in)

    def _row(self, clip: str, **columns: object) -> Score:
        details = dict(self.critic.details) or None
        return Score.model_validate({"clip": clip, "critic": self.config.critic, "details": details, **columns})


def _motion(flow: float) -> dict[str, float]:
    return {"flow": flow, "frozen": float(flow < FROZEN)}


def score(
    video: Given,
    *,
    critic: str = CRITIC,
    frames: int | Literal["all"] = FRAMES,
    lpips_net: Net = LPIPS_NET,
    window: int = WINDOW,
    overlap: int = OVERLAP,
    options: Mapping[str, Any] | None = None,
    scene: Reading | None = None,
    overlays: Overlays = "leave_out",
    cuts: Cuts = "decline",
) -> Score:
    """Score one video. The critic is loaded for this call and freed after it: for many clips, keep a `Scorer`.

    Args:
        video: A file, or frames: a tensor or a NumPy array `[frames, 3, height, width]` or `[frames, height, width, 3]`,
            with 1 (grey) or 4 channels (alpha, laid on white) in place of 3, or grey `[frames, height, width]`; or a list or
            a generator of pictures of Pillow, arrays or tensors. Bytes, or floats of any precision in [0, 1].
        critic: Estimates cameras and depth: a name that `videogpa list critics` shows.
        frames: How many frames are judged, evenly spread, first and last included; 2 or more, or `"all"`.
        lpips_net: The network of the perceptual distance, `"alex"` or `"vgg"`.
        window: The most frames that the critic reconstructs in one pass; longer clips are reconstructed in windows.
        overlap: Frames that a window shares with the next.
        options: The critic's own options: weights, device, ...
        scene: Name every pixel still, moving, broken or unseen, as in `Scorer`.
        overlays: Whether what is burnt into the picture is left out, as in `Scorer`.
        cuts: Whether a clip with a cut is declined, as in `Scorer`.

    Returns:
        The row that `videogpa score` would write. Look at its `status` first: there are numbers where it is `ok` or `partial`;
        else `reason` says why there are none. `videogpa.MEASURES` says what each number means and which direction is better.

    Raises:
        ValueError: If a setting is unknown or impossible, or the frames are too few, of no form that is taken, or have
            values outside [0, 1].

    Examples:
        >>> row = videogpa.score("clip.mp4")
        >>> row.status, row.loo_error, row.flow  # read a geometry number with its motion
    """
    settings: dict[str, Any] = {"window": window, "overlap": overlap, "lpips_net": lpips_net, "scene": scene}
    settings |= {"overlays": overlays, "cuts": cuts}
    with Scorer(critic, options=options, frames=frames, **settings) as scorer:
        return scorer.score(video)


def reconstruct(
    video: Given,
    *,
    critic: str = CRITIC,
    frames: int | Literal["all"] = FRAMES,
    options: Mapping[str, Any] | None = None,
) -> Reconstruction:
    """Reconstruct the geometry of one video. All judged frames are given to the critic at once, and held in memory.

    Args:
        video: A file, or frames in any form that `videogpa.score` takes.
        critic: Estimates cameras and depth: a name that `videogpa list critics` shows.
        frames: How many frames are reconstructed, evenly spread, first and last included; 2 or more, or `"all"`.
        options: The critic's own options: weights, device, ...

    Returns:
        Images, depth, confidence and cameras of the judged frames; see `videogpa.Reconstruction`.

    Raises:
        ReconstructionFailed: If no reliable geometry could be estimated; its `reason` says why.
        UnreadableVideo: If the file cannot be read.
        ValueError: If a setting is unknown or impossible, or the frames are too few, of no form that is taken, or have
            values outside [0, 1].

    Examples:
        >>> geometry = videogpa.reconstruct("clip.mp4")
        >>> geometry.depth.shape, geometry.camera_from_world.shape
    """
    with Scorer(critic, options=options, frames=frames) as scorer:
        return scorer.reconstruct(video)
