"""Every pixel of a judged frame has one of four names: still, moving, broken or unseen.

- **still**: the static scene explains it: the other frames' still points, rendered into the frame, look like it.
- **moving**: its own motion explains it: the flow disagrees with every depth it could have in the static scene, and the pixel
  can be followed to the frames beside, where it looks the same.
- **broken**: neither does. It melts, appears, dissolves, swims or tears.
- **unseen**: no other frame shows it.

No weights are needed: the evidence is the cameras, the dense flow and the pixels. See docs/science/regions.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from videogpa.critics.base import ReconstructionFailed
from videogpa.reconstruction import Reconstruction
from videogpa.scoring.dense_flow import DenseFlow, Map, at, gradient, mean_around, moved
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.motions import camera_and_subject_flow
from videogpa.scoring.moving import SMOOTH, moving_regions, third, without_specks
from videogpa.scoring.point_cloud import cloud_of
from videogpa.scoring.reprojection import Render, calibrate, leave_one_out_errors, leave_one_out_summary, render_leave_one_out

NAMES = ("still", "moving", "broken", "unseen")
STILL, MOVING, BROKEN, UNSEEN = range(4)

LOOKS = 0.06  # mean absolute difference of RGB in [0, 1] that a render and a followed pixel may have,
LOOKS_PER_GRADIENT = 1.5  # and besides this many pixels' worth of the gradient: a render is that exact
LEAST_CONFIRMED = 0.1  # share of a moving region's pixels in which the static scene looks different
OUTLINE = 2  # pixels around what moves that show a mixture of it and the background
LEAST_STILL = 0.4  # share of the pixels below which a clip is not scored: it must not win by having everything left out


@dataclass(frozen=True, eq=False)
class Regions:
    """The names of all pixels of the judged frames, and what is measured with them."""

    names: UInt8[Tensor, "frames height width"]
    """Indices into `NAMES`."""
    shares: dict[str, float]
    """`still_share`, ...: how much of all pixels bears a name; they add up to 1."""
    background_error: float | None
    """The leave-one-out error without the pixels that move; None where there is nothing to compare."""
    subject_error: float | None
    """How the looks of what moves change along its own motion; None where nothing moves, or it cannot be followed."""
    camera_flow: float | None = None
    subject_flow: float | None = None
    """How much camera and subjects move: see `motions`. None where nothing stands still, or nothing may move."""

    def columns(self) -> dict[str, float]:
        """Return what the regions contribute to a `records.Score` row; numbers that are missing are left out."""
        measured = ("background_error", "subject_error", "camera_flow", "subject_flow")
        found = {name: getattr(self, name) for name in measured}
        return {**self.shares, **{name: value for name, value in found.items() if value is not None}}

    def require_still(self) -> None:
        """Check that enough stands still for the background's error to be about the clip.

        Raises:
            ReconstructionFailed: If less than `LEAST_STILL` of the pixels is still.
        """
        _require_still(self.shares["still_share"], self.shares)


def _require_still(share: float, measures: dict[str, float]) -> None:
    if share < LEAST_STILL:
        least = f"{100 * LEAST_STILL:.0f} %"
        why = f"only {100 * share:.0f} % of the pixels are explained by a static scene, fewer than {least}"
        raise ReconstructionFailed(why, measures=measures)


def name_regions(
    reconstruction: Reconstruction,
    render: Render,
    flow: DenseFlow,
    judged: Sequence[int],
    off_lines: Sequence[Map],
    lpips: Lpips,
    *,
    dynamic: bool,
    masks: Sequence[Bool[np.ndarray, "height width"]] | None = None,
) -> Regions:
    """Name the pixels of a reconstruction, and measure background and subject apart.

    Args:
        reconstruction: The judged frames with cameras and depth.
        render: Their leave-one-out render, from all points.
        flow: The flow between frames of the clip, of the same part of them as the reconstruction. Pixels are named at its size.
        judged: Which frames of the flow those of the reconstruction are.
        off_lines: By how many scales their pixels are off their epipolar lines; see `independent_motion`.
        lpips: The perceptual distance.
        dynamic: Whether something may move. If not, what moves is broken.
        masks: Which pixels move, where that is known, at the size of the flow; they take the place of what would be found.

    Raises:
        ReconstructionFailed: If so much moves that too little can stand still.
    """
    size = flow.grey[0].shape
    small = _at_size(reconstruction, *size)
    if masks is None:
        differing = _differing(small, _resized(render, *size), flow, judged)
        masks = _confirmed(moving_regions(small, flow, judged, off_lines), differing)
    if dynamic:  # else nothing may be left to render
        _require_still(1 - float(np.mean(masks)), {"moving_share": float(np.mean(masks))})
    names = _named(small, flow, judged, masks)
    if not dynamic:
        names[names == MOVING] = BROKEN
    shares = {f"{name}_share": float((names == index).float().mean()) for index, name in enumerate(NAMES)}
    large = interpolate(names[:, None], list(reconstruction.depth.shape[1:]), mode="nearest")[:, 0]
    motions = camera_and_subject_flow(flow, judged, (names == STILL).numpy(), (names == MOVING).numpy())
    return Regions(
        large,
        shares,
        background_error=_background_error(reconstruction, large, lpips),
        subject_error=_subject_error(small, flow, judged, names, lpips),
        camera_flow=motions[0] if motions else None,
        subject_flow=motions[1] if motions and dynamic else None,
    )


def _at_size(reconstruction: Reconstruction, height: int, width: int) -> Reconstruction:
    """Return a reconstruction at another size of its pixels."""
    old_height, old_width = reconstruction.depth.shape[1:]
    if (old_height, old_width) == (height, width):
        return reconstruction
    scale = torch.tensor([width / old_width, height / old_height, 1.0])
    intrinsics = reconstruction.intrinsics.clone()
    intrinsics[:, :2, 2] += 0.5
    intrinsics = intrinsics * scale.to(intrinsics)[:, None]
    intrinsics[:, :2, 2] -= 0.5
    depth, confidence = (
        interpolate(part[:, None], (height, width), mode="nearest")[:, 0]
        for part in (reconstruction.depth, reconstruction.confidence)
    )
    points, left_out = reconstruction.points, reconstruction.left_out
    return replace(
        reconstruction,
        left_out=None
        if left_out is None
        else interpolate(left_out[:, None].float(), (height, width), mode="nearest")[:, 0] > 0,
        images=interpolate(reconstruction.images, (height, width), mode="area"),
        depth=depth,
        confidence=confidence,
        intrinsics=intrinsics,
        points=None if points is None else interpolate(points.movedim(-1, 1), (height, width), mode="nearest").movedim(1, -1),
    )


def _named(
    reconstruction: Reconstruction,
    flow: DenseFlow,
    judged: Sequence[int],
    found: Sequence[Bool[np.ndarray, "height width"]],
) -> UInt8[Tensor, "frames height width"]:
    """Return the names, given what moves by itself; what is left out of the reconstruction is unseen."""
    moves = torch.from_numpy(np.stack(found))
    render = _render_without(reconstruction, moves)
    named = []
    for place, (mask, differs) in enumerate(zip(found, _differing(reconstruction, render, flow, judged), strict=True)):
        covered = render.covered[place].cpu().numpy()
        beside = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        mask = mask | (beside & differs)
        wrong = without_specks(_opened(differs & ~mask))
        name = np.full(mask.shape, STILL, np.uint8)
        name[~covered] = UNSEEN
        name[wrong] = BROKEN
        name[mask] = np.where(_keeps_its_looks(flow, judged, place, mask), MOVING, BROKEN)[mask]
        named.append(torch.from_numpy(name))
    names = torch.stack(named)
    return names if reconstruction.left_out is None else names.masked_fill(reconstruction.left_out.cpu(), UNSEEN)


def _confirmed(
    found: Sequence[Bool[np.ndarray, "height width"]], differing: Sequence[Bool[np.ndarray, "height width"]]
) -> list[Bool[np.ndarray, "height width"]]:
    """Return the regions that the static scene does not look like: on bare walls the flow is wrong, not the scene."""

    def kept(
        mask: Bool[np.ndarray, "height width"], differs: Bool[np.ndarray, "height width"]
    ) -> Bool[np.ndarray, "height width"]:
        _, regions = cv2.connectedComponents(mask.astype(np.uint8))
        wrong = np.bincount(regions.ravel(), weights=differs.ravel())
        chosen = np.flatnonzero(wrong >= LEAST_CONFIRMED * np.bincount(regions.ravel()))
        return np.isin(regions, chosen[chosen > 0])

    return [kept(mask, differs) for mask, differs in zip(found, differing, strict=True)]


def _differing(
    reconstruction: Reconstruction, render: Render, flow: DenseFlow, judged: Sequence[int]
) -> list[Bool[np.ndarray, "height width"]]:
    """Return where a render covers a frame and does not look like it."""
    found = []
    for place, frame in enumerate(judged):
        allowed = LOOKS + LOOKS_PER_GRADIENT * mean_around(gradient(flow.grey[frame]), 3)
        error = (render.images[place] - reconstruction.images[place]).abs().mean(0)
        found.append((mean_around(error.cpu().numpy(), 3) > allowed) & render.covered[place].cpu().numpy())
    return found


def _resized(render: Render, height: int, width: int) -> Render:
    covered = interpolate(render.covered[:, None].float(), (height, width), mode="nearest")[:, 0] > 0
    return Render(interpolate(render.images, (height, width), mode="area"), covered)


def _render_without(reconstruction: Reconstruction, left_out: Bool[Tensor, "frames height width"]) -> Render:
    """Render every frame from the points of the others, without those of some pixels."""
    kept = torch.where(left_out.to(reconstruction.confidence.device), 0, reconstruction.confidence)
    without = replace(reconstruction, confidence=kept)
    cloud = cloud_of(without)
    render = render_leave_one_out(without, cloud=cloud, calibration=calibrate(without, cloud))
    hidden = reconstruction.left_out
    return render if hidden is None else Render(render.images, render.covered & ~hidden)


def _opened(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Return a mask without what is thinner than three pixels: outlines that are half a pixel off."""
    opened: np.ndarray = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return opened > 0


def _keeps_its_looks(
    flow: DenseFlow,
    judged: Sequence[int],
    place: int,
    mask: Bool[np.ndarray, "height width"],
) -> Bool[np.ndarray, "height width"]:
    """Return where most of what moves can be followed, in one direction at least, to a frame where it looks the same.

    That frame is a third of the way to the next judged one: what turns shows another side after a while.
    """
    frame = judged[place]
    allowed = LOOKS + LOOKS_PER_GRADIENT * mean_around(gradient(flow.grey[frame]), 3)
    kept = np.zeros(mask.shape, bool)
    for neighbour in (place - 1, place + 1):
        if 0 <= neighbour < len(judged):
            step = third(judged[neighbour] - frame)
            field = flow.between(frame, frame + step)
            there = at(flow.grey[frame + step], *moved(field)).astype(np.float32)
            differs = mean_around(np.abs(there - flow.grey[frame]) / 255, 3)
            kept |= flow.followed(frame, frame + step) & (differs < allowed)
    share = mean_around(kept & mask, SMOOTH) / np.maximum(mean_around(mask, SMOOTH), 1e-6)
    most: Bool[np.ndarray, "height width"] = share > 0.5
    return most


def _background_error(
    reconstruction: Reconstruction, names: UInt8[Tensor, "frames height width"], lpips: Lpips
) -> float | None:
    """Return the leave-one-out error of all that does not move, rendered from points that are not broken and do not move."""
    moves = _grown(names == MOVING, OUTLINE)
    try:
        render = _render_without(reconstruction, moves | _grown(names == BROKEN, 1))
    except ReconstructionFailed:
        return None
    counts = render.covered & ~moves.to(render.covered.device)
    return _error(Render(render.images, counts), reconstruction.images, lpips)


def _grown(mask: Bool[Tensor, "frames height width"], pixels: int) -> Bool[Tensor, "frames height width"]:
    return max_pool2d(mask[:, None].float(), 2 * pixels + 1, stride=1, padding=pixels)[:, 0] > 0


def _subject_error(
    reconstruction: Reconstruction,
    flow: DenseFlow,
    judged: Sequence[int],
    names: UInt8[Tensor, "frames height width"],
    lpips: Lpips,
) -> float | None:
    """Return the error of what moves against the next judged frame (the last: the one before), brought back along the flow."""
    frames = reconstruction.images
    brought, counts = [], []
    for place, frame in enumerate(judged):
        other = place + 1 if place + 1 < len(judged) else place - 1
        places = moved(flow.between(frame, judged[other]))
        brought.append(torch.from_numpy(at(frames[other].permute(1, 2, 0).cpu().numpy(), *places)).permute(2, 0, 1))
        counts.append(torch.from_numpy(flow.followed(frame, judged[other])) & (names[place] == MOVING))
    render = Render(torch.stack(brought).clamp(0, 1).to(frames), torch.stack(counts).to(frames.device))
    return _error(render, frames, lpips)


def _error(render: Render, frames: Float[Tensor, "frames 3 height width"], lpips: Lpips) -> float | None:
    """Return mse + LPIPS over the covered pixels of all frames together."""
    if not bool(render.covered.any()):
        return None
    return leave_one_out_summary(leave_one_out_errors(render, frames, lpips))["loo_error"]
