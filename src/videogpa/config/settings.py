"""The settings of a recipe: one frozen, validated class per stage (`training`, `rounds` and `machines` have some).

Unknown keys and impossible values are refused.
The docstring under a setting is its documentation: `videogpa list settings` and docs/reference/settings.md print it. "Paper" is
arXiv 2601.23286; where our default differs from the paper's, the docstring gives both.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from videogpa.config.base import Config, Fraction, NonNegative, Positive, Seed, Side, one_of
from videogpa.config.judging import checked, with_options
from videogpa.config.machines import Needs, WorkersConfig
from videogpa.config.rounds import RoundsConfig
from videogpa.config.training import TrainConfig
from videogpa.defaults import ANCHORS, CRITIC, FRAMES, LPIPS_NET, OVERLAP, WINDOW, Cuts, Overlays, Reading
from videogpa.measures import MEASURES
from videogpa.records import MOST_SCENE_PIXELS, MOST_SEED, Reliability, Style, check_pixels
from videogpa.registry import CRITICS, MODELS, check_options

MOST_PROMPTS = 100_000
"""Most prompts of a run, from any source."""

MOST_FRAMES = 10_000
MOST_PIXELS = 1 << 31
"""Most pixels of a clip: twice those of five seconds in 4K."""

DEVICE_NAMES = r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]{1,2})?)$"
"""Devices that compute. torch has more names, such as `meta`, whose tensors hold no numbers."""

Language = Literal["scripted", "natural"]
"""How prompts describe a camera path: always in the same words, or in varied ones, as people would."""


class WorldPrompts(Config):
    """Prompts that are scenes of the miniature world, whose exact geometry is known."""

    train: Annotated[int, Field(ge=1, le=MOST_PROMPTS)] = 8
    """Number of training scenes."""
    held_out: Annotated[int, Field(ge=2, le=MOST_PROMPTS)] = 4
    """Number of scenes kept for `evaluate`; an interval takes two or more, a verdict ten or more."""
    seed: Seed = 0
    """Seed of scenes and camera paths."""
    frames: Annotated[int, Field(ge=2, le=MOST_FRAMES)] = 9
    """Frames of a clip."""
    height: Side = 64
    """Height of the frames, in pixels."""
    width: Side = 64
    """Width of the frames, in pixels."""
    style: Style = "rich"
    """How much there is to see in a scene; `plain` is for models that are trained on a CPU."""
    language: Language = "scripted"
    """Wording of the camera path: `scripted` always uses the same words, `natural` varies them."""

    @model_validator(mode="after")
    def _bounded(self) -> "WorldPrompts":
        check_pixels(self.frames, self.height, self.width, most=MOST_SCENE_PIXELS)
        return self


class CameraPrompts(Config):
    """Texts are written to ask for a static scene and a few camera moves."""

    moves: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(le=4)]] = (2, 3)
    """Fewest and most camera moves of a text. Paper: 2 to 3; a clip of 2 to 5 s has no room for more than 4."""
    seed: Seed = 0
    """Seed of the choice of moves; the choice also depends on the prompt's id."""

    @field_validator("moves")
    @classmethod
    def _ordered(cls, moves: tuple[int, int]) -> tuple[int, int]:
        if moves[0] > moves[1]:
            raise ValueError("expected [fewest, most]")
        return moves


class PromptsConfig(Config):
    """Where the prompts come from: a file, a folder of images, the miniature world or a run (docs/reference/prompts.md).

    A prompt per image asks for camera moves; texts of a file are used as they are, unless `camera` is given.
    """

    file: Path | None = None
    """A file of prompts: JSONL, JSON, CSV or plain text."""
    images: Path | None = None
    """A folder of images, each the first frame of an image-to-video prompt."""
    world: WorldPrompts | None = None
    """Scenes of the miniature world."""
    run: Path | None = None
    """A run folder whose prompts are used, as they were given to it. The recipe.yaml in a run folder names its own copy."""
    camera: CameraPrompts | None = None
    """Write camera moves into the texts. Default: for a folder of images only."""
    held_out: NonNegative = 0
    """How many of the training prompts to keep for `evaluate`; a file can mark them itself."""
    part: tuple[Annotated[int, Field(ge=1, le=MOST_PROMPTS)], Annotated[int, Field(ge=1, le=MOST_PROMPTS)]] | None = None
    """Use one part of the training prompts: [2, 48] is the second 48 of them, in an order that follows from their ids alone.
    Default: all."""

    @model_validator(mode="after")
    def _one_source(self) -> "PromptsConfig":
        if sum(source is not None for source in (self.file, self.images, self.world, self.run)) != 1:
            raise ValueError("give one of `file`, `images` and `world` (or `run`)")
        if self.world is not None and (self.camera is not None or self.held_out):
            raise ValueError("`world` writes its own texts, and holds out `world.held_out` scenes")
        return self


class ModelConfig(Config):
    """The video diffusion model and where it is loaded."""

    name: str
    """The model's adapter: see `videogpa list models`."""
    path: Annotated[str, Field(min_length=1)]
    """A diffusers folder, a hub id, `tiny:NAME` (a small trained model that ships), or `toy:NAME` (random weights)."""
    revision: str | None = None
    """Commit, branch or tag of the hub's repository. Default: its main branch."""
    device: Annotated[str, Field(pattern=DEVICE_NAMES)] = "auto"
    """Where the model runs: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, ..."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights. The recipes for 1.3B models and larger use bfloat16, as the paper's code does."""
    offload: bool = False
    """On a GPU: keep the parts that are not at work on the CPU. The same clips with less memory, more slowly."""
    tiling: bool = False
    """The VAE works on overlapping tiles: far less memory, slightly other clips. The paper's code does so."""
    expert: Literal["both", "high", "low"] = "both"
    """Which transformer of Wan2.2 A14B is trained: that for high noise, that for low noise, or both."""

    @field_validator("name")
    @classmethod
    def _registered(cls, name: str) -> str:
        return one_of(name, MODELS)


Strength = Annotated[float, Field(ge=0, le=1000)]
"""A factor on the strength of a LoRA; large ones are for files that do not say how strong they are."""


class GenerateConfig(Config):
    """How many candidates are generated per prompt, and how they are sampled."""

    candidates: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Clips per training prompt. Paper: 3; the gap between best and worst grows with the number."""
    seed: Seed = 0
    """Seed of the first candidate; the next ones count up."""
    frames: Annotated[int, Field(ge=1, le=MOST_FRAMES)] = 49
    """Frames of a clip. CogVideoX: 49."""
    height: Side = 480
    """Height of the clips, in pixels. CogVideoX: 480."""
    width: Side = 720
    """Width of the clips, in pixels. CogVideoX: 720."""
    fps: Annotated[int, Field(ge=1, le=1000)] = 8
    """Frames per second of the video files. CogVideoX: 8."""
    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] = 50
    """Denoising steps of the sampler. Paper's code: 50."""
    guidance_scale: Annotated[float, Field(ge=1)] = 6.0
    """Scale of classifier-free guidance; 1 turns it off. CogVideoX and the paper's code: 6."""
    guidance_scale_2: Annotated[float, Field(ge=1)] | None = None
    """That of the low-noise transformer of Wan2.2 A14B. Default: `guidance_scale`. Official, text to video: 4 and this 3."""
    negative_prompt: Annotated[str, Field(max_length=10_000)] = ""
    """What guidance leads away from, for all prompts. Nothing comes of it where `guidance_scale` is 1."""
    flow_shift: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Shift of the sampler's noise levels, for Wan. Default: that of the model's scheduler_config.json. Official for
    Wan2.2-T2V-A14B: 12; for Wan2.2's others: 5."""
    keep_latents: bool = True
    """Save the latents that a clip was decoded from, so that `encode` need not encode the compressed video."""
    adapter: Path | None = None
    """A LoRA with which candidates are generated: a folder or a file, of PEFT, diffusers, ComfyUI or kohya's trainers
    (docs/how-to/use-an-adapter.md). `evaluate` compares against the model without it."""
    adapter_scale: Strength = 1.0
    """Strength of that LoRA, as a factor of the strength it was trained with (alpha / rank)."""

    @model_validator(mode="after")
    def _bounded(self) -> "GenerateConfig":
        check_pixels(self.frames, self.height, self.width, most=MOST_PIXELS)
        if self.guidance_scale_2 is not None and self.guidance_scale == 1:
            raise ValueError("guidance_scale_2 has no effect where guidance_scale is 1")
        return self


def _two_or_all(frames: object) -> object:
    if frames == "all" or (isinstance(frames, int) and 2 <= frames <= 1_000_000):
        return frames
    raise ValueError(f"expected 2 or more frames, or all; got {str(frames)[:40]}")


class ScoreConfig(Config):
    """The critic that reconstructs clips, and the frames it is given."""

    critic: str = CRITIC
    """The critic: see `videogpa list critics`. Paper: vggt; sfm needs no weights."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the critic, such as weights or crop: `videogpa list critics NAME` names them."""
    frames: Annotated[int | Literal["all"], BeforeValidator(_two_or_all)] = FRAMES
    """Judged frames, evenly spread over the clip, first and last included; or `all`. Paper: 10."""
    window: Annotated[int, Field(ge=4, le=10_000)] = WINDOW
    """More judged frames than this are reconstructed in windows of this many frames, which are then joined."""
    overlap: Annotated[int, Field(ge=2, le=10_000)] = OVERLAP
    """Frames that a window shares with the next; at most half a window."""
    anchors: Annotated[int, Field(ge=2, le=10_000)] = ANCHORS
    """Frames of a clip longer than a window, evenly spread, with which each of its frames is compared."""
    lpips_net: Literal["alex", "vgg"] = LPIPS_NET
    """Network of LPIPS. Paper: vgg, whose trunk does not ship with the package and is fetched on first use."""
    scene: Reading | None = None
    """Name every pixel still, moving, broken or unseen: with `dynamic` something may move, with `static` whatever moves is
    broken. Default: pixels are not named, and the columns of shares, background and subject stay empty."""

    overlays: Overlays = "leave_out"
    """Logos, subtitles and watermarks leave the cloud and all errors, and bars are cut off; or `keep`, as in the paper."""
    cuts: Cuts = "decline"
    """A clip that is cut to another shot is declined; or `keep`, as in the paper. `sfm` finds cuts itself, from its matches."""

    @field_validator("critic")
    @classmethod
    def _registered(cls, name: str) -> str:
        return one_of(name, CRITICS)

    @model_validator(mode="after")
    def _possible(self) -> "ScoreConfig":
        if self.overlap > self.window // 2:
            raise ValueError(f"windows of {self.window} frames may share half of them with the next, not {self.overlap}")
        if self.options:  # else the plug-in need not be imported
            check_options(CRITICS, self.critic, self.options)
        return self


def _default_gap(settings: dict[str, Any]) -> float:
    measure = MEASURES.get(settings.get("measure", ""))
    return 0.0 if measure is None else measure.min_gap


class PairConfig(Config):
    """Which candidates become pairs: the best against the worst of a group, by one measure, at equal motion."""

    measure: str = "loo_error"
    """The measure that ranks candidates: see `videogpa list measures`. Paper: error_3dcs."""
    min_gap: Annotated[float, Field(ge=0)] = Field(default_factory=_default_gap)
    """Least difference between winner and loser, in the measure's unit. Default: 0.02 for loo_error (ours), 0.05 for
    error_3dcs (paper), 0 for others; the funnel that `videogpa pair` prints shows how many groups it drops."""
    min_sigma: Annotated[float, Field(ge=0)] = 1.0
    """Least gap in units of its standard error, the root of the sum of both scores' squares (docs/science/critics.md); 0: none.
    Rows without a standard error, of other measures or earlier versions, are compared by the gap alone. Paper: 0."""
    min_reliability: Reliability = "low"
    """Least `reliability` of both scores; `low` leaves out none. Rows of earlier versions have none, and take part."""
    winner_threshold: float | None = None
    """A winner must be at least this good by the measure. Default: no threshold; the paper's code sets one without using it."""
    motion: Literal["flow", "motion"] = "flow"
    """The measure of motion. Paper: motion, whose unit differs between reconstructions; flow is in image widths."""
    min_motion: Annotated[float, Field(ge=0)] = 0.001
    """Candidates that move less are left out. Paper: 0.001 of `motion`; of flow it is a thousandth of the image's width."""
    keep_motion: Fraction = 0.9
    """Least motion of a winner, as a share of its loser's: geometry alone favours frozen clips. With `score.scene` it holds for
    the camera's and the subjects' motion too, each for itself. Paper: 0, no such condition."""
    per_group: Positive = 1
    """Most pairs of a group, widest gap first."""
    clips_once: bool = True
    """Whether a clip is in one pair at most. With false and a large `per_group`, every two candidates that may be compared
    are a pair, as in the likelihood of a ranking."""

    @field_validator("measure")
    @classmethod
    def _has_direction(cls, name: str) -> str:
        one_of(name, MEASURES)
        if MEASURES[name].of != "clip":
            raise ValueError(f"{name!r} is a measure of all clips of a prompt, so that it cannot rank them")
        if MEASURES[name].better is None:
            raise ValueError(f"{name!r} has no better direction, so that it cannot rank clips")
        return name


def _listed(scales: object) -> object:
    return (scales,) if isinstance(scales, (int, float, str)) else scales


class EvaluateConfig(Config):
    """Base against aligned model on held-out prompts, on the same seeds."""

    critics: tuple[str, ...] = ()
    """The critics that score both models. Default: one that did not choose the pairs, da3 if `score.critic` is sfm, else
    sfm. A gain by the critic that chose the pairs may be over-optimisation of its score."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options by critic. Default: those of `score` for its critic, none for others."""
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 2
    """Clips per held-out prompt and model."""
    best_of: bool = True
    """Also choose the best of a prompt's clips by the critic of the pairs, and compare them: what the critic buys without
    training. With several seeds that critic then scores the clips too, unless `evaluate.adapter` is given."""
    judges: Annotated[dict[str, dict[str, Any]], BeforeValidator(with_options)] = Field(default_factory=dict)
    """Judges of both models' clips, by name, with their weights: {dino: FOLDER}, or {dino: {weights: FOLDER, device: cpu}}. See
    `videogpa list judges`. Nothing is fetched that is not named."""
    first_seed: Seed = 1_000_000
    """Seed of the first of these clips; far from those of the training candidates."""
    adapter: Path | None = None
    """Compare the base model with this LoRA, such as a published one, in place of the run's own; then nothing is trained. A
    folder or a file, as for `generate.adapter`."""
    adapter_scale: Annotated[tuple[Strength, ...], BeforeValidator(_listed)] = (1.0,)
    """Strength of the LoRA, as a factor of the strength it was trained with; of a list, each is compared with the base."""

    @field_validator("critics")
    @classmethod
    def _registered(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("name at least one critic")
        return tuple(one_of(name, CRITICS) for name in names)

    @field_validator("judges")
    @classmethod
    def _judging(cls, judges: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        checked(judges)
        return judges

    @field_validator("adapter_scale")
    @classmethod
    def _distinct(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if not scales or len({f"{scale:g}" for scale in scales}) < len(scales):
            raise ValueError("expected a number, or a list of different numbers")
        return scales

    @model_validator(mode="after")
    def _possible(self) -> "EvaluateConfig":
        for name, options in self.options.items() if self.critics else ():
            if name not in self.critics:
                raise ValueError(f"options of {name!r}, which is not among the critics")
            check_options(CRITICS, name, options)
        return self


class Recipe(Config):
    """A whole run, from prompts to report."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Name of the run; its folder is runs/NAME."""
    prompts: PromptsConfig
    model: ModelConfig
    generate: GenerateConfig = GenerateConfig()
    score: ScoreConfig = ScoreConfig()
    pair: PairConfig = PairConfig()
    train: TrainConfig = TrainConfig()
    evaluate: Annotated[EvaluateConfig, Field(validate_default=True)] = EvaluateConfig()
    rounds: RoundsConfig = RoundsConfig()
    workers: WorkersConfig = WorkersConfig()
    needs: Needs = Needs()

    @field_validator("evaluate")
    @classmethod
    def _choose_judge(cls, evaluate: EvaluateConfig, info: Any) -> EvaluateConfig:
        if evaluate.critics or "score" not in info.data:
            return evaluate
        return EvaluateConfig(**{**evaluate.model_dump(), "critics": (independent_critic(info.data["score"].critic),)})

    @model_validator(mode="after")
    def _possible_rounds(self) -> "Recipe":
        if self.rounds.count > 1 and self.evaluate.adapter is not None:
            raise ValueError("with evaluate.adapter nothing is trained: there is no second round (rounds.count)")
        if self.rounds.prompts == "next" and self.prompts.part is None:
            raise ValueError("rounds.prompts next needs prompts.part, such as [1, 48]: later rounds use the next parts")
        if self.generate.seed + self.rounds.count * self.generate.candidates > MOST_SEED:
            raise ValueError("generate.seed is too large: every round takes the next seeds for its candidates")
        return self

    def evaluating(self) -> list[ScoreConfig]:
        """Return the scoring settings of every critic in `evaluate.critics`: those of `score`, with its own options."""
        of_pairs = {self.score.critic: self.score.options}
        options = {**of_pairs, **self.evaluate.options}
        return [
            self.score.model_copy(update={"critic": name, "options": options.get(name, {})}) for name in self.evaluate.critics
        ]


def independent_critic(pairs_by: str) -> str:
    """Return the default critic of `evaluate`: another than the one that chose the pairs.

    `sfm` needs no weights. Where it chose the pairs itself no second critic without weights exists, and `da3` (Apache-2.0)
    takes its place.
    """
    return "da3" if pairs_by == "sfm" else "sfm"
