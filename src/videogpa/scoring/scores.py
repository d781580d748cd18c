"""All numbers of one reconstruction: cameras, depth and frames in, `Scores` out."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from videogpa.maths import images
from videogpa.maths.cameras import camera_jerk, depth_disagreements
from videogpa.maths.render import one_thread
from videogpa.reconstruction import Reconstruction
from videogpa.records import Reliability
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.point_cloud import cloud_of
from videogpa.scoring.reliability import Numbers, frame_numbers, look_of, reliability_of, standard_errors
from videogpa.scoring.reprojection import (
    FrameErrors,
    Render,
    calibrate,
    frame_errors,
    leave_one_out_summary,
    paper_summary,
)

LEAST_FOR_JERK = 4  # cameras: it is a third difference

FAILING_THRESHOLD = "failing_threshold"
"""The measure by which a critic tells from which `loo_error` on a clip counts as failing. It is no column: `failing` is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """The numbers of one reconstruction; `videogpa.measures.MEASURES` says what each means and which direction is better."""

    status: Literal["ok", "partial"]
    reason: str | None
    """What a `partial` status, or an assumption of the critic, is about."""
    frames: int
    """How many frames the numbers are about."""
    error_3dcs: float
    mse: float
    lpips: float
    psnr: float
    ssim: float
    motion: float
    mvcs: float
    loo_mse: float
    loo_lpips: float
    loo_error: float
    loo_coverage: float
    single_image: float
    explained: float | None = None
    """None for a clip of equal frames."""
    jerk: float | None = None
    """None for fewer than four frames."""
    failing: float | None = None
    """None where the critic gives no threshold."""
    error_3dcs_se: float | None = None
    loo_error_se: float | None = None
    """Both None for fewer than three frames."""
    overlay_share: float | None = None
    """None where nothing was left out."""
    blur: float
    repetition: float | None = None
    """None for small frames."""
    reliability: Reliability
    doubts: tuple[str, ...]
    evidence: Numbers
    """The numbers that reliability and doubts follow from."""
    measures: Mapping[str, float | int]
    """What only the critic measured: `registered`, `epipolar`, ..."""
    shown: Reconstruction
    """The frames a report may show: all, or some of a long clip."""
    render: Render
    """The leave-one-out render of the frames `shown`."""

    def of_background(self, error: float | None, still_share: float) -> "Scores":
        """Return the same scores with the reliability of what stands still: what moves does not make them doubtful.

        Args:
            error: The error of the background; None where there is none.
            still_share: The share of the pixels that stand still.
        """
        explained = {"explained": 1 - error / self.single_image} if error is not None and self.single_image > 0 else {}
        evidence = {**self.evidence, **explained, "still_share": still_share}
        grade, doubts = reliability_of(evidence)
        return replace(self, reliability=grade, doubts=doubts, evidence=evidence)

    def columns(self) -> dict[str, float | int | str | tuple[str, ...]]:
        """Return what these scores contribute to a `records.Score` row; numbers that are missing are left out.

        Raises:
            ValueError: If a measure of the critic bears the name of one that is computed here.
        """
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        del own["evidence"], own["measures"], own["shown"], own["render"]
        if taken := sorted(own.keys() & self.measures.keys()):
            raise ValueError(f"a critic may not measure {', '.join(taken)}: the scorer computes it")
        return {**self.measures, **{name: value for name, value in own.items() if value is not None}}


@one_thread()
def score_reconstruction(reconstruction: Reconstruction, lpips: Lpips | None = None) -> Scores:
    """Score any reconstruction, of a critic or of your own.

    Args:
        reconstruction: Frames with their cameras and depth; `Reconstruction.from_arrays` makes one from NumPy arrays. Its
            tensors and `lpips` are on one device.
        lpips: The perceptual distance; `Lpips("alex")` by default, which is loaded for this call.

    Returns:
        The paper's score and its parts, the leave-one-out errors, and what a report shows.

    Raises:
        ReconstructionFailed: If there is nothing to compare: fewer than two frames, no usable point, or frames that show no
            point of another.

    Examples:
        >>> reconstruction = Reconstruction.from_arrays(images=images, depth=depth, intrinsics=k, camera_from_world=poses)
        >>> score_reconstruction(reconstruction).loo_error
    """
    lpips = lpips or Lpips("alex").eval().to(reconstruction.images.device)
    cloud = cloud_of(reconstruction)
    errors, render = frame_errors(reconstruction, cloud, calibrate(reconstruction, cloud), lpips)
    matrices = reconstruction.intrinsics, reconstruction.camera_from_world
    return summarise(
        errors,
        depth_disagreements(reconstruction.depth, *matrices),
        reconstruction.camera_from_world,
        lpips,
        status=reconstruction.status,
        reason=reconstruction.reason,
        measures=reconstruction.measures,
        shown=reconstruction,
        render=render,
    )


def summarise(
    errors: FrameErrors,
    depth_disagreements: Float[Tensor, " steps"],
    camera_from_world: Float[Tensor, "frames 4 4"],
    lpips: Lpips,
    *,
    status: Literal["ok", "partial"],
    reason: str | None,
    measures: Mapping[str, float | int],
    shown: Reconstruction,
    render: Render,
) -> Scores:
    """Return the scores of a clip, short or long, from the errors of its frames.

    Args:
        errors: What `frame_errors` found, one value for each frame of the clip.
        depth_disagreements: How much the depths of adjacent frames disagree; see `maths/cameras.py`.
        camera_from_world: The cameras of all frames.
        lpips: The perceptual distance.
        status: Whether the numbers are about the whole clip.
        reason: Why they are not.
        measures: What the critic measured.
        shown: The frames to look at; also those that `single_image` compares with each other.
        render: The leave-one-out render of `shown`.

    Raises:
        ReconstructionFailed: If two adjacent frames do not overlap, or no frame shows a point of another.
    """
    paper = paper_summary(errors, depth_disagreements, camera_from_world)
    left_out = leave_one_out_summary(errors)
    still = still_image_error(shown.images, lpips, shown.left_out)
    threshold = measures.get(FAILING_THRESHOLD)
    numbers = {**paper, **left_out, **standard_errors(errors), **frame_numbers(shown.images)}
    if shown.left_out is not None:
        numbers["overlay_share"] = float(shown.left_out.float().mean())
    if still > 0:
        numbers["explained"] = 1 - left_out["loo_error"] / still
    whole = {"frames": len(camera_from_world), "width": shown.images.shape[-1], "partial": int(status == "partial")}
    evidence = {**measures, **numbers, **whole, **look_of(shown.images)}
    grade, doubts = reliability_of(evidence)
    return Scores(
        status=status,
        reason=reason,
        frames=len(camera_from_world),
        **numbers,
        single_image=still,
        jerk=float(camera_jerk(camera_from_world)) if len(camera_from_world) >= LEAST_FOR_JERK else None,
        failing=None if threshold is None else float(left_out["loo_error"] > threshold),
        reliability=grade,
        doubts=doubts,
        evidence=evidence,
        measures={name: value for name, value in measures.items() if name != FAILING_THRESHOLD},
        shown=shown,
        render=render,
    )


def still_image_error(
    frames: Float[Tensor, "frames 3 height width"],
    lpips: Lpips,
    left_out: Bool[Tensor, "frames height width"] | None = None,
) -> float:
    """Return the error of an explanation without geometry: one frame, the best for it, stands for all the others.

    The error is mse + LPIPS, as in `loo_error`; 0 for a clip of equal frames. `explained`, the share of it that the geometry
    removes, is 0 or less where the reconstruction explains no more than a still picture: for noise, and for a frozen clip, all
    of which a still picture explains. Pixels that are left out of either frame do not count.
    """

    def counted(number: int) -> Bool[Tensor, "frames height width"] | None:
        return None if left_out is None else ~(left_out | left_out[number])

    pictures = enumerate(frames)
    errors = torch.stack([images.mse(frame.expand_as(frames), frames, counted(number)) for number, frame in pictures])
    best = int(errors.sum(1).argmin())
    others = torch.arange(len(frames), device=frames.device) != best
    stills, mask = frames[best].expand_as(frames[others]), counted(best)
    distance = lpips(stills, frames[others], None if mask is None else mask[others])
    return float(errors[best][others].mean() + distance.mean())
