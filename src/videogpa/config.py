"""Recipes: one frozen, validated class per stage. YAML in and out; unknown keys and impossible values are refused.

Settings with a value from the paper (arXiv 2601.23286) name it; where our default differs, the reason stands beside it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from videogpa.errors import UserError
from videogpa.measures import MEASURES
from videogpa.records import Style
from videogpa.registry import CRITICS, MODELS, check_options, load

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """A section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


C = TypeVar("C", bound=Config)


Language = Literal["scripted", "natural"]
"""How prompts ask for a camera path: always in the same words, or in those that people might choose."""


class WorldPrompts(Config):
    """Prompts that are scenes of the miniature world, whose exact geometry is known."""

    train: Positive = 8
    held_out: Annotated[int, Field(ge=2)] = 4  # an interval takes two or more
    seed: NonNegative = 0
    frames: Annotated[int, Field(ge=2)] = 9
    height: Positive = 64
    width: Positive = 64
    style: Style = "rich"  # `plain` for models that learn on a CPU
    language: Language = "scripted"  # `natural` asks for the same camera paths in many other words


class CameraPrompts(Config):
    """Texts are made to ask for a static scene and for moves of the camera, from the fewest to the most (paper: 2 to 3)."""

    moves: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(le=4)]] = (2, 3)  # a clip of 2 to 5 s has no room for more
    seed: NonNegative = 0

    @field_validator("moves")
    @classmethod
    def _ordered(cls, moves: tuple[int, int]) -> tuple[int, int]:
        if moves[0] > moves[1]:
            raise ValueError("expected [fewest, most]")
        return moves


class PromptsConfig(Config):
    """Where the prompts come from: a file, a folder of images, or the miniature world (docs/prompts.md).

    A prompt per image asks for moves of the camera; texts of a file are used as they are, unless `camera` is given.
    """

    file: Path | None = None
    images: Path | None = None
    world: WorldPrompts | None = None
    camera: CameraPrompts | None = None
    held_out: NonNegative = 0  # so many of the training prompts are kept for `evaluate`; a file can also say itself which

    @model_validator(mode="after")
    def _one_source(self) -> "PromptsConfig":
        if sum(source is not None for source in (self.file, self.images, self.world)) != 1:
            raise ValueError("give one of `file`, `images` and `world`")
        if self.world is not None and (self.camera is not None or self.held_out):
            raise ValueError("`world` writes its own texts, and holds out what `world.held_out` says")
        return self


class ModelConfig(Config):
    """The video model: its adapter in the registry, and a diffusers folder, a hub id, or `toy:NAME`."""

    name: str
    path: str
    revision: str | None = None
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    offload: bool = False  # on a GPU: parts at rest wait on the CPU; the same clips, more slowly
    tiling: bool = False  # the VAE works on overlapping tiles: far less memory, slightly other clips
    expert: Literal["both", "high", "low"] = "both"  # of Wan2.2 A14B's two: which is trained

    @field_validator("name")
    @classmethod
    def _registered(cls, name: str) -> str:
        return _one_of(name, MODELS)


class GenerateConfig(Config):
    """Candidates per prompt (paper: 3) and how they are sampled (CogVideoX: 50 steps, guidance 6)."""

    candidates: Positive = 4  # one more than the paper's 3: the best-worst gap grows with the group
    seed: NonNegative = 0
    frames: Positive = 49
    height: Positive = 480
    width: Positive = 720
    fps: Positive = 8
    num_inference_steps: Positive = 50
    guidance_scale: Annotated[float, Field(ge=1)] = 6.0
    keep_latents: bool = True  # beside the clips made from now on: `encode` need not encode what was compressed
    adapter: Path | None = None  # a LoRA in PEFT's format, ours or published; `evaluate` compares without it
    adapter_scale: Annotated[float, Field(ge=0)] = 1.0  # times the strength it was trained with, alpha / r


def _two_or_all(frames: object) -> object:
    if frames == "all" or (isinstance(frames, int) and frames >= 2):
        return frames
    raise ValueError(f"expected 2 or more frames, or all; got {frames}")


class ScoreConfig(Config):
    """The critic, and the frames it judges (paper: 10, uniformly sampled, first and last included)."""

    critic: str = "sfm"
    options: dict[str, Any] = {}  # of the critic: weights, crop, ... (docs/critics.md)
    frames: Annotated[int | Literal["all"], BeforeValidator(_two_or_all)] = 10
    window: Annotated[int, Field(ge=4)] = 32  # more frames than that are reconstructed in windows, which are then joined
    overlap: Annotated[int, Field(ge=2)] = 8  # frames that a window shares with the next
    anchors: Annotated[int, Field(ge=2)] = 64  # frames of a long clip, evenly spread, that all its frames are compared with
    lpips_net: Literal["alex", "vgg"] = "alex"  # the paper's is vgg, which does not ship with the package

    @field_validator("critic")
    @classmethod
    def _registered(cls, name: str) -> str:
        return _one_of(name, CRITICS)

    @model_validator(mode="after")
    def _possible(self) -> "ScoreConfig":
        if self.overlap > self.window // 2:
            raise ValueError(f"windows of {self.window} frames may share half of them with the next, not {self.overlap}")
        if self.options:  # else the plug-in need not be imported
            check_options(CRITICS, self.critic, self.options)
        return self


class PairConfig(Config):
    """Which candidates become pairs: best against worst of a group, by one measure, at equal motion."""

    measure: str = "loo_error"
    min_gap: Annotated[float, Field(ge=0)] = 0.05  # the paper's, for its 3DCS
    winner_threshold: float | None = None  # a winner is at least this good by the measure; official code: set, never applied
    motion: Literal["flow", "motion"] = "flow"  # the paper's is `motion`, in a unit that differs between reconstructions
    min_motion: Annotated[float, Field(ge=0)] = 0.001  # the paper's, for `motion`; of flow, a thousandth of the image's width
    keep_motion: Fraction = 0.9  # the winner's share of the loser's motion: geometry rewards favour frozen clips
    per_group: Positive = 1  # pairs of a group at most, widest gap first, no clip twice

    @field_validator("measure")
    @classmethod
    def _has_direction(cls, name: str) -> str:
        _one_of(name, MEASURES)
        if MEASURES[name].better is None:
            raise ValueError(f"{name!r} has no better direction, so that it cannot rank clips")
        return name


class TimestepsConfig(Config):
    """Which noise levels training sees: all alike (paper), or a bell over them, as flow-matching models are trained."""

    sampling: Literal["uniform", "logit-normal"] = "uniform"
    logit_mean: float = 0.0  # of the logit; these two are the best all-rounders of Esser et al. 2024, section 5.1
    logit_std: Annotated[float, Field(gt=0)] = 1.0
    shift: Annotated[float, Field(gt=0)] = 1.0  # towards noise, as a flow-matching scheduler's; 1 leaves them


class TrainConfig(Config):
    """LoRA on preference pairs (paper: r 64, alpha 128, AdamW, lr 5e-6, cosine, 500 warm-up, batch 16, clip 1.0)."""

    loss: Literal["dpo", "sft", "dpo+sft"] = "dpo"
    beta: Annotated[float, Field(gt=0)] = 500.0  # as Epipolar-DPO; the official 1.0 leaves the loss linear
    # The DPO term pulls at the winner's error with beta / 2 where it is fully wrong, and beta / 4 at first: 50 is mild.
    sft_weight: Annotated[float, Field(gt=0)] = 50.0
    static_weight: Annotated[float, Field(ge=0)] = 0.0  # of the static penalty of Epipolar-DPO; their code's default is 0 too
    timesteps: TimestepsConfig = TimestepsConfig()
    steps: Positive = 1000
    batch_size: Positive = 1
    gradient_accumulation_steps: Positive = 16
    learning_rate: Annotated[float, Field(gt=0)] = 5e-6
    lr_scheduler: Literal["cosine", "constant"] = "cosine"
    warmup_steps: NonNegative = 500
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    lora_rank: Positive = 64
    lora_alpha: Positive = 128
    seed: NonNegative = 0
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    joint_forward: bool = True  # all clips in one forward pass; in turn: one clip's activations at a time
    gradient_checkpointing: bool = False  # activations are computed again: a fraction of the memory, a third more time
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.05  # share of the prompts whose pairs are measured, never trained on
    validate_every: Positive = 100
    checkpoint_every: Positive = 100
    log_every: Positive = 1
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] | None = None  # open: tensorboard if it is installed


class EvaluateConfig(Config):
    """Base against aligned on held-out prompts, on the same seeds, judged by critics that need not be the teacher."""

    critics: tuple[str, ...] = ("sfm",)
    options: dict[str, dict[str, Any]] = {}  # by critic; the teacher's are those of `score`, if none stand here
    seeds: Positive = 2
    first_seed: NonNegative = 1_000_000  # far from the seeds of the training candidates

    @field_validator("critics")
    @classmethod
    def _registered(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("name at least one critic")
        return tuple(_one_of(name, CRITICS) for name in names)

    @model_validator(mode="after")
    def _possible(self) -> "EvaluateConfig":
        for name, options in self.options.items():
            if name not in self.critics:
                raise ValueError(f"options of {name!r}, which is not among the critics")
            check_options(CRITICS, name, options)
        return self


class WorkersConfig(Config):
    """Who generates, scores and encodes: this process, or workers that Ray runs. No influence on what comes out.

    Several machines share the run folder through a file system that all see at the same path.
    """

    count: Positive = 1
    ray: str | None = None  # the address of a running cluster, `auto` to find it; else workers run on this machine
    gpus: Annotated[float, Field(ge=0)] | None = None  # of one worker; by default 1 where there are GPUs


class Needs(Config):
    """What a machine must have to run the recipe; `videogpa doctor` compares."""

    gpu_gib: Annotated[float, Field(ge=0)] = 0
    memory_gib: Annotated[float, Field(ge=0)] = 4


class Recipe(Config):
    """A whole run, from prompts to report."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    prompts: PromptsConfig
    model: ModelConfig
    generate: GenerateConfig = GenerateConfig()
    score: ScoreConfig = ScoreConfig()
    pair: PairConfig = PairConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    workers: WorkersConfig = WorkersConfig()
    needs: Needs = Needs()

    def evaluating(self) -> list[ScoreConfig]:
        """The settings of every critic that compares base and aligned: those of `score`, with its own options."""
        teacher = {self.score.critic: self.score.options}
        options = {**teacher, **self.evaluate.options}
        return [
            self.score.model_copy(update={"critic": name, "options": options.get(name, {})}) for name in self.evaluate.critics
        ]


def _one_of(name: str, table: Any) -> str:
    if name not in table:
        raise ValueError(f"unknown name {name!r}; one of: {', '.join(sorted(table))}")
    return name


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, with overrides such as `train.steps=20` (values in YAML) laid over it.

    Raises:
        UserError: If the file is missing, is no mapping, or holds an unknown key or an impossible value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no recipe at {path}; `videogpa list recipes` shows those that come with the package") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a recipe: expected sections such as `model:` and `train:`")
    content.pop("provenance", None)  # of the run that wrote the file; this run writes its own
    for override in overrides:
        _set(content, override)
    return _validated(Recipe, content, str(path))


def score_config(**settings: Any) -> ScoreConfig:
    """Make the settings of scoring from those of a command or call.

    Raises:
        UserError: If one of them is impossible.
    """
    return _validated(ScoreConfig, settings, "what was asked for")


def paper_protocol(critic: str) -> dict[str, Any]:
    """Return the settings of scoring with which the paper scored: 10 frames, LPIPS of VGG, and the critic's own options.

    Raises:
        UserError: If there is no such critic, or the paper did not use it.
    """
    options = getattr(load(CRITICS, score_config(critic=critic).critic), "PAPER", None)
    if options is None:
        raise UserError(f"the paper did not score with {critic!r}; see docs/critics.md for the critics that it used")
    return {"critic": critic, "frames": 10, "lpips_net": "vgg", "options": dict(options)}


def parse_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """Return what settings such as `crop=centre` (values in YAML) say.

    Raises:
        UserError: If one is not of that form.
    """
    content: dict[str, Any] = {}
    for override in overrides:
        _set(content, override)
    return content


def workers_config(count: int, ray: str | None) -> WorkersConfig:
    """Make the settings of workers from a command line.

    Raises:
        UserError: If one of them is impossible.
    """
    return _validated(WorkersConfig, {"count": count, "ray": ray}, "the command line")


def _validated(kind: type[C], content: dict[str, Any], origin: str) -> C:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = [".".join(map(str, e["loc"])) + ": " + e["msg"].removeprefix("Value error, ") for e in error.errors()]
        listed = "\n".join(f"  {problem.removeprefix(': ')}" for problem in problems)
        raise UserError(f"{origin} cannot be used:\n{listed}") from None


def _set(content: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    if not equals or not name:
        raise UserError(f"{override!r}: expected NAME=VALUE, such as train.steps=20")
    *sections, leaf = name.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise UserError(f"{override!r}: {section!r} is a value, not a section")
    try:
        content[leaf] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"{override!r}: the value is not YAML: {error}") from None
