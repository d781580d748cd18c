"""The weight-free critic: COLMAP's cameras and plane-sweep depth. No learned weights; runs on a CPU.

It cannot hallucinate: it uses only what matches between frames, and declines the clip when that is not enough.

- Method: SIFT on 25 frames, COLMAP's global mapper (else its incremental one), depth of the judged frames by plane sweep with
  semi-global smoothing, cross-checked between frames. See docs/science/critics.md.
- Cost: about 10 s and 0.5 GB a clip on two cores. The same clip gives the same bits, on any number of threads.
- Licence: BSD-3 (COLMAP), Apache-2.0 (OpenCV). Its verdicts may be used commercially.
- Limits: it declines clips without parallax, of moving subjects only, of textureless or reflecting surfaces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from torch import Tensor

from videogpa.critics import cards
from videogpa.critics.base import CriticInput, ReconstructionFailed
from videogpa.critics.classical import homography
from videogpa.critics.classical.cameras import SparseModel, find_cameras, guessed_camera
from videogpa.critics.classical.depth import DepthMaps, estimate_depth
from videogpa.critics.classical.features import (
    Features,
    PairMatches,
    detect,
    epipolar_error,
    frame_pairs,
    later_parts,
    match_all,
    outside,
)
from videogpa.critics.networks.gates import LEAST_PARALLAX, near_far_parallax
from videogpa.maths.render import one_thread
from videogpa.parallel import parallel_map
from videogpa.reconstruction import Reconstruction

FRAMES_PER_JUDGED = 2.5
"""Frames read for each one judged, to find cameras: 25 instead of 10 rescued six of ten generated clips, from at most 123
points to 440-1,325."""

MATCHING_SIDE = 432
"""Short side, in pixels, of the frames that features are found in, and so the scale of `epipolar`."""

DEPTH_WIDTH = 256
"""Long side, in pixels, of the depth maps, and of the images that the scores are computed on."""

FLAT_PARALLAX = 10.0
"""Pixels of those images that near and far must move against each other where homographies explain nearly all: between the 4 of
a zoom into a picture and the 39 of an orbit that mostly shows a wall."""

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


@dataclass(frozen=True, eq=False)
class _Matched:
    """The frames with their features, what was found between them, and the frames to be judged."""

    frames: _Prepared
    features: Sequence[Features]
    pairs: Sequence[PairMatches]
    wanted: Sequence[int]

    @cached_property
    def consecutive(self) -> list[PairMatches]:
        """Of the judged frames."""
        steps = set(pairwise(self.wanted))
        return [pair for pair in self.pairs if (pair.first, pair.second) in steps]

    @cached_property
    def homographies(self) -> tuple[dict[tuple[int, int], homography.Homography], float]:
        """Between consecutive judged frames, and the share of the matches that they explain."""
        return homography.fit_homographies(self.features, self.consecutive)

    @property
    def flat(self) -> bool:
        """Whether homographies explain all that is seen of the clip."""
        found, explained = self.homographies
        return len(found) == len(self.wanted) - 1 and explained >= homography.MIN_EXPLAINED

    @cached_property
    def cut(self) -> str | None:
        """Where the clip is cut, if it is."""
        frames = len(self.features)
        firsts = later_parts(self.pairs, frames)
        if not firsts:
            return None
        places = " and ".join(f"{100 * (first - 0.5) / (frames - 1):.0f}" for first in firsts)
        return f"a cut at {places} % of the clip: nothing of the frames before is found in those after"


class SfmCritic:
    """Cameras and depth of a clip by classical geometry. Takes no weights; see the module for method, cost and limits."""

    CARDS: ClassVar = cards.CARDS["sfm"]
    FINDS_CUTS: ClassVar = True

    @property
    def details(self) -> Mapping[str, str]:
        """Nothing: there is nothing to choose."""
        return {}

    def frames_to_read(self, judged: int) -> int:
        """Return 25 for 10: more frames make smaller steps, which more features survive."""
        return round(FRAMES_PER_JUDGED * judged)

    def reconstruct(self, clip: CriticInput) -> Reconstruction:
        """Estimate cameras and depth of the judged frames; all frames help to find the cameras.

        The first returned camera is the world's origin, and the median depth of what it sees is 1. Status `partial`: not every
        judged frame has a camera (those without are left out), or the frames see too little of what others see. Where a focal
        length had to be assumed, `reason` says so, and `focal_assumed` is 1.

        Raises:
            ReconstructionFailed: With status `no_parallax` where homographies explain the clip, else `failed`.
        """
        if len(clip.judged) < MIN_JUDGED:
            raise ReconstructionFailed(f"{len(clip.judged)} frames to judge; structure from motion needs at least {MIN_JUDGED}")
        matched = _match(_prepare(clip.frames), clip.judged, (clip.moving, clip.overlay))
        measures: dict[str, float | int] = {}
        error = epipolar_error(matched.features, matched.consecutive)
        if error is not None:
            measures["epipolar"] = error
        far_apart = homography.explained_far_apart(matched.features, matched.pairs, len(clip.frames))
        model = _choose_model(matched)
        if isinstance(model, _NoModel):
            raise _failure(model.why, matched, measures)
        reconstruction = _assemble(model, matched, measures)
        with one_thread():
            matrices = reconstruction.intrinsics, reconstruction.camera_from_world
            parallax = near_far_parallax(reconstruction.depth, *matrices).item()
        measures["parallax"] = parallax
        looks_flat = far_apart >= homography.FLAT  # COLMAP registers a zoom all the same: it looks like a dolly
        least = FLAT_PARALLAX if looks_flat else LEAST_PARALLAX
        if parallax < least:  # a camera that turns, or a flat picture: mappers find cameras for both
            why = f"near and far points move {parallax:.2f} pixels against each other, less than {least:g}"
            if looks_flat:
                why += f", and homographies explain {100 * far_apart:.0f} % also between frames half the clip apart"
            raise _failure(why, matched, measures)
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


def _match(
    frames: _Prepared, wanted: Sequence[int], left_out: Sequence[Bool[Tensor, "frames mask_height mask_width"] | None]
) -> _Matched:
    features = parallel_map(detect, frames.large)
    for masks in left_out:
        if masks is not None:
            features = [outside(one, mask, *frames.large[0].shape) for one, mask in zip(features, masks.numpy(), strict=True)]
    asked = sorted({*frame_pairs(len(features)), *pairwise(wanted)})
    return _Matched(frames, features, match_all(features, asked, guessed_camera(*frames.large[0].shape)), wanted)


@dataclass(frozen=True)
class _NoModel:
    """No cameras that can be trusted, and why."""

    why: str
    focal_unknown: bool = False
    """Whether a model would have passed but for its focal length."""


def _choose_model(clip: _Matched) -> SparseModel | _NoModel:
    """Return the model to trust: that of a focal length found, else of one assumed, where nothing else was amiss.

    It is not assumed for what homographies explain, where any focal length gives cameras, nor for a clip with a cut.
    """
    if not clip.pairs:
        return _NoModel("no two frames have enough in common")
    found = _mapped(clip)
    if isinstance(found, SparseModel) or not found.focal_unknown or clip.flat or clip.cut:
        return found
    assumed = _mapped(clip, assume_focal=True)
    if isinstance(assumed, SparseModel):
        return assumed
    return _NoModel(f"{found.why}; with an assumed focal length: {assumed.why}")


def _mapped(clip: _Matched, *, assume_focal: bool = False) -> SparseModel | _NoModel:
    """Return the first model that passes the gates with all judged frames, else the best that passes, else why none did.

    The global mapper comes first: of 29 clips it registered 23 fully, the incremental one 22, and its focal length is steadier.
    """
    height, width = clip.frames.large[0].shape
    passed, reasons, focal_unknown = [], [], False
    for mapper in ("global", "incremental"):
        model = find_cameras(clip.features, clip.pairs, height=height, width=width, mapper=mapper, assume_focal=assume_focal)
        flaw = _flaw(model, clip.wanted)
        if flaw is None and model is not None:
            flaw = _focal_flaw(model)
            focal_unknown |= flaw is not None
        if flaw is not None or model is None:
            reasons.append(f"{mapper} mapper: {flaw}")
        elif _registered(model, clip.wanted) == list(clip.wanted):
            return model
        else:
            passed.append(model)
    if passed:
        return max(passed, key=lambda model: (len(_registered(model, clip.wanted)), len(model.points)))
    return _NoModel("; ".join(reasons), focal_unknown)


def _flaw(model: SparseModel | None, wanted: Sequence[int]) -> str | None:
    """Return what is wrong with a model, its focal length apart, or None if it can be trusted."""
    if model is None:
        return "no cameras found"
    registered = len(_registered(model, wanted))
    if registered < MIN_JUDGED:
        return f"{registered} of {len(wanted)} judged frames have a camera"
    if len(model.points) < MIN_POINTS:
        return f"{len(model.points)} points, fewer than {MIN_POINTS}"
    if model.track_length < MIN_TRACK:
        return f"a point is seen in {model.track_length:.1f} frames on average, fewer than {MIN_TRACK:g}"
    return None


def _focal_flaw(model: SparseModel) -> str | None:
    if FOCAL_RANGE[0] <= model.focal_widths <= FOCAL_RANGE[1]:
        return None
    return f"a focal length of {model.focal_widths:.2f} widths, outside of {FOCAL_RANGE[0]:g} to {FOCAL_RANGE[1]:g}"


def _registered(model: SparseModel, wanted: Sequence[int]) -> list[int]:
    return [frame for frame in wanted if frame in model.camera_from_world]


def _failure(why: str, clip: _Matched, measures: dict[str, float | int]) -> ReconstructionFailed:
    """Return whether the clip is cut, has no parallax, or cannot be explained at all."""
    if clip.cut:
        return ReconstructionFailed(f"{clip.cut} ({why})", measures=measures)
    if not clip.flat:
        return ReconstructionFailed(f"no consistent geometry found ({why})", measures=measures)
    homographies, explained = clip.homographies
    small = clip.frames.small
    error = homography.leave_one_out_error(small, homographies, clip.wanted, small.shape[2] / clip.frames.large[0].shape[1])
    if error is not None:
        measures["homography_loo"] = error
    reason = f"no parallax: homographies explain {100 * explained:.0f} % of the matches ({why})"
    return ReconstructionFailed(reason, status="no_parallax", measures=measures)


def _assemble(model: SparseModel, clip: _Matched, measures: dict[str, float | int]) -> Reconstruction:
    """Return the reconstruction of the judged frames that have a camera."""
    chosen = _registered(model, clip.wanted)
    small = clip.frames.small
    intrinsics = _at_size(model.intrinsics, clip.frames)
    maps = estimate_depth(model, intrinsics, np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in small]), chosen)
    depth, poses = _normalise(model, maps, chosen)
    flaw = None
    if len(chosen) < len(clip.wanted):
        flaw = f"{len(chosen)} of {len(clip.wanted)} judged frames have a camera"
    elif maps.coverage < MIN_COVERAGE:
        flaw = f"other frames see {100 * maps.coverage:.0f} % of what a frame shows, less than {100 * MIN_COVERAGE:.0f} %"
    assumed = f"a focal length of {model.focal_widths:.2f} widths was assumed, none was found" if model.focal_assumed else None
    reason = "; ".join(part for part in (flaw and clip.cut, flaw, assumed) if part) or None
    confidence = np.where(maps.confirmed, 1.0, np.where(maps.inner, UNCONFIRMED, 0.0))
    return Reconstruction(
        images=torch.from_numpy(small[chosen]).permute(0, 3, 1, 2).contiguous(),
        depth=torch.from_numpy(depth),
        confidence=torch.from_numpy(confidence.astype(np.float32)),
        intrinsics=torch.from_numpy(intrinsics.astype(np.float32)).repeat(len(chosen), 1, 1),
        camera_from_world=torch.from_numpy(poses.astype(np.float32)),
        status="ok" if flaw is None else "partial",
        reason=reason,
        frames=tuple(chosen),
        measures={
            "registered": len(chosen),
            "points": len(model.points),
            "focal_widths": float(model.focal_widths),
            **({"focal_assumed": 1.0} if model.focal_assumed else {}),
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
