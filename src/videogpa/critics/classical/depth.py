"""Dense depth of the judged frames, given the cameras: choose neighbours, sweep, cross-check, fill what is not confirmed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16

from videogpa.critics.classical import fusion, sweep
from videogpa.critics.classical.cameras import SparseModel
from videogpa.critics.classical.parallel import parallel_map

_NEIGHBOURS = 5
"""Frames each depth map is matched against; the better half counts."""

_GOOD_ANGLE = 3.0
"""Degrees between the rays of two frames to a point: less says little of depth, more changes what is seen."""

_NEAR_MARGIN, _FAR_MARGIN = 0.45, 2.0
"""The planes reach from 0.45 times the 1st percentile of the sparse points' depths to twice the 98th."""

_TOLERANCE = 1.0
"""Pixels of parallax, at the median baseline, within which two depths are one. Per cent of depth would fail low parallax."""

_VIEWS = 2
"""Other frames that must confirm a depth: one may be wrong in the same way."""

_PRIOR, _PRIOR_REACH = 0.3, 3.0
"""What it costs at most (1 - correlation) to leave what other frames confirmed, reached at a distance of 3 planes."""


@dataclass(frozen=True, eq=False)
class DepthMaps:
    """Depth along the optical axis of each judged frame, and which of it at least two other judged frames confirm.

    `inner` is False where the depth may lie outside of the range of the planes. `coverage` is the share of the pixels on which
    a point of another judged frame falls.
    """

    depth: Float32[np.ndarray, "frames height width"]
    inner: Bool[np.ndarray, "frames height width"]
    confirmed: Bool[np.ndarray, "frames height width"]
    coverage: float


def estimate_depth(
    model: SparseModel,
    intrinsics: Float64[np.ndarray, "3 3"],
    grays: Float32[np.ndarray, "frames height width"],
    judged: Sequence[int],
) -> DepthMaps:
    """Return the depth maps of the frames `judged`, matched against their best neighbours among all frames with a camera.

    `grays` are all frames in [0, 1], `intrinsics` those of their size.
    """
    poses = np.stack([model.camera_from_world[frame] for frame in judged])
    neighbours = [choose_neighbours(model, frame) for frame in judged]
    ranges = [inverse_depth_range(model, frame) for frame in judged]

    def volume(index: int) -> Int16[np.ndarray, "height planes width"]:
        motions = [model.camera_from_world[other] @ np.linalg.inv(poses[index]) for other in neighbours[index]]
        others = [grays[other] for other in neighbours[index]]
        return sweep.matching_cost(grays[judged[index]], others, intrinsics, motions, ranges[index])

    volumes = parallel_map(volume, range(len(judged)))
    tolerance = _TOLERANCE / (intrinsics[0, 0] * median_baseline(model, judged, neighbours))
    nothing = np.zeros_like(grays[: len(judged)])
    found, inner = _solve(volumes, grays[judged], ranges, nothing)
    known = fusion.confirmations(found, inner, intrinsics, poses, tolerance) >= _VIEWS
    others = fusion.seen_by_others(found, known, intrinsics, poses)
    found, inner = _solve(volumes, grays[judged], ranges, np.where(known, found, others))
    known = fusion.confirmations(found, inner, intrinsics, poses, tolerance) >= _VIEWS
    coverage = float((fusion.seen_by_others(found, inner, intrinsics, poses) > 0).mean())
    return DepthMaps((1 / found).astype(np.float32), inner, known, coverage)


def _solve(
    volumes: Sequence[Int16[np.ndarray, "height planes width"]],
    guides: Float32[np.ndarray, "frames height width"],
    ranges: Sequence[Float32[np.ndarray, " planes"]],
    priors: Float32[np.ndarray, "frames height width"],
) -> tuple[Float32[np.ndarray, "frames height width"], Bool[np.ndarray, "frames height width"]]:
    """Return the inverse depths after smoothing, drawn towards `priors` (inverse depth, 0 = none), and where they are inner."""

    def one(index: int) -> tuple[np.ndarray, np.ndarray]:
        planes, prior = ranges[index], priors[index][:, None]
        away = np.abs(planes[:, None] - prior) / (planes[1] - planes[0])
        pull = np.where(prior > 0, np.minimum(away / _PRIOR_REACH, 1) * (_PRIOR * sweep.COST_UNIT), 0).astype(np.int16)
        return sweep.pick_depth(sweep.smooth(volumes[index] + pull, guides[index]), planes)

    solved = parallel_map(one, range(len(volumes)))
    return np.stack([depth for depth, _ in solved]), np.stack([inner for _, inner in solved])


def choose_neighbours(model: SparseModel, frame: int) -> list[int]:
    """Return up to five frames that see most of what this one sees, at angles of about 3 degrees; best first."""
    centers = {index: _center(pose) for index, pose in model.camera_from_world.items()}
    worth = {}
    for other in model.camera_from_world:
        common = np.intersect1d(model.visible[frame], model.visible[other])
        if other != frame and len(common):
            rays = [centers[index] - model.points[common] for index in (frame, other)]
            cosine = (rays[0] * rays[1]).sum(1) / np.linalg.norm(rays[0], axis=1) / np.linalg.norm(rays[1], axis=1)
            angle = np.degrees(np.arccos(np.clip(np.median(cosine), -1, 1)))
            # Log-normal in the angle, 1/e of it at 8 and at 1.1 degrees; MVSNet (Yao et al. 2018) uses a Gaussian around 5.
            worth[other] = len(common) * np.exp(-(np.log(max(angle, 1e-3) / _GOOD_ANGLE) ** 2))
    return sorted(worth, key=lambda other: (-worth[other], other))[:_NEIGHBOURS]


def inverse_depth_range(model: SparseModel, frame: int) -> Float32[np.ndarray, " planes"]:
    """Return the planes for a frame, from the depths of the sparse points that it sees."""
    points = model.points[model.visible[frame]]
    pose = model.camera_from_world[frame]
    depths = (points @ pose[:3, :3].T + pose[:3, 3])[:, 2]
    near, far = np.percentile(depths[depths > 0], [1, 98])
    return sweep.inverse_depths(_NEAR_MARGIN * near, _FAR_MARGIN * far)


def median_baseline(model: SparseModel, judged: Sequence[int], neighbours: Sequence[Sequence[int]]) -> float:
    """Return the median distance between a judged frame and those it is matched against."""
    centers = {index: _center(pose) for index, pose in model.camera_from_world.items()}
    distances = [
        np.linalg.norm(centers[frame] - centers[other])
        for frame, others in zip(judged, neighbours, strict=True)
        for other in others
    ]
    return float(np.median(distances))


def _center(pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, " 3"]:
    center: np.ndarray = -pose[:3, :3].T @ pose[:3, 3]
    return center
