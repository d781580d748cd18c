"""Render the point cloud of a reconstruction back into its frames, and compare each frame with its render.

There are two kinds of error:

- The paper's (VideoGPA, https://arxiv.org/abs/2601.23286, and its official code). Every frame is rendered from all points, its
  own included, and pixels that no point covers count as error.
- Leave-one-out. Every frame is rendered from the points of the other frames only, and compared where they cover it. A frame
  cannot explain itself.

The errors are computed frame by frame (`frame_errors`) and summarised over the clip (`paper_summary`, `leave_one_out_summary`),
so that clips of any length are scored by the same functions; see `scoring/scores.py` and `scoring/long_clips.py`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from videogpa.critics.base import ReconstructionFailed
from videogpa.maths import cameras, images
from videogpa.maths.blending import blend_cloud
from videogpa.maths.exposure import exposure_gains, exposure_steps
from videogpa.maths.render import one_thread, splat_cloud
from videogpa.parallel import parallel_map
from videogpa.reconstruction import Reconstruction
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.point_cloud import Cloud, cloud_of

T = TypeVar("T")

LEAST_MSE = (1 / 255) ** 2 / 12  # the noise of rounding to 8 bits; an MSE of 0 would have no PSNR
PARALLAX_TOLERANCE = 1.0  # pixels: points closer than that, seen from the median camera, are taken as one surface
TRUSTED = 0.5  # of the upper quartile of confidence: at least this makes surfaces, less only fills holes

FrameErrors = Mapping[str, Float[Tensor, " frames"]]
"""One value for each frame: `mse, lpips, ssim` of the paper's render; `loo_mse, loo_lpips, loo_coverage` of the other."""


class Render(NamedTuple):
    """Rendered frames, and which of their pixels a point covers."""

    images: Float[Tensor, "frames 3 height width"]
    """RGB in [0, 1]; black where nothing is covered."""
    covered: Bool[Tensor, "frames height width"]


@dataclass(frozen=True, eq=False)
class Calibration:
    """What rendering a frame needs to know from the whole clip."""

    gains: Float[Tensor, " frames"]
    """The brightness of each frame relative to the clip's; see `maths/exposure.py`."""
    tolerance: Float[Tensor, " frames"]
    """The inverse depth by which points count as one surface; see `parallax_tolerance`."""

    def __getitem__(self, frames: Sequence[int]) -> "Calibration":
        """Return the calibration of some frames."""
        return Calibration(self.gains[list(frames)], self.tolerance[list(frames)])


def calibrate(reconstruction: Reconstruction, cloud: Cloud) -> Calibration:
    """Estimate the exposure of each frame, and the tolerance of its depth, from all frames of a clip."""
    matrices = reconstruction.intrinsics, reconstruction.camera_from_world
    gains = exposure_gains(reconstruction.images, cloud.points, cloud.colors, cloud.frame, *matrices)
    return Calibration(gains, parallax_tolerance(*matrices))


@one_thread()
def paper_scores(reconstruction: Reconstruction, lpips: Lpips, drop_lowest_confidence: float = 0.0) -> dict[str, float]:
    """Return the paper's 3DCS and its parts, without the leave-one-out scores.

    Args:
        reconstruction: The frames of a clip with their cameras and depth.
        lpips: The perceptual distance. The paper's numbers use `Lpips("vgg")`.
        drop_lowest_confidence: The fraction of the points to leave out, in [0, 1): 0.2 for the least confident fifth.

    Returns:
        `error_3dcs, mse, lpips, psnr, ssim, motion, mvcs`, as `videogpa.measures.MEASURES` describes them. `psnr` is that of
        the mean MSE, at most 58.9 dB (8-bit noise).

    Raises:
        ValueError: If `drop_lowest_confidence` is not in [0, 1).
        ReconstructionFailed: If there are fewer than two frames, no usable point, or no overlap between adjacent frames.
    """
    render = render_splat(reconstruction, drop_lowest_confidence)
    matrices = reconstruction.intrinsics, reconstruction.camera_from_world
    return paper_summary(
        paper_errors(render, reconstruction.images, lpips),
        cameras.depth_disagreements(reconstruction.depth, *matrices),
        reconstruction.camera_from_world,
    )


@one_thread()
def leave_one_out_scores(reconstruction: Reconstruction, lpips: Lpips) -> dict[str, float]:
    """Return the leave-one-out scores of a reconstruction, without the paper's.

    Args:
        reconstruction: The frames of a clip with their cameras and depth.
        lpips: The perceptual distance.

    Returns:
        `loo_mse, loo_lpips, loo_error, loo_coverage`, over the covered pixels of all frames together. `loo_error` is the sum of
        the first two, lower is better. `loo_coverage` in (0, 1] is the share of the pixels that could be compared.

    Raises:
        ReconstructionFailed: If there are fewer than two frames, no usable point, or nothing is covered.
    """
    render = render_leave_one_out(reconstruction)
    return leave_one_out_summary(leave_one_out_errors(render, reconstruction.images, lpips))


def render_splat(
    reconstruction: Reconstruction,
    drop_lowest_confidence: float = 0.0,
    *,
    views: Sequence[int] | None = None,
    cloud: Cloud | None = None,
) -> Render:
    """Render frames as the paper does: from all points, one pixel each, in colours cut to 8 bits.

    Args:
        reconstruction: The frames of a clip with their cameras and depth.
        drop_lowest_confidence: The fraction of the points to leave out, in [0, 1).
        views: Indices of the frames to render; all by default.
        cloud: The point cloud of the reconstruction, if the caller has it already.

    Raises:
        ValueError: If `drop_lowest_confidence` is not in [0, 1).
        ReconstructionFailed: If there are fewer than two frames, or no usable point.
    """
    if not 0 <= drop_lowest_confidence < 1:
        raise ValueError(f"drop_lowest_confidence is a fraction in [0, 1), 0.2 for a fifth; got {drop_lowest_confidence}")
    cloud = (cloud or cloud_of(reconstruction)).most_confident(1 - drop_lowest_confidence)
    height, width = reconstruction.depth.shape[1:]
    shown = _views(reconstruction, views)
    matrices = reconstruction.intrinsics[shown], reconstruction.camera_from_world[shown]
    rendered, covered = splat_cloud(cloud.points, cloud.colors, *matrices, height=height, width=width)
    return Render(images.cut_to_8_bits(rendered), covered)


def render_leave_one_out(
    reconstruction: Reconstruction,
    *,
    views: Sequence[int] | None = None,
    cloud: Cloud | None = None,
    calibration: Calibration | None = None,
) -> Render:
    """Render frames from the points of the other frames only.

    Depths that differ by less than a pixel of parallax at the median baseline are blended; see `maths/blending.py`. Points are
    brought to the exposure of the frame they are rendered into, one gain per frame; see `maths/exposure.py`.

    Args:
        reconstruction: The frames of a clip with their cameras and depth.
        views: Indices of the frames to render; all by default.
        cloud: The point cloud of the reconstruction, if the caller has it already.
        calibration: Exposure and tolerance of the frames, where they are only some of a long clip's.

    Raises:
        ReconstructionFailed: If there are fewer than two frames, or no usable point.
    """
    cloud = cloud or cloud_of(reconstruction)
    calibration = calibration or calibrate(reconstruction, cloud)
    weights = cloud.confidence / cloud.confidence.max()
    upper_quartile = weights.kthvalue(math.ceil(0.75 * len(weights))).values
    height, width = reconstruction.depth.shape[1:]
    shown = _views(reconstruction, views)
    view_of_frame = torch.full((len(reconstruction.intrinsics),), -1, device=shown.device)
    view_of_frame[shown] = torch.arange(len(shown), device=shown.device)
    rendered, covered = blend_cloud(
        cloud.points,
        cloud.colors / calibration.gains[cloud.frame, None],
        reconstruction.intrinsics[shown],
        reconstruction.camera_from_world[shown],
        height=height,
        width=width,
        weights=weights,
        trusted=weights >= TRUSTED * upper_quartile,
        tolerance=calibration.tolerance[shown],
        hidden_from=view_of_frame[cloud.frame],
    )
    return Render((rendered * calibration.gains[shown, None, None, None]).clamp(0, 1), covered)


def frame_errors(
    reconstruction: Reconstruction,
    cloud: Cloud,
    calibration: Calibration,
    lpips: Lpips,
    views: Sequence[int] | None = None,
) -> tuple[dict[str, Float[Tensor, " views"]], Render]:
    """Compare frames (those of `views`, all by default) with both of their renders.

    Returns:
        The errors, one value for each frame (`FrameErrors`), and the leave-one-out render that some of them came from.
    """
    shown = _views(reconstruction, views)
    frames = reconstruction.images[shown]
    counted = None if reconstruction.left_out is None else ~reconstruction.left_out[shown]

    def left_out() -> tuple[dict[str, Float[Tensor, " views"]], Render]:
        render = render_leave_one_out(reconstruction, views=views, cloud=cloud, calibration=calibration)
        if counted is not None:
            render = Render(render.images, render.covered & counted)
        return leave_one_out_errors(render, frames, lpips, counted), render

    def paper() -> tuple[dict[str, Float[Tensor, " views"]], Render]:
        render = render_splat(reconstruction, views=views, cloud=cloud)
        return paper_errors(render, frames, lpips, counted), render

    (ours, render), (papers, _) = _both(left_out, paper, frames.device)
    return {**papers, **ours}, render


def paper_errors(
    render: Render,
    frames: Float[Tensor, "frames 3 height width"],
    lpips: Lpips,
    counted: Bool[Tensor, "frames height width"] | None = None,
) -> dict[str, Float[Tensor, " frames"]]:
    """Return `mse, lpips, ssim` of each frame against its render, over all pixels or those that are counted."""
    parts = render.images, frames, counted
    return {"mse": images.mse(*parts), "lpips": lpips(*parts), "ssim": images.ssim(*parts)}


def leave_one_out_errors(
    render: Render,
    frames: Float[Tensor, "frames 3 height width"],
    lpips: Lpips,
    counted: Bool[Tensor, "frames height width"] | None = None,
) -> dict[str, Float[Tensor, " frames"]]:
    """Return `loo_coverage, loo_mse, loo_lpips` of each frame, the errors over its covered pixels; nan where it has none.

    The coverage is a share of all pixels, or of those that are counted.
    """
    coverage = render.covered.float().mean((1, 2))
    if counted is not None:
        coverage = coverage / counted.float().mean((1, 2)).clamp(min=1e-6)
    judged = coverage > 0
    mse, distance = torch.full_like(coverage, torch.nan), torch.full_like(coverage, torch.nan)
    if bool(judged.any()):
        parts = render.images[judged], frames[judged], render.covered[judged]
        mse[judged], distance[judged] = images.mse(*parts), lpips(*parts)
    return {"loo_coverage": coverage, "loo_mse": mse, "loo_lpips": distance}


def paper_summary(
    errors: FrameErrors, depth_disagreements: Float[Tensor, " steps"], camera_from_world: Float[Tensor, "frames 4 4"]
) -> dict[str, float]:
    """Return the paper's scores of a clip from the errors of its frames.

    Raises:
        ReconstructionFailed: If two adjacent frames do not overlap.
    """
    mse, lpips, ssim = (errors[name].mean().item() for name in ("mse", "lpips", "ssim"))
    if bool(depth_disagreements.isnan().any()):
        raise ReconstructionFailed("no pixel of a frame lands in the next one: the cameras or the depth are wrong")
    return {
        "error_3dcs": mse + lpips,
        "mse": mse,
        "lpips": lpips,
        "psnr": images.psnr(torch.tensor(max(mse, LEAST_MSE))).item(),
        "ssim": ssim,
        "motion": cameras.paper_motion(camera_from_world).item(),
        "mvcs": torch.exp(-depth_disagreements.mean()).item(),
    }


def leave_one_out_summary(errors: FrameErrors) -> dict[str, float]:
    """Return the leave-one-out scores of a clip from the errors of its frames; every covered pixel counts the same.

    Raises:
        ReconstructionFailed: If nothing is covered.
    """
    coverage = errors["loo_coverage"]
    judged = coverage > 0
    if not bool(judged.any()):
        raise ReconstructionFailed("no frame shows a point of another frame: there is nothing to compare")
    share = coverage[judged] / coverage.sum()
    mse, lpips = ((share * errors[name][judged]).sum().item() for name in ("loo_mse", "loo_lpips"))
    return {"loo_mse": mse, "loo_lpips": lpips, "loo_error": mse + lpips, "loo_coverage": coverage.mean().item()}


def exposure_changes(reconstruction: Reconstruction) -> Float[Tensor, " steps"]:
    """Return by how much each next frame is brighter, as a logarithm; see `maths/exposure.py`."""
    cloud = cloud_of(reconstruction)
    matrices = reconstruction.intrinsics, reconstruction.camera_from_world
    return exposure_steps(reconstruction.images, cloud.points, cloud.colors, cloud.frame, *matrices)


def error_maps(reconstruction: Reconstruction, render: Render) -> Float[Tensor, "frames height width"]:
    """Return the root mean squared error over the colours of every pixel, in [0, 1]; 0 where nothing covers it."""
    return images.squared_error_map(render.images, reconstruction.images).sqrt() * render.covered


def parallax_tolerance(
    intrinsics: Float[Tensor, "frames 3 3"], camera_from_world: Float[Tensor, "frames 4 4"]
) -> Float[Tensor, " frames"]:
    """Return the inverse depth by which a point moves one pixel between each camera and its median neighbour.

    Infinite for a camera that has not moved from most of the others: there depth has no effect.
    """
    centers = cameras.camera_centers(camera_from_world)
    distances = torch.cdist(centers, centers, compute_mode="donot_use_mm_for_euclid_dist").sort(dim=1).values
    baselines = distances[:, 1:].median(dim=1).values  # the first is the camera's distance from itself
    return PARALLAX_TOLERANCE / (intrinsics[:, 0, 0] * baselines)


def _both(first: Callable[[], T], second: Callable[[], T], device: torch.device) -> list[T]:
    """Return what both return; on a CPU each has a thread, and torch starts no others, which would wait for each other."""
    if device.type != "cpu":
        return [first(), second()]
    with one_thread():
        return parallel_map(lambda do: do(), [first, second])


def _views(reconstruction: Reconstruction, views: Sequence[int] | None) -> Int64[Tensor, " views"]:
    chosen = range(len(reconstruction.images)) if views is None else views
    return torch.tensor(list(chosen), dtype=torch.int64, device=reconstruction.images.device)
