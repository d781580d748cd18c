"""What the stages hand to each other: rows of the manifests, and tensors with named axes.

A row is one line of a JSONL manifest (docs/reference/conventions.md, "The run folder"). Tensors travel in frozen dataclasses
at the borders only; the maths takes them one by one, so that axis names bind across all arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from videogpa import arrays
from videogpa.arrays import Array
from videogpa.measures import Verdict

Status = Literal["ok", "partial", "no_parallax", "failed", "unreadable"]
"""Whether a clip could be scored. Only `ok` clips are ranked; `partial` numbers hold for a part of the clip."""


Style = Literal["rich", "plain", "detailed"]
"""How much there is to see in a scene of the miniature world; see `world.scenes.make_world`."""


class Row(BaseModel):
    """One line of a manifest. Unknown keys are refused, so that a row of another version is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fingerprint: str = ""
    """Of the settings and inputs that made the row; a row with another one is stale."""


class Scene(BaseModel):
    """A scene of the miniature world and the camera path through it; enough to know the exact geometry of every frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    camera: str
    frames: int
    height: int
    width: int
    style: Style = "rich"
    moving: Annotated[int, Field(ge=0)] = 0
    """How many of the objects move, as rigid bodies do: legitimate motion, which is not a failure."""


class Prompt(Row):
    """What a clip is to show: a text, a first frame for image-to-video, and the scene if its geometry is known."""

    prompt: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Its id, which names files."""
    text: str
    image: str | None = None
    scene: Scene | None = None
    split: Literal["train", "held_out"] = "train"
    videos: tuple[str, ...] = ()
    """Clips of the prompt that exist already, by absolute paths: `generate` takes them as they are, and makes none."""


class Clip(Row):
    """A video in the run, with paths relative to the run folder. `clip` is `<prompt>/<seed>`, or `<prompt>/<number>`."""

    clip: str
    prompt: str
    seed: int | None
    """None for a clip that was not generated here."""
    path: str
    latents: str | None = None
    """What the clip was decoded from, if it was kept: bfloat16, in the space of `VideoModel.encode_video`."""


class Score(Row):
    """What one critic says of one clip. The measures are described, with their directions, in `videogpa.measures`."""

    clip: str
    critic: str
    status: Status
    reason: str | None = None
    lpips_net: Literal["alex", "vgg"] | None = None
    frames: int | None = None
    details: dict[str, str] | None = None
    """How the critic looked, in its own words: weights, crop, ... Rows with different ones should not be compared."""

    error_3dcs: float | None = None
    mse: float | None = None
    lpips: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    mvcs: float | None = None
    motion: float | None = None
    flow: float | None = None
    adherence: float | None = None
    loo_mse: float | None = None
    loo_lpips: float | None = None
    loo_error: float | None = None
    loo_coverage: float | None = None
    failing: float | None = None
    single_image: float | None = None
    explained: float | None = None
    epipolar: float | None = None
    jerk: float | None = None
    registered: int | None = None
    points: int | None = None
    focal_widths: float | None = None
    focal_assumed: float | None = None
    confidence: float | None = None
    parallax: float | None = None
    homography_loo: float | None = None
    join_error: float | None = None
    seconds: float | None = None


class Pair(Row):
    """A preference pair, or the reason why its group gave none. Scores are those of the measure that the recipe pairs by."""

    prompt: str
    rank: int = 0
    """0 for the pair with the widest gap of its group, 1 for the next, ..."""
    winner: str | None = None
    loser: str | None = None
    winner_score: float | None = None
    loser_score: float | None = None
    gap: float | None = None
    """How much better the winner is; of a dropped group, the widest gap that motion and threshold allowed."""
    spread: float | None = None
    """How much better the group's best candidate is than its worst, whatever their motion."""
    motion_ratio: float | None = None
    """The winner's motion as a share of the loser's."""
    dropped: str | None = None


class Latents(Row):
    """The encoded form of a clip, and of the prompt it was made from: what training reads instead of videos."""

    clip: str
    prompt: str
    path: str
    condition: str


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Cameras and depth for each judged frame: one coloured point cloud, seen from every camera.

    `images` are the pixels the critic saw (resized, cropped), so that no metric compares two framings. RGB in [0, 1].
    `depth` is along the optical axis, in the arbitrary unit of the translations; 0 where unknown. `confidence` is >= 0, and
    0 where the depth must not be used. Cameras follow docs/reference/conventions.md: OpenCV axes, integer pixel = pixel centre.
    """

    images: Float[Tensor, "frames 3 height width"]
    depth: Float[Tensor, "frames height width"]
    confidence: Float[Tensor, "frames height width"]
    intrinsics: Float[Tensor, "frames 3 3"]
    camera_from_world: Float[Tensor, "frames 4 4"]
    points: Float[Tensor, "frames height width 3"] | None = None
    """World points per pixel, if the critic predicts them itself; else they are unprojected from `depth`."""
    status: Literal["ok", "partial"] = "ok"
    reason: str | None = None
    measures: Mapping[str, float | int] = field(default_factory=dict)
    """What only the critic knows: `registered`, `points`, `focal_widths`, `epipolar`, ... (columns of `Score`)."""

    @classmethod
    def from_arrays(
        cls,
        *,
        images: Array,
        depth: Array,
        intrinsics: Array,
        camera_from_world: Array,
        confidence: Array | None = None,
        points: Array | None = None,
    ) -> "Reconstruction":
        """Make a reconstruction from NumPy arrays or tensors of your own, after checking that they follow the conventions.

        Args:
            images: `[frames, 3, height, width]`, RGB in [0, 1].
            depth: `[frames, height, width]`, along the optical axis, in the unit of the translations; 0 where unknown.
            intrinsics: `[frames, 3, 3]`, in pixels of `images`, whose integer coordinates are pixel centres.
            camera_from_world: `[frames, 4, 4]`, OpenCV axes (x right, y down, z forward).
            confidence: `[frames, height, width]`, 0 or more, 0 where the depth must not be used; by default 1 everywhere.
            points: `[frames, height, width, 3]`, world coordinates of every pixel, if you have better than unprojected depth.

        Raises:
            TypeError: If one of them is no array of floats.
            ValueError: If one has another shape or values that cannot be meant.

        Examples:
            >>> poses = np.linalg.inv(world_from_camera)
            >>> mine = Reconstruction.from_arrays(images=rgb, depth=depth, intrinsics=k, camera_from_world=poses)
            >>> videogpa.score_reconstruction(mine).loo_error
        """
        rgb = arrays.as_images(images)
        frames, _, height, width = rgb.shape
        maps = frames, height, width
        known = arrays.as_floats("depth", depth, maps, low=0.0)
        trusted = torch.ones_like(known) if confidence is None else confidence
        return cls(
            images=rgb,
            depth=known,
            confidence=arrays.as_floats("confidence", trusted, maps, low=0.0),
            intrinsics=arrays.as_intrinsics(intrinsics, frames),
            camera_from_world=arrays.as_poses(camera_from_world, frames),
            points=None if points is None else arrays.as_floats("points", points, (*maps, 3)),
        )


class Change(BaseModel):
    """Base against aligned by one measure, paired on prompt and seed.

    `low` and `high` bound the mean difference aligned - base with 95 % confidence. Clips of one prompt are not independent:
    the interval resamples prompts, and `n` counts them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: float
    aligned: float
    difference: float
    low: float
    high: float
    win_rate: float | None
    """Share of clips on which the aligned model is better, ties counting half; None for what has no better direction."""
    n: int
    clips: int
    verdict: Verdict


TrainingOutcome = Literal["better", "explained by less motion", "worse", "unclear", "too few prompts"]
"""Whether a training reached its aim, better geometry at equal motion."""


class Relative(BaseModel):
    """A change as a share of the base model's mean, with its interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    change: float
    low: float
    high: float


class Outcome(BaseModel):
    """Whether a training reached its aim, with the numbers behind the verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: TrainingOutcome
    measure: str
    """The measure of geometry that decides."""
    geometry: Relative
    motion: dict[str, Relative]
    failing: tuple[float, float] | None
    """The shares of failing clips of base and aligned model, if the critic can tell which clips fail."""
    n: int
    chose_pairs: bool


class CriticFindings(BaseModel):
    """One critic's comparison of base and aligned model.

    `base` and `aligned` count the clips by status; `changes` are taken over the clips that could be scored in both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chose_pairs: bool
    """Whether this critic also chose the training pairs: the gain may then be reward over-optimisation."""
    base: dict[str, int]
    aligned: dict[str, int]
    changes: dict[str, Change]
    outcome: Outcome | None
    """None if too few clips could be scored to compare them."""


class Evaluation(BaseModel):
    """The content of evaluation.json: base model against aligned model, per critic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    critics: dict[str, CriticFindings]
