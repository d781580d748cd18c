"""Which pixels of the judged frames move by themselves, given cameras: no depth explains the flow to the frames beside."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from videogpa.reconstruction import Reconstruction
from videogpa.scoring.dense_flow import DenseFlow, Flow, Map, at, gradient, mean_around, moved
from videogpa.scoring.independent_motion import SPAN, WEAKEST

CUT = 4.0  # pixels: flow that is farther from what a depth explains counts as that far
LEAST_SCALE = 0.4  # pixels: the error of flow, cameras and depth together on what stands still
MOVES, SURELY_MOVES = 2.0, 3.0  # scales: a region moves if it reaches the second, as far as it keeps above the first
SMOOTH = 11  # pixels across which evidence of motion is gathered
LEAST_REGION = 0.002  # share of the frame: smaller regions take the name of what is around them


def moving_regions(
    reconstruction: Reconstruction, flow: DenseFlow, judged: Sequence[int], off_lines: Sequence[Map]
) -> list[Bool[np.ndarray, "height width"]]:
    """Return for each frame what moves by itself: no depth explains the flow to the frames before and after.

    Args:
        reconstruction: The judged frames, at the size of the flow.
        flow: The flow between frames of the clip.
        judged: Which frames of the flow those of the reconstruction are.
        off_lines: By how many scales their pixels are off their epipolar lines.
    """
    geometry = _Geometry.of(reconstruction)
    evidence = [_Evidence.of(geometry, flow, judged, place) for place in range(len(judged))]
    typical = float(np.median([one.scale for one in evidence]))
    gathered = [
        np.maximum(one.gathered(max(LEAST_SCALE, min(one.scale, 2 * typical))), lines)
        for one, lines in zip(evidence, off_lines, strict=True)
    ]
    return [_region(_voted(gathered, flow, judged, place)) for place in range(len(judged))]


def _voted(gathered: Sequence[Map], flow: DenseFlow, judged: Sequence[int], place: int) -> Map:
    """Return the evidence of a frame, raised to what both its neighbours say of the same pixels, followed along the flow."""
    own = gathered[place]
    beside = []
    for neighbour in (place - 1, place + 1):
        if 0 <= neighbour < len(judged):
            theirs = at(gathered[neighbour], *moved(flow.between(judged[place], judged[neighbour])))
            beside.append(np.where(flow.followed(judged[place], judged[neighbour]), theirs, own))
    return np.maximum(own, np.minimum.reduce(beside)) if beside else own


def _region(gathered: Map) -> Bool[np.ndarray, "height width"]:
    """Return the regions that move: where the gathered evidence is high somewhere, as far as it is not low."""
    low, high = gathered > MOVES, gathered > SURELY_MOVES
    _, regions = cv2.connectedComponents(low.astype(np.uint8))
    sure = np.unique(regions[high])
    return without_specks(np.isin(regions, sure[sure > 0]))


@dataclass(frozen=True, eq=False)
class _Geometry:
    """Cameras and inverse depth of the judged frames, as NumPy arrays."""

    intrinsics: Float[np.ndarray, "frames 3 3"]
    camera_from_world: Float[np.ndarray, "frames 4 4"]
    inverse_depth: Float32[np.ndarray, "frames height width"]
    nearest: float
    farthest: float
    """The inverse depths between which every surface is looked for."""

    @classmethod
    def of(cls, reconstruction: Reconstruction) -> "_Geometry":
        depth, confidence = reconstruction.depth.cpu().numpy(), reconstruction.confidence.cpu().numpy()
        inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-9), 0).astype(np.float32)
        sure = inverse[(depth > 0) & (confidence >= np.quantile(confidence, 0.5))]
        low, high = np.quantile(sure if len(sure) else inverse, [0.01, 0.99])
        return cls(
            intrinsics=reconstruction.intrinsics.cpu().double().numpy(),
            camera_from_world=reconstruction.camera_from_world.cpu().double().numpy(),
            inverse_depth=inverse,
            nearest=1.7 * float(high),
            farthest=0.3 * float(low),
        )

    def motion(
        self, first: int, second: int, part: float = 1.0
    ) -> tuple[Float32[np.ndarray, "3 height width"], Float32[np.ndarray, "3"]]:
        """Return how pixels of one frame project into another: the ray in its camera, and the shift per inverse depth.

        With `part` below 1 the other camera is so far on the way to that of frame `second`: turned and moved evenly.
        """
        height, width = self.inverse_depth.shape[1:]
        relative = self.camera_from_world[second] @ np.linalg.inv(self.camera_from_world[first])
        turn = cv2.Rodrigues(part * cv2.Rodrigues(relative[:3, :3])[0])[0]
        rotation = self.intrinsics[second] @ turn @ np.linalg.inv(self.intrinsics[first])
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        rays = np.stack([row[0] * u + row[1] * v + row[2] for row in rotation])
        return rays.astype(np.float32), (self.intrinsics[second] @ (part * relative[:3, 3])).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Evidence:
    """How far the flow of a frame's pixels is from what the best depth of each explains."""

    strength: Map
    """The gradient: flow means something where there is something to follow."""
    distance: Map
    """Pixels, at most `CUT`."""
    scale: float
    """The typical distance in this frame, over what can be followed well."""

    @classmethod
    def of(cls, geometry: _Geometry, flow: DenseFlow, judged: Sequence[int], place: int) -> "_Evidence":
        strength = gradient(flow.grey[judged[place]])
        others = [other for other in range(max(place - SPAN, 0), min(place + SPAN + 1, len(judged))) if other != place]
        best, known = _unexplained(geometry, flow, place, judged, [(other, judged[other]) for other in others])
        well = known & (strength > np.median(strength))
        scale = float(np.median(best[well])) if well.any() else 0.0
        if not known.all():  # what turns or runs cannot be followed so far: it is looked at over a third of the way
            steps = [
                (other, judged[place] + third(judged[other] - judged[place])) for other in others if abs(other - place) == 1
            ]
            nearer, _ = _unexplained(geometry, flow, place, judged, steps)
            best = np.where(known, best, nearer)
        return cls(strength, best, scale)

    def gathered(self, scale: float) -> Map:
        """Return the evidence around every pixel, in scales: the mean distance, weighted by what there is to follow."""
        around: Map = mean_around(self.strength * self.distance, SMOOTH) / (mean_around(self.strength, SMOOTH) + WEAKEST)
        return around / scale


def third(steps: int) -> int:
    """Return a third of a number of frames, at least one, in its direction."""
    return round(steps / 3) or (1 if steps > 0 else -1)


def _unexplained(
    geometry: _Geometry, flow: DenseFlow, place: int, judged: Sequence[int], others: Sequence[tuple[int, int]]
) -> tuple[Map, Bool[np.ndarray, "height width"]]:
    """Return what the best depth of each pixel leaves of its flow, and which pixels are followed at all.

    Args:
        geometry: Cameras and depth of the judged frames.
        flow: The flow between frames.
        place: The judged frame.
        judged: Which frames of the flow are judged.
        others: Judged frames, each with the frame of the flow, on the way to it, to which the flow is looked at.
    """
    frame = judged[place]
    fields = [flow.between(frame, there) for _, there in others]
    followed = np.stack([flow.followed(frame, there) for _, there in others])
    motions = [geometry.motion(place, other, (there - frame) / (judged[other] - frame)) for other, there in others]
    best = np.full(followed.shape[1:], CUT, np.float32)
    for depth in _candidates(geometry, place, fields, followed, motions):
        left = np.stack([_length(_static_flow(*motion, depth) - field) for motion, field in zip(motions, fields, strict=True)])
        together = (np.minimum(left, CUT) * followed).sum(0) / np.maximum(followed.sum(0), 1)
        best = np.minimum(best, together).astype(np.float32)
    known: Bool[np.ndarray, "height width"] = np.asarray(followed.any(axis=0))
    return best, known


def _candidates(
    geometry: _Geometry,
    place: int,
    fields: Sequence[Flow],
    followed: Bool[np.ndarray, "others height width"],
    motions: Sequence[tuple[np.ndarray, np.ndarray]],
) -> list[Float32[np.ndarray, "height width"]]:
    """Return inverse depths to try: the critic's, those by which single flows are explained best, and all together."""
    solutions = [_solve(*motion, field) for motion, field in zip(motions, fields, strict=True)]
    weighted = [(above * seen, below * seen) for (above, below), seen in zip(solutions, followed, strict=True)]
    all_together = sum(above for above, _ in weighted), sum(below for _, below in weighted)
    ratios = [above / np.maximum(below, 1e-9) for above, below in [*solutions, all_together]]
    bounded = [np.clip(ratio, geometry.farthest, geometry.nearest).astype(np.float32) for ratio in ratios]
    return [geometry.inverse_depth[place], *bounded]


def _static_flow(
    rays: Float32[np.ndarray, "3 height width"], shift: Float32[np.ndarray, "3"], depth: Float32[np.ndarray, "height width"]
) -> Flow:
    """Return the flow of what stands still, at the given inverse depth."""
    height, width = depth.shape
    x, y, z = (ray + step * depth for ray, step in zip(rays, shift, strict=True))
    z = np.maximum(z, 1e-3)
    return np.stack([x / z - np.arange(width), y / z - np.arange(height)[:, None]], axis=-1).astype(np.float32)


def _solve(rays: Float32[np.ndarray, "3 height width"], shift: Float32[np.ndarray, "3"], field: Flow) -> tuple[Map, Map]:
    """Return numerator and denominator of the inverse depth that explains a flow best, by least squares."""
    column, line = moved(field)
    ahead = np.maximum(rays[2], 0.05) ** 2
    (a, b), (c, d) = (
        (shift[axis] - place * shift[2], place * rays[2] - rays[axis]) for axis, place in enumerate((column, line))
    )
    return (a * b + c * d) / ahead, (a * a + c * c) / ahead


def _length(flow: Flow) -> Map:
    found: Map = np.linalg.norm(flow, axis=-1)
    return found


def without_specks(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Return a mask whose specks and holes are gone: regions below `LEAST_REGION` of the frame, and gaps as small."""
    least = LEAST_REGION * mask.size
    for value in (True, False):
        _, regions, statistics, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=4)
        small = np.flatnonzero(statistics[:, cv2.CC_STAT_AREA] < least)
        mask = np.where(np.isin(regions, small[small > 0]), not value, mask)
    return mask
