"""Every measure of a clip: its names, its meaning, its unit, and which direction is better. Declared here and nowhere else.

Everything called an error is lower = better. `videogpa list measures` and docs/reference/measures.md show this table.
"""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["better", "worse", "more", "less", "unclear"]
"""How to read the interval of a change; `more` and `less` are for measures without a better direction."""

LEAST_PROMPTS = 10
"""With fewer prompts a comparison is `unclear`, whatever its interval: a bootstrap of few prompts gives intervals that are
too narrow. Without any difference (1,500 draws from a normal distribution) the 95 % interval leaves 0 out for 20 % of the
samples of 4 prompts, for 10 % of those of 10, and for 8 % of those of 24."""


@dataclass(frozen=True)
class Measure:
    """A number in a `Score` row.

    `label` is the name that reports and tables show; `short` is the same name where a column must be narrow. `better` is None
    for what describes a clip without judging it.
    """

    label: str
    better: Literal["lower", "higher"] | None
    meaning: str
    unit: str = ""
    short: str = ""
    min_gap: float = 0.0
    """The default of `pair.min_gap` where pairs are chosen by this measure, in its unit."""
    of: Literal["clip", "prompt", "judge"] = "clip"
    """What has the number: the row of a clip's score, the clips of a prompt together, or the row of a judge on a clip."""

    @property
    def arrow(self) -> str:
        """An arrow in the better direction; nothing where neither is better."""
        return {"lower": "↓", "higher": "↑", None: ""}[self.better]

    @property
    def heading(self) -> str:
        """The name for a narrow column, with the arrow."""
        return f"{self.short or self.label}{self.arrow}"

    def is_better(self, a: float, b: float) -> bool:
        """Whether `a` is better than `b`."""
        return a < b if self.better == "lower" else a > b

    def verdict(self, change: float, low: float, high: float, *, n: int) -> Verdict:
        """Return how to read a mean change over prompts.

        Args:
            change: The mean change, aligned - base.
            low: Lower end of its interval.
            high: Upper end of its interval.
            n: Number of prompts.

        Returns:
            `unclear` if the interval holds 0 or there are fewer than `LEAST_PROMPTS` prompts.
        """
        if low <= 0 <= high or n < LEAST_PROMPTS:
            return "unclear"
        if self.better is None:
            return "more" if change > 0 else "less"
        return "better" if self.is_better(change, 0.0) else "worse"


MEASURES: dict[str, Measure] = {
    # Section 3 of arXiv 2601.23286: the whole point cloud rendered into every frame, empty pixels counted as error.
    "error_3dcs": Measure(
        "3DCS error",
        "lower",
        "the paper's 3D consistency score, an error: mse + lpips of the whole point cloud rendered into every frame",
        min_gap=0.05,  # the paper's
    ),
    "error_3dcs_se": Measure(
        "standard error of 3DCS", None, "how far error_3dcs may be off: its standard error over judged frames", short="3DCS ±"
    ),
    "mse": Measure("render MSE", "lower", "mean squared error of the whole cloud's render, RGB in [0, 1]"),
    "lpips": Measure("render LPIPS", "lower", "perceptual distance (LPIPS) between the whole cloud's render and the frame"),
    "psnr": Measure(
        "render PSNR", "higher", "peak signal-to-noise ratio of the whole cloud's render, from the mean mse", "dB", short="PSNR"
    ),
    "ssim": Measure("render SSIM", "higher", "structural similarity of the whole cloud's render and the frame"),
    "mvcs": Measure(
        "multi-view consistency",
        "higher",
        "agreement of adjacent depth maps after reprojection (MVCS of the paper); depends on the scene's scale",
        short="MVCS",
    ),
    # In the scores above a frame is rendered from its own points too. Here frame i is rendered from the other frames' alone.
    "loo_mse": Measure(
        "leave-one-out MSE", "lower", "mse of the leave-one-out render, over the pixels that it covers", short="LOO MSE"
    ),
    "loo_lpips": Measure(
        "leave-one-out LPIPS", "lower", "LPIPS of the leave-one-out render, over the pixels that it covers", short="LOO LPIPS"
    ),
    "loo_error": Measure(
        "leave-one-out error",
        "lower",
        "loo_mse + loo_lpips: each frame against its render from the other frames' points; comparable between clips of one "
        "scene, not across scenes",
        short="LOO error",
        min_gap=0.02,  # ours: the scale is narrower than that of error_3dcs, since uncovered pixels do not count
    ),
    "loo_error_se": Measure(
        "standard error of LOO",
        None,
        "how far loo_error may be off: its standard error over judged frames",
        short="LOO ±",
    ),
    "loo_coverage": Measure(
        "leave-one-out coverage",
        "higher",
        "share of a frame's pixels that the other frames' points cover",
        short="LOO coverage",
    ),
    "single_image": Measure(
        "single-image baseline", None, "mse + LPIPS if one frame, the best for it, stands for all others: no geometry at all"
    ),
    "explained": Measure(
        "explained share",
        "higher",
        "share of single_image that the leave-one-out render removes; 0 is no better than a still picture",
    ),
    "epipolar": Measure(
        "epipolar error", "lower", "median Sampson distance of feature matches in consecutive judged frames", "px"
    ),
    "homography_loo": Measure(
        "homography error",
        "lower",
        "leave-one-out error with homographies in place of points, for clips without parallax",
    ),
    "failing": Measure(
        "failing", "lower", "1 if loo_error exceeds the threshold between failing and consistent synthetic clips, else 0"
    ),
    # With `score.scene`, every pixel of the judged frames has one of four names.
    "still_share": Measure("still share", "higher", "share of the pixels that the static scene explains"),
    "moving_share": Measure("moving share", None, "share of the pixels that move by themselves and keep their looks"),
    "broken_share": Measure(
        "broken share", "lower", "share of the pixels that neither the static scene nor a motion of their own explains"
    ),
    "unseen_share": Measure("unseen share", None, "share of the pixels that no other judged frame shows"),
    "background_error": Measure(
        "background error",
        "lower",
        "the leave-one-out error over the pixels that do not move, rendered from points that neither move nor are broken",
        min_gap=0.02,
    ),
    "subject_error": Measure(
        "subject error",
        "lower",
        "mse + LPIPS of what moves against the next judged frame, brought back along its own motion: how its looks change",
    ),
    # A frozen clip scores perfectly, so geometry is read beside motion.
    "adherence": Measure(
        "path adherence", None, "share of the commanded camera path that the clip follows; 1: all of it, 0: it is frozen"
    ),
    "motion": Measure("camera motion", None, "the paper's camera motion: mean step + 0.1 x mean rotation in radians"),
    "flow": Measure("optical flow", None, "mean optical flow between consecutive judged frames", "image widths"),
    "dynamic_degree": Measure(
        "dynamic degree",
        None,
        "mean flow of the 5 % of pixels that move most, an eighth of a second apart, in units of VBench's threshold, 6/256 "
        "of the short side; by dense inverse search",
    ),
    "dynamic": Measure(
        "dynamic clips", None, "VBench's rule on that flow: 1 if it is above the threshold for a quarter of the time, else 0"
    ),
    "frozen": Measure("frozen clips", "lower", "1 if flow is below a thousandth of the image's width, else 0"),
    "camera_flow": Measure(
        "camera flow", None, "with score.scene: the part of flow that is the camera's, between judged frames", "image widths"
    ),
    "subject_flow": Measure(
        "subject flow",
        None,
        "with score.scene dynamic: how far what moves by itself moves against what stands still, averaged over all pixels",
        "image widths",
    ),
    # What a clip looks like, whatever its geometry: rewards have been satisfied by blur, cartoon colours and over-exposure.
    "flicker": Measure(
        "temporal flicker",
        "lower",
        "mean difference of brightness between a frame and the next one, brought back along the optical flow",
        short="flicker",
    ),
    "sharpness": Measure(
        "sharpness", "higher", "change of brightness from a pixel to the next, of the median frame; it depends on the size"
    ),
    "saturation": Measure("saturation", None, "mean difference between the largest and the smallest colour channel"),
    "saturation_drift": Measure(
        "saturation drift", "lower", "change of the saturation from the first third of a clip to the last"
    ),
    "exposure": Measure("exposure", None, "mean brightness: 0 black, 1 white"),
    "exposure_drift": Measure("exposure drift", "lower", "change of the exposure from the first third of a clip to the last"),
    "diversity": Measure(
        "diversity",
        "higher",
        "mean LPIPS between the clips of a prompt, frames at the same time: alignment may narrow what a model makes",
        of="prompt",
    ),
    "vendi": Measure(
        "Vendi score",
        "higher",
        "how many of a prompt's clips differ from each other, with 1 - LPIPS as similarity",
        of="prompt",
    ),
    # By judges (docs/how-to/judges.md), whose networks a user names: how good a clip looks, whatever its geometry.
    "vq": Measure(
        "visual quality (VQ)",
        "higher",
        "judge videoreward: its reward for how frames look, in standard deviations of the published normalisation",
        short="VQ",
        of="judge",
    ),
    "mq": Measure(
        "motion quality (MQ)",
        "higher",
        "judge videoreward: its reward for how things move; it favours large motion",
        short="MQ",
        of="judge",
    ),
    "ta": Measure(
        "text alignment (TA)", "higher", "judge videoreward: its reward for showing what the text says", short="TA", of="judge"
    ),
    "ovl": Measure("overall reward (OVL)", "higher", "judge videoreward: VQ + MQ + TA", short="OVL", of="judge"),
    "subject_consistency": Measure(
        "subject consistency",
        "higher",
        "judge dino: mean cosine similarity of each frame with the first and the one before, in DINO's features, as in VBench; "
        "a still clip has 1",
        short="subject",
        of="judge",
    ),
    "background_consistency": Measure(
        "background consistency",
        "higher",
        "judge clip: the same in CLIP's image embeddings (ViT-B/32) of the middle square, as in VBench; a still clip has 1",
        short="background",
        of="judge",
    ),
    "aesthetic_quality": Measure(
        "aesthetic quality",
        "higher",
        "judge aesthetic: LAION's rating of the frames from their CLIP embeddings (ViT-L/14), mean over frames, a tenth of it "
        "as in VBench: 0.1 to 1",
        short="aesthetic",
        of="judge",
    ),
    "jerk": Measure("camera jerk", "lower", "jerkiness of the camera path; independent of the scene's scale"),
    "registered": Measure("registered frames", "higher", "judged frames for which a camera was found"),
    "points": Measure("points", "higher", "points of the reconstruction: triangulated ones, or pixels with a depth"),
    "focal_widths": Measure("focal length", None, "focal length of the reconstructed camera", "image widths"),
    "focal_assumed": Measure(
        "focal length assumed", None, "1 where the focal length could not be estimated and a usual one was assumed, else 0"
    ),
    "confidence": Measure(
        "depth confidence", None, "median confidence of a network in its depth; each network has a scale of its own"
    ),
    "parallax": Measure(
        "parallax", None, "how far near and far points move against each other, between the two cameras farthest apart", "px"
    ),
    "join_error": Measure(
        "window join error",
        "lower",
        "of a long clip: median distance of two windows' points, at their worst join",
        "depths",
    ),
    "bars_share": Measure("bars", None, "share of the frames that are bars at the border; they were cut off before all else"),
    "overlay_share": Measure(
        "overlays", None, "share of the pixels that were left out since something is burnt in: a logo, a subtitle, a watermark"
    ),
    "blur": Measure(
        "blur", None, "share of the differences between neighbouring pixels that is left when the median frame is blurred"
    ),
    "repetition": Measure(
        "repetition", None, "share of the textured patches of the middle frame that another place of it resembles closely"
    ),
    "seconds": Measure("scoring time", None, "time that scoring took", "s"),
}

MOTIONS = ("adherence", "flow", "camera_flow", "subject_flow", "motion")
"""Measures of how much moves. They judge nothing, and are shown with every judgement."""
