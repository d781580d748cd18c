"""The weight-free critic: COLMAP's cameras and plane-sweep depth. No learned weights; runs on a CPU.

It cannot hallucinate: it knows only what matches between frames, and says so when that is not enough.

- Method: SIFT on 25 frames, COLMAP's global mapper (else its incremental one), depth of the judged frames by plane sweep with
  semi-global smoothing, cross-checked between frames. See docs/critics.md.
- Cost: about 10 s and 0.5 GB a clip on two cores. The same clip gives the same bits, on any number of threads.
- Licence: BSD-3 (COLMAP), Apache-2.0 (OpenCV). Its verdicts may be used commercially.
- It does not know: clips without parallax, of moving subjects only, of textureless or reflecting surfaces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

from videogpa.critics.base import Card, ReconstructionFailed
from videogpa.critics.classical import homography
from videogpa.critics.classical.cameras import SparseModel, find_cameras, guessed_camera
from videogpa.critics.classical.depth import DepthMaps, estimate_depth
from videogpa.critics.classical.features import Features, PairMatches, detect, epipolar_error, frame_pairs, match_all
from videogpa.critics.classical.parallel import parallel_map
from videogpa.critics.gates import LEAST_PARALLAX, near_far_parallax
from videogpa.records import Reconstruction, Source

FRAMES_PER_JUDGED = 2.5
"""Frames read for each one judged, to find cameras: 25 instead of 10 rescued six of ten generated clips, from at most 123
points to 440-1,325."""

MATCHING_SIDE = 432
"""Short side, in pixels, of the frames that features are found in, and so the scale of `epipolar`."""

DEPTH_WIDTH = 256
"""Long side, in pixels, of the depth maps, and of the images that the scores are computed on."""

MIN_POINTS = 200
MIN_TRACK = 3.0
FOCAL_RANGE = (0.25, 3.0)
"""Gates measured on 29 clips, 10 of them real. Registration alone says little: "all frames registered" came with as few as 0-2
points, and with focal lengths of 0.1 to 127 widths, on generated clips. The range is that of lenses 127 to 19 degrees wide."""

MIN_JUDGED = 3
"""Frames with a camera, of the judged ones, without which there is nothing to score: a depth needs two others to confirm it."""

MIN_COVERAGE = 0.8
"""Share of the judged pixels that some other judged frame should see, for the verdict to be about the clip."""

UNCONFIRMED = 0.1
"""Confidence of a depth that no two other frames confirm. It fills holes only; a confirmed one has confidence 1."""


@dataclass(frozen=True, eq=False)
class _Prepared:
    """The frames at the two sizes that are needed: grey bytes for features, small colour for depth and scores."""

    large: list[UInt8[np.ndarray, "height width"]]
    small: Float32[np.ndarray, "frames small_height small_width 3"]


class SfmCritic:
    """Cameras and depth of a clip by classical geometry. Takes no weights; see the module for method, cost and limits."""

    CARDS = (
        Card(
            weights="none",
            licence="BSD-3-Clause (COLMAP), Apache-2.0 (OpenCV)",
            commercial=True,
            memory="1.3 GB, 10 frames",
            paper="Schönberger 2016, Pan 2024",
        ),
    )

    @property
    def details(self) -> Mapping[str, str]:
        """Nothing: there is nothing to choose."""
        return {}

    def frames_to_read(self, judged: int) -> int:
        """Return 25 for 10: more frames make smaller steps, which more features survive."""
        return round(FRAMES_PER_JUDGED * judged)

    def reconstruct(
        self,
        frames: Float[Tensor, "frames 3 height width"],
        *,
        judged: Sequence[int] | None = None,
        source: Source | None = None,
    ) -> Reconstruction:
        """Reconstruct the frames at the indices `judged` (all, if None), with the help of the others. Ignores `source`.

        The first returned camera is the world's origin, and the median depth of what it sees is 1. Status `partial`: not every
        judged frame has a camera (those without are left out), or the frames see too little of what others see.

        Raises:
            ReconstructionFailed: With status `no_parallax` where homographies explain the clip, else `failed`.
        """
        wanted = sorted(set(range(len(frames)) if judged is None else judged))
        if len(wanted) < MIN_JUDGED:
            raise ReconstructionFailed(f"{len(wanted)} frames to judge; structure from motion needs at least {MIN_JUDGED}")
        prepared = _prepare(frames)
        height, width = prepared.large[0].shape
        features = parallel_map(detect, prepared.large)
        steps = list(pairwise(wanted))
        pairs = match_all(features, sorted({*frame_pairs(len(frames)), *steps}), guessed_camera(height, width))
        consecutive = [pair for pair in pairs if (pair.first, pair.second) in set(steps)]
        measures: dict[str, float | int] = {}
        error = epipolar_error(features, consecutive)
        if error is not None:
            measures["epipolar"] = error
        flat = homography.explained_far_apart(features, pairs, len(frames))
        if flat >= homography.FLAT:  # mappers find cameras for it: a zoom looks like the way up to a picture
            why = f"also between frames half the clip apart: {100 * flat:.0f} %"
            raise _verdict(why, features, consecutive, prepared, wanted, measures)
        model = _choose_model(features, pairs, prepared, wanted)
        if isinstance(model, str):
            raise _verdict(model, features, consecutive, prepared, wanted, measures)
        reconstruction = _assemble(model, prepared, wanted, measures)
        parallax = near_far_parallax(reconstruction.depth, reconstruction.intrinsics, reconstruction.camera_from_world).item()
        measures["parallax"] = parallax
        if parallax < LEAST_PARALLAX:  # a camera that turns, or a flat picture: mappers find cameras for both
            why = f"near and far points move {parallax:.2f} pixels against each other, less than {LEAST_PARALLAX:g}"
            raise _verdict(why, features, consecutive, prepared, wanted, measures)
        return replace(reconstruction, measures={**reconstruction.measures, **measures})


def _prepare(frames: Float[Tensor, "frames 3 height width"]) -> _Prepared:
    height, width = frames.shape[2:]
    large = _size(height, width, MATCHING_SIDE / min(height, width))
    small = _size(height, width, DEPTH_WIDTH / max(height, width))

    def one(frame: Tensor) -> tuple[np.ndarray, np.ndarray]:
        picture = np.ascontiguousarray(frame.permute(1, 2, 0).numpy(force=True))
        gray = cv2.cvtColor(_resize(picture, large), cv2.COLOR_RGB2GRAY)
        return np.rint(gray * 255).clip(0, 255).astype(np.uint8), _resize(picture, small).clip(0, 1)

    both = parallel_map(one, frames)
    return _Prepared([gray for gray, _ in both], np.stack([picture for _, picture in both]))


def _size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return (width, height) after scaling, as OpenCV wants it."""
    return round(width * scale), round(height * scale)


def _resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink by averaging areas, enlarge bilinearly."""
    shrink = size[0] < picture.shape[1]
    resized: np.ndarray = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    return resized


def _choose_model(
    features: Sequence[Features], pairs: Sequence[PairMatches], prepared: _Prepared, wanted: Sequence[int]
) -> SparseModel | str:
    """Return the first model that passes the gates with all judged frames, else the best that passes, else why none did.

    The global mapper comes first: of 29 clips it registered 23 fully, the incremental one 22, and its focal length is steadier.
    """
    if not pairs:
        return "no two frames have enough in common"
    height, width = prepared.large[0].shape
    passed, reasons = [], []
    for mapper in ("global", "incremental"):
        model = find_cameras(features, pairs, height=height, width=width, mapper=mapper)
        flaw = _flaw(model, wanted)
        if flaw is not None or model is None:
            reasons.append(f"{mapper} mapper: {flaw}")
        elif _registered(model, wanted) == list(wanted):
            return model
        else:
            passed.append(model)
    if passed:
        return max(passed, key=lambda model: (len(_registered(model, wanted)), len(model.points)))
    return "; ".join(reasons)


def _flaw(model: SparseModel | None, wanted: Sequence[int]) -> str | None:
    """Return what is wrong with a model, or None if it can be trusted."""
    if model is None:
        return "no cameras found"
    registered = len(_registered(model, wanted))
    if registered < MIN_JUDGED:
        return f"{registered} of {len(wanted)} judged frames have a camera"
    if len(model.points) < MIN_POINTS:
        return f"{len(model.points)} points, fewer than {MIN_POINTS}"
    if model.track_length < MIN_TRACK:
        return f"a point is seen in {model.track_length:.1f} frames on average, fewer than {MIN_TRACK:g}"
    if not FOCAL_RANGE[0] <= model.focal_widths <= FOCAL_RANGE[1]:
        return f"a focal length of {model.focal_widths:.2f} widths, outside of {FOCAL_RANGE[0]:g} to {FOCAL_RANGE[1]:g}"
    return None


def _registered(model: SparseModel, wanted: Sequence[int]) -> list[int]:
    return [frame for frame in wanted if frame in model.camera_from_world]


def _verdict(
    why: str,
    features: Sequence[Features],
    consecutive: Sequence[PairMatches],
    prepared: _Prepared,
    wanted: list[int],
    measures: dict[str, float | int],
) -> ReconstructionFailed:
    """Return whether the clip has no parallax, or cannot be explained at all."""
    homographies, explained = homography.fit_homographies(features, consecutive)
    enough = len(homographies) == len(wanted) - 1
    if not enough or explained < homography.MIN_EXPLAINED:
        return ReconstructionFailed(f"no consistent geometry found ({why})", measures=measures)
    scale = prepared.small.shape[2] / prepared.large[0].shape[1]
    error = homography.leave_one_out_error(prepared.small, homographies, wanted, scale)
    if error is not None:
        measures["homography_loo"] = error
    reason = f"no parallax: homographies explain {100 * explained:.0f} % of the matches ({why})"
    return ReconstructionFailed(reason, status="no_parallax", measures=measures)


def _assemble(
    model: SparseModel, prepared: _Prepared, wanted: Sequence[int], measures: dict[str, float | int]
) -> Reconstruction:
    """Return the reconstruction of the judged frames that have a camera."""
    chosen = _registered(model, wanted)
    intrinsics = _at_size(model.intrinsics, prepared)
    grays = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in prepared.small])
    maps = estimate_depth(model, intrinsics, grays, chosen)
    depth, poses = _normalise(model, maps, chosen)
    reason = None
    if len(chosen) < len(wanted):
        reason = f"{len(chosen)} of {len(wanted)} judged frames have a camera"
    elif maps.coverage < MIN_COVERAGE:
        reason = f"other frames see {100 * maps.coverage:.0f} % of what a frame shows, less than {100 * MIN_COVERAGE:.0f} %"
    confidence = np.where(maps.confirmed, 1.0, np.where(maps.inner, UNCONFIRMED, 0.0))
    return Reconstruction(
        images=torch.from_numpy(prepared.small[chosen]).permute(0, 3, 1, 2).contiguous(),
        depth=torch.from_numpy(depth),
        confidence=torch.from_numpy(confidence.astype(np.float32)),
        intrinsics=torch.from_numpy(intrinsics.astype(np.float32)).repeat(len(chosen), 1, 1),
        camera_from_world=torch.from_numpy(poses.astype(np.float32)),
        status="ok" if reason is None else "partial",
        reason=reason,
        measures={
            "registered": len(chosen),
            "points": len(model.points),
            "focal_widths": float(model.focal_widths),
            **measures,
        },
    )


def _at_size(intrinsics: Float64[np.ndarray, "3 3"], prepared: _Prepared) -> Float64[np.ndarray, "3 3"]:
    """Return the intrinsics of the small frames. The edges of the picture stay edges, so centres move by half a pixel."""
    height, width = prepared.large[0].shape
    small_height, small_width = prepared.small.shape[1:3]
    x, y = small_width / width, small_height / height
    resize = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    scaled: np.ndarray = resize @ intrinsics
    return scaled


def _normalise(
    model: SparseModel, maps: DepthMaps, chosen: Sequence[int]
) -> tuple[Float32[np.ndarray, "frames height width"], Float64[np.ndarray, "frames 4 4"]]:
    """Put the world's origin into the first camera, and its unit to the median depth there: `motion` depends on both."""
    first = model.camera_from_world[chosen[0]]
    unit = float(np.median(maps.depth[0][maps.inner[0]])) if maps.inner[0].any() else float(np.median(maps.depth))
    poses = np.stack([model.camera_from_world[frame] @ np.linalg.inv(first) for frame in chosen])
    poses[:, :3, 3] /= unit
    return (maps.depth / unit).astype(np.float32), poses
