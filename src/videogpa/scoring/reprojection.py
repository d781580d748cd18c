"""From any reconstruction to scores: render the cloud back into the frames, and compare.

Two kinds. The paper's (VideoGPA, https://arxiv.org/abs/2601.23286, and its official code): every frame is rendered from all
points, its own included, and empty pixels count as error. Leave-one-out: every frame is rendered from the points of the other
frames only, and judged where they cover it; what a frame says about itself counts for nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from videogpa.critics.base import ReconstructionFailed
from videogpa.maths import cameras, images
from videogpa.maths.blending import blend_cloud
from videogpa.maths.exposure import exposure_gains, exposure_steps
from videogpa.maths.render import splat_cloud
from videogpa.records import Reconstruction
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.point_cloud import Cloud, cloud_of

LEAST_MSE = (1 / 255) ** 2 / 12  # the noise of rounding to 8 bits; an MSE of 0 would have no PSNR
PARALLAX_TOLERANCE = 1.0  # pixels: points closer than that, seen from the median camera, are taken as one surface
TRUSTED = 0.5  # of the upper quartile of confidence: at least this makes surfaces, less only fills holes

Rendered = tuple[Float[Tensor, "frames 3 height width"], Bool[Tensor, "frames height width"]]
"""Images, and the mask of the pixels that points cover."""


def paper_scores(reconstruction: Reconstruction, lpips: Lpips, drop_lowest_confidence: float = 0.0) -> dict[str, float]:
    """Return the paper's 3DCS and its companions: `error_3dcs, mse, lpips, psnr, ssim, motion, mvcs`.

    `drop_lowest_confidence` is the fraction of the points to leave out, 0.2 for the least confident fifth. The paper's numbers
    use LPIPS with `vgg`. `psnr` is that of the mean MSE, at most 58.9 dB (8-bit noise).

    Raises:
        ValueError: If `drop_lowest_confidence` is not in [0, 1).
        ReconstructionFailed: If there are fewer than two frames, no usable point, or no overlap between adjacent frames.
    """
    rendered = paper_render(reconstruction, drop_lowest_confidence)
    matrices = reconstruction.intrinsics, reconstruction.camera_from_world
    return paper_summary(
        paper_errors(rendered, reconstruction.images, lpips),
        cameras.depth_disagreements(reconstruction.depth, *matrices),
        reconstruction.camera_from_world,
    )


def paper_errors(
    rendered: Rendered, frames: Float[Tensor, "frames 3 height width"], lpips: Lpips
) -> dict[str, Float[Tensor, " frames"]]:
    """Return `mse, lpips, ssim` of each frame against its render."""
    seen, _ = rendered
    return {"mse": images.mse(seen, frames), "lpips": lpips(seen, frames), "ssim": images.ssim(seen, frames)}


def paper_summary(
    errors: Mapping[str, Float[Tensor, " frames"]],
    depth_disagreements: Float[Tensor, " steps"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> dict[str, float]:
    """Return the paper's scores of a clip from those of its frames.

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


def paper_render(
    reconstruction: Reconstruction,
    drop_lowest_confidence: float = 0.0,
    *,
    views: Sequence[int] | None = None,
    cloud: Cloud | None = None,
) -> Rendered:
    """Return every frame (or those of `views`) rendered from all points, in colours cut to 8 bits, black where there is none.

    `cloud` is that of the reconstruction, if the caller has it already.

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
    return images.cut_to_8_bits(rendered), covered


def leave_one_out_scores(reconstruction: Reconstruction, lpips: Lpips, *, rendered: Rendered | None = None) -> dict[str, float]:
    """Return `loo_mse, loo_lpips, loo_error, loo_coverage`, over the covered pixels of all frames together.

    `loo_error` is the sum of the first two, lower = better. `loo_coverage` in (0, 1] is the share of pixels that were judged.
    `rendered` is what `leave_one_out_render` returns, if the caller has it already.

    Raises:
        ReconstructionFailed: If there are fewer than two frames, no usable point, or nothing is covered.
    """
    rendered = rendered or leave_one_out_render(reconstruction)
    return leave_one_out_summary(leave_one_out_errors(rendered, reconstruction.images, lpips))


def leave_one_out_errors(
    rendered: Rendered, frames: Float[Tensor, "frames 3 height width"], lpips: Lpips
) -> dict[str, Float[Tensor, " frames"]]:
    """Return `coverage, mse, lpips` of each frame, the errors over its covered pixels; nan where it has none."""
    seen, covered = rendered
    coverage = covered.float().mean((1, 2))
    judged = coverage > 0
    mse, distance = torch.full_like(coverage, torch.nan), torch.full_like(coverage, torch.nan)
    if bool(judged.any()):
        parts = seen[judged], frames[judged], covered[judged]
        mse[judged], distance[judged] = images.mse(*parts), lpips(*parts)
    return {"coverage": coverage, "mse": mse, "lpips": distance}


def leave_one_out_summary(errors: Mapping[str, Float[Tensor, " frames"]]) -> dict[str, float]:
    """Return the leave-one-out scores of a clip from those of its frames: every covered pixel counts the same.

    Raises:
        ReconstructionFailed: If nothing is covered.
    """
    coverage = errors["coverage"]
    judged = coverage > 0
    if not bool(judged.any()):
        raise ReconstructionFailed("no frame shows a point of another frame: there is nothing to compare")
    share = coverage[judged] / coverage.sum()
    mse, lpips = ((share * errors[name][judged]).sum().item() for name in ("mse", "lpips"))
    return {"loo_mse": mse, "loo_lpips": lpips, "loo_error": mse + lpips, "loo_coverage": coverage.mean().item()}


def leave_one_out_render(
    reconstruction: Reconstruction,
    *,
    views: Sequence[int] | None = None,
    clip: "Clip | None" = None,
    cloud: Cloud | None = None,
) -> Rendered:
    """Return every frame (or those of `views`) rendered from the points of the other frames, black where uncovered.

    Depths that differ by less than a pixel of parallax at the median baseline are blended; see maths/blending.py. Points are
    brought to the exposure of the frame they are rendered into, one gain per frame; see maths/exposure.py. Where the frames
    are only some of a long clip's, `clip` holds their gains and tolerances in the whole. `cloud` is that of the
    reconstruction, if the caller has it already.

    Raises:
        ReconstructionFailed: If there are fewer than two frames, or no usable point.
    """
    cloud = cloud or cloud_of(reconstruction)
    weights = cloud.confidence / cloud.confidence.max()
    upper_quartile = weights.kthvalue(math.ceil(0.75 * len(weights))).values
    height, width = reconstruction.depth.shape[1:]
    intrinsics, camera_from_world = reconstruction.intrinsics, reconstruction.camera_from_world
    if clip is None:
        matrices = intrinsics, camera_from_world
        gains = exposure_gains(reconstruction.images, cloud.points, cloud.colors, cloud.frame, *matrices)
        clip = Clip(gains, parallax_tolerance(*matrices))
    shown = _views(reconstruction, views)
    view_of_frame = torch.full((len(intrinsics),), -1, device=shown.device)
    view_of_frame[shown] = torch.arange(len(shown), device=shown.device)
    rendered, covered = blend_cloud(
        cloud.points,
        cloud.colors / clip.gains[cloud.frame, None],
        intrinsics[shown],
        camera_from_world[shown],
        height=height,
        width=width,
        weights=weights,
        trusted=weights >= TRUSTED * upper_quartile,
        tolerance=clip.tolerance[shown],
        hidden_from=view_of_frame[cloud.frame],
    )
    return (rendered * clip.gains[shown, None, None, None]).clamp(0, 1), covered


@dataclass(frozen=True, eq=False)
class Clip:
    """What a frame takes from the whole clip: its gain (`exposure_gains`) and its `parallax_tolerance`."""

    gains: Float[Tensor, " frames"]
    tolerance: Float[Tensor, " frames"]


def exposure_changes(reconstruction: Reconstruction) -> Float[Tensor, " steps"]:
    """Return by how much each next frame is brighter, as a logarithm; see maths/exposure.py."""
    cloud = cloud_of(reconstruction)
    matrices = reconstruction.intrinsics, reconstruction.camera_from_world
    return exposure_steps(reconstruction.images, cloud.points, cloud.colors, cloud.frame, *matrices)


def baseline_scores(frames: Float[Tensor, "frames 3 height width"], lpips: Lpips, loo_error: float) -> dict[str, float]:
    """Return `single_image`, the error of an explanation without geometry, and `explained`, what `loo_error` betters it by.

    The explanation: one frame, the best for it, stands for all the others; mse + LPIPS, as in `loo_error`. `explained` is the
    share of that error that the geometry removes; at 0 and below it says no more than a still picture, as for noise, and for a
    frozen clip, of which a still picture says all. It is left out for a clip of equal frames, which has no such error.
    """
    errors = torch.stack([images.mse(frame.expand_as(frames), frames) for frame in frames])
    best = int(errors.sum(1).argmin())
    others = torch.arange(len(frames), device=frames.device) != best
    stills = frames[best].expand_as(frames[others])
    single = (errors[best][others].mean() + lpips(stills, frames[others]).mean()).item()
    return {"single_image": single} | ({"explained": 1 - loo_error / single} if single > 0 else {})


def error_maps(reconstruction: Reconstruction, rendered: Rendered) -> Float[Tensor, "frames height width"]:
    """Return the root mean squared error over the colours of every pixel, in [0, 1]; 0 where nothing covers it."""
    seen, covered = rendered
    return images.squared_error_map(seen, reconstruction.images).sqrt() * covered


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


def _views(reconstruction: Reconstruction, views: Sequence[int] | None) -> Int64[Tensor, " views"]:
    chosen = range(len(reconstruction.images)) if views is None else views
    return torch.tensor(list(chosen), dtype=torch.int64, device=reconstruction.images.device)
