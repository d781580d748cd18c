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

_GRID = (9, 16)
"""Rows and columns of the rays on which neighbours are chosen."""

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
    neighbours = [choose_neighbours(model, frame, intrinsics, *grays.shape[1:]) for frame in judged]
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


def choose_neighbours(
    model: SparseModel, frame: int, intrinsics: Float64[np.ndarray, "3 3"], height: int, width: int
) -> list[int]:
    """Return up to five frames to match a frame against, such that every part of it is seen from a good angle by some of them.

    Greedy in the sum, over a grid of rays, of sqrt(worth of the chosen earlier frames) + sqrt(worth of the chosen later ones).
    The root makes frames count most that see what is unseen so far, or the other side of what hides it. The five with most
    points in common leave the borders of a turning camera's frames unmatched: on one real clip the leave-one-out score was .21
    so, and is .11 like this.
    """
    worth = _worth(model, frame, intrinsics, height, width)
    chosen: list[int] = []
    total = np.zeros((2, _GRID[0] * _GRID[1]))
    for _ in range(min(_NEIGHBOURS, len(worth))):
        gains = {
            other: (np.sqrt(total[int(other > frame)] + worth[other]) - np.sqrt(total[int(other > frame)])).sum()
            for other in worth
            if other not in chosen
        }
        best = max(gains, key=lambda other: (gains[other], -other))
        total[int(best > frame)] += worth[best]
        chosen.append(best)
    return chosen


def _worth(
    model: SparseModel, frame: int, intrinsics: Float64[np.ndarray, "3 3"], height: int, width: int
) -> dict[int, Float64[np.ndarray, " rays"]]:
    """Return for every other frame what it is worth on a grid of rays: 1 at the best angle, 0 where it does not see.

    The rays end at the median inverse depth of the frame's points. Worth rises with the angle to the best, as depth becomes
    more certain, and falls with its square beyond, as views differ more.
    """
    pose = model.camera_from_world[frame]
    depth = 1 / np.median(1 / _depths(model, frame))
    v, u = np.meshgrid(*(np.linspace(0, size - 1, count) for size, count in zip((height, width), _GRID, strict=True)))
    rays = np.stack([u.ravel(), v.ravel(), np.ones(u.size)], axis=1) @ np.linalg.inv(intrinsics).T
    points = (depth * rays - pose[:3, 3]) @ pose[:3, :3]
    worth = {}
    for other, camera in model.camera_from_world.items():
        if other != frame:
            x, y, z = ((points @ camera[:3, :3].T + camera[:3, 3]) @ intrinsics.T).T
            seen = (z > 0) & (x >= 0) & (x <= (width - 1) * z) & (y >= 0) & (y <= (height - 1) * z)
            angle = np.degrees(_angles(points - _center(pose), points - _center(camera)))
            worth[other] = seen * np.minimum(angle / _GOOD_ANGLE, (_GOOD_ANGLE / np.maximum(angle, 1e-9)) ** 2)
    return worth


def inverse_depth_range(model: SparseModel, frame: int) -> Float32[np.ndarray, " planes"]:
    """Return the planes for a frame, from the depths of the sparse points that it sees."""
    near, far = np.percentile(_depths(model, frame), [1, 98])
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


def _depths(model: SparseModel, frame: int) -> Float64[np.ndarray, " points"]:
    """Return the depths, in front of the camera, of the sparse points that a frame sees."""
    pose = model.camera_from_world[frame]
    depths: np.ndarray = model.points[model.visible[frame]] @ pose[2, :3] + pose[2, 3]
    return depths[depths > 0]


def _angles(first: Float64[np.ndarray, "rays 3"], second: Float64[np.ndarray, "rays 3"]) -> Float64[np.ndarray, " rays"]:
    """Return the angles between rays, in radians; accurate for tiny ones, where the arc cosine is not."""
    angles: np.ndarray = np.arctan2(np.linalg.norm(np.cross(first, second), axis=1), (first * second).sum(axis=1))
    return angles
