"""Every measure of a clip: what it means, in which unit, and which direction is better. Declared here and nowhere else."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["better", "worse", "more", "less", "unclear"]
"""What an interval says of a change; `more` and `less` of measures without a better direction."""

LEAST_PROMPTS = 10
"""With fewer a comparison says `unclear`, whatever its interval: a bootstrap of few prompts is too sure of itself. Without a
difference (1,500 draws from a normal distribution) the 95 % interval leaves 0 out for 20 % of the samples of 4, for 10 % of
those of 10, for 8 % of those of 24."""


@dataclass(frozen=True)
class Measure:
    """A number in a `Score` row. `better` is None for what describes a clip without judging it."""

    better: Literal["lower", "higher"] | None
    meaning: str
    unit: str = ""

    def is_better(self, a: float, b: float) -> bool:
        """Whether `a` is better than `b`."""
        return a < b if self.better == "lower" else a > b

    def verdict(self, change: float, low: float, high: float, *, n: int) -> Verdict:
        """What a mean change over `n` prompts with this interval says; `unclear` if it holds 0 or the prompts are few."""
        if low <= 0 <= high or n < LEAST_PROMPTS:
            return "unclear"
        if self.better is None:
            return "more" if change > 0 else "less"
        return "better" if self.is_better(change, 0.0) else "worse"


MEASURES: dict[str, Measure] = {
    # Section 3 of arXiv 2601.23286: the whole cloud rendered into every frame, empty pixels counted as error.
    "error_3dcs": Measure("lower", "the paper's 3D consistency score: mse + lpips of the whole cloud's render"),
    "mse": Measure("lower", "mean squared error of the whole cloud's render, RGB in [0, 1]"),
    "lpips": Measure("lower", "LPIPS of the whole cloud's render"),
    "psnr": Measure("higher", "peak signal-to-noise ratio of the whole cloud's render, from the mean mse", "dB"),
    "ssim": Measure("higher", "structural similarity of the whole cloud's render"),
    "mvcs": Measure("higher", "multi-view consistency of adjacent depth maps; not scale-free"),
    # A frame explains itself in the scores above. Here frame i is rendered from the other frames' points only.
    "loo_mse": Measure("lower", "mse of the leave-one-out render over covered pixels"),
    "loo_lpips": Measure("lower", "LPIPS of the leave-one-out render over covered pixels"),
    "loo_error": Measure("lower", "loo_mse + loo_lpips; compares clips of one scene, not across scenes"),
    "loo_coverage": Measure("higher", "share of pixels that the other frames' points cover"),
    "single_image": Measure(
        None, "error (mse + LPIPS) if one frame, the best for it, stands for all others: no geometry at all"
    ),
    "explained": Measure(
        "higher", "share of single_image that the leave-one-out render removes; 0: no better than a still picture"
    ),
    "epipolar": Measure("lower", "median Sampson distance of matches in consecutive judged frames", "px"),
    "homography_loo": Measure("lower", "leave-one-out error under homographies, for clips without parallax"),
    "failing": Measure(
        "lower", "1 if loo_error is beyond what tells failing clips of the miniature world from true ones, else 0"
    ),
    # What the scores must be read with: a frozen clip scores perfectly.
    "adherence": Measure(None, "share of the commanded camera path that the clip shows; 1: all of it, 0: it is frozen"),
    "motion": Measure(None, "the paper's camera motion: mean step + 0.1 x mean rotation in radians"),
    "flow": Measure(None, "mean optical flow between consecutive judged frames", "image widths"),
    "jerk": Measure("lower", "how jerky the camera path is; scale-free"),
    "registered": Measure("higher", "judged frames that have a camera"),
    "points": Measure("higher", "points of the reconstruction: triangulated ones, or pixels with a depth"),
    "focal_widths": Measure(None, "focal length", "image widths"),
    "focal_assumed": Measure(None, "1 where the focal length could not be found and a usual one was assumed"),
    "confidence": Measure(None, "median confidence of a network in its depth; each network has a scale of its own"),
    "parallax": Measure(None, "how far near and far points move against each other, at the cameras farthest apart", "px"),
    "join_error": Measure("lower", "of a long clip: the worst join of two windows, median distance of their points", "depths"),
    "seconds": Measure(None, "time that scoring took", "s"),
}

MOTIONS = ("adherence", "flow", "motion")
"""Measures that say how much moves. They judge nothing, and stand with every judgement."""
