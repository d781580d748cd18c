"""The data that stages exchange: rows of the manifests.

A row is one line of a JSONL manifest (docs/reference/conventions.md, "The run folder"). Nothing here imports torch, so that a
batch with nothing left to do ends at once; the tensors are in `videogpa.reconstruction`.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from videogpa.defaults import Reading

if TYPE_CHECKING:
    from videogpa.reconstruction import Reconstruction as Reconstruction

Status = Literal["ok", "partial", "no_parallax", "failed", "unreadable", "error"]
"""Whether a clip could be scored. `error`: something unexpected happened in the program. Only `ok` clips are ranked; the
numbers of `partial` ones cover a part of the clip."""


Reliability = Literal["high", "medium", "low"]
"""How far a score can be relied on; see `videogpa.scoring.reliability`."""


Style = Literal["rich", "plain", "detailed"]
"""How much detail a scene of the synthetic world has; see `world.scenes.make_world`."""

HardKind = Literal[
    "mirror", "glossy", "glass", "rods", "bare", "repeated", "water", "fog",
    "low-light", "motion-blur", "rolling-shutter", "exposure",
]  # fmt: skip
"""What makes a scene of the synthetic world hard; see `world.materials` and `world.camera_effects`."""


CAMERA_PATHS = (
    *("orbit-left", "orbit-right", "dolly-in", "dolly-out", "truck-left"),
    *("truck-right", "rise-up", "rise-down", "pan-left", "pan-right"),
)
"""The camera paths through a scene of the synthetic world; `world.paths` describes them."""

MOST_SEED = 10**18
"""The largest seed of a recipe: seeds that are counted up from it still fit into 64 bits."""

MOST_SCENE_PIXELS = 1 << 28
"""The most pixels of all frames of a scene of the synthetic world, which is rendered as a whole: about 5 GiB."""


class Row(BaseModel):
    """One line of a manifest. Unknown keys are refused, so that a row of another version is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    PATHS: ClassVar[tuple[str, ...]] = ()
    """The columns that are paths in the run folder, or parts of such. None that leads out of it is read: `storage.lines`."""

    fingerprint: str = ""
    """The fingerprint of the settings and inputs that produced the row; a row with a different one is stale."""


class Scene(BaseModel):
    """A scene of the synthetic world and the camera path through it, which determine the exact geometry of every frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    camera: str
    frames: Annotated[int, Field(ge=1, le=10_000)]
    height: Annotated[int, Field(ge=1, le=16_384)]
    width: Annotated[int, Field(ge=1, le=16_384)]
    style: Style = "rich"
    moving: Annotated[int, Field(ge=0, le=1000)] = 0
    """The number of objects that move as rigid bodies. This is legitimate motion and not a failure."""
    hard: HardKind | None = None
    """What is hard about the scene, or about how it is filmed. The geometry stays known."""

    @field_validator("camera")
    @classmethod
    def _known(cls, camera: str) -> str:
        if camera not in CAMERA_PATHS:
            raise ValueError(f"there is no camera path of this name; one of: {', '.join(CAMERA_PATHS)}")
        return camera

    @model_validator(mode="after")
    def _bounded(self) -> "Scene":
        check_pixels(self.frames, self.height, self.width, most=MOST_SCENE_PIXELS)
        return self


def check_pixels(frames: int, height: int, width: int, *, most: int) -> None:
    """Check that a clip has no more pixels than can be held at once.

    Raises:
        ValueError: If it has.
    """
    if frames * height * width > most:
        raise ValueError(
            f"{frames} frames of {height} x {width} are {frames * height * width:,} pixels, and {most:,} is the most"
        )


class Prompt(Row):
    """The content of a clip to generate: a text, a first frame for image-to-video, and the scene if its geometry is known."""

    PATHS = ("image", "videos")

    prompt: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """The prompt's id, which is part of file names."""
    text: str
    image: str | None = None
    scene: Scene | None = None
    split: Literal["train", "held_out"] = "train"
    reading: Reading | None = None
    """Whether something may move in the clips, where that differs from the recipe's `score.scene`."""
    videos: tuple[str, ...] = ()
    """Existing clips of the prompt: paths relative to the run folder, or absolute before they are copied into it. If there are
    any, `generate` uses them and generates none."""


class Clip(Row):
    """A video in the run, with paths relative to the run folder. `clip` is `<prompt>/<seed>`, or `<prompt>/<number>`."""

    PATHS = ("clip", "prompt", "path", "latents")

    clip: str
    prompt: str
    seed: int | None
    """The seed of the clip's noise, or None for a clip that was not generated in this run."""
    path: str
    latents: str | None = None
    """The latents that the clip was decoded from, if they were kept: bfloat16, in the space of `VideoModel.encode_video`."""
    content: str | None = None
    """A hash of the file at `path` when it was made, by which damage is noticed. Rows of earlier versions have none."""


class Score(Row):
    """One critic's measurements of one clip. `videogpa.measures` describes the measures and which direction is better."""

    clip: str
    critic: str
    status: Status
    reason: str | None = None
    lpips_net: Literal["alex", "vgg"] | None = None
    frames: int | None = None
    details: dict[str, str] | None = None
    """The critic's settings that affect its numbers: weights, crop, ... Rows with different ones should not be compared."""

    error_3dcs: float | None = None
    error_3dcs_se: float | None = None
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
    loo_error_se: float | None = None
    loo_coverage: float | None = None
    still_share: float | None = None
    moving_share: float | None = None
    broken_share: float | None = None
    unseen_share: float | None = None
    background_error: float | None = None
    subject_error: float | None = None
    frozen: float | None = None
    dynamic: float | None = None
    dynamic_degree: float | None = None
    flicker: float | None = None
    sharpness: float | None = None
    saturation: float | None = None
    saturation_drift: float | None = None
    exposure: float | None = None
    exposure_drift: float | None = None
    camera_flow: float | None = None
    subject_flow: float | None = None
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
    bars_share: float | None = None
    overlay_share: float | None = None
    blur: float | None = None
    repetition: float | None = None
    reliability: Reliability | None = None
    doubts: tuple[str, ...] | None = None
    """Why it is not high: sentences of `videogpa.scoring.reliability.DOUBTS`."""
    seconds: float | None = None


class Pair(Row):
    """A preference pair, or the reason why its group has none. The scores are of the measure that the recipe pairs by."""

    prompt: str
    rank: int = 0
    """The pair's rank by gap within its group: 0 for the widest gap, 1 for the next, ..."""
    winner: str | None = None
    loser: str | None = None
    winner_score: float | None = None
    loser_score: float | None = None
    gap: float | None = None
    """How much better the winner is. For a dropped group it is the widest gap that the limits on motion and scores allowed."""
    spread: float | None = None
    """How much better the group's best candidate is than its worst, regardless of their motion."""
    sigmas: float | None = None
    """The gap of a pair in its standard error; None where a score has none."""
    motion_ratio: float | None = None
    """The winner's motion as a share of the loser's."""
    dropped: str | None = None


class Latents(Row):
    """The files of an encoded clip and its encoded prompt, which training reads instead of videos."""

    PATHS = ("clip", "prompt", "path", "condition")

    clip: str
    prompt: str
    path: str
    condition: str


class Diversity(Row):
    """How much the clips of one prompt differ; see `scoring.diversity`. Without numbers where one of them cannot be read."""

    prompt: str
    clips: int
    diversity: float | None = None
    vendi: float | None = None


class Judgement(Row):
    """What a judge says of a clip; `videogpa.measures` describes the numbers of this package's judges."""

    clip: str
    judge: str
    status: Literal["ok", "declined", "unreadable", "error"]
    """`declined`: the judge has no number for such a clip. `error`: something unexpected happened in the program."""
    reason: str | None = None
    numbers: dict[str, float] = Field(default_factory=dict)
    """Measure -> value."""
    details: dict[str, str] | None = None
    """The judge's settings and the digest of its weights. Rows with different ones should not be compared."""
    seconds: float | None = None


def __getattr__(name: str) -> Any:
    """Import `Reconstruction` when it is asked for here, where earlier versions had it."""
    if name == "Reconstruction":
        from videogpa.reconstruction import Reconstruction

        return Reconstruction
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
