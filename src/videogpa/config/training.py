"""The settings of training. "Paper" is arXiv 2601.23286; each docstring gives the source of a default."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from videogpa.config.base import Config, NonNegative, Positive, Seed


class TimestepsConfig(Config):
    """Which noise levels training draws: uniform (paper) or logit-normal (SD3)."""

    sampling: Literal["uniform", "logit-normal"] = "uniform"
    """Distribution of the noise levels. Paper: uniform; logit-normal is how flow-matching models are trained."""
    logit_mean: float = 0.0
    """Mean of the logit, for logit-normal. Esser et al. 2024, section 5.1: 0 with a deviation of 1 is best overall."""
    logit_std: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of the logit, for logit-normal."""
    shift: Annotated[float, Field(gt=0)] = 1.0
    """Shift towards noise, by the formula of flow-matching schedulers (their `shift` or `flow_shift`); 1 shifts nothing."""
    weighting: Literal["none", "bell"] = "none"
    """Weight of a pair's loss by its noise level: none (paper), or the bell of DiffSynth-Studio, as Epipolar-DPO: 1.6 in the
    middle (2.1 with a shift of 5), 0 at pure noise, and a mean of 1 over the shifted levels."""


class TrainConfig(Config):
    """LoRA fine-tuning on preference pairs."""

    loss: Literal["dpo", "sdpo", "dpop", "linear", "sft", "dpo+sft", "sdpo+sft", "dpop+sft", "linear+sft"] = "dpo+sft"
    """The loss. Paper: dpo, under which the policy may denoise winners worse too. sdpo scales losers down so that winners do
    not get worse, dpop punishes it, linear goes on with what is learned; `+sft` adds the winner's error."""
    beta: Annotated[float, Field(gt=0)] = 500.0
    """Strength of the preference, in Diffusion-DPO's convention. 500: Epipolar-DPO; the paper's code: 2, a near-linear loss."""
    sft_weight: Annotated[float, Field(gt=0)] = 50.0
    """Weight of the winner's error in losses with `+sft`. Ours; the DPO term's own weight on it is beta / 4 = 125 at first."""
    sdpo_mu: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Which part of a step's gain on the winner sdpo keeps; at 1 it ignores most losers. Its authors: 0.6 and 0.9."""
    dpop_lambda: Annotated[float, Field(ge=0)] = 1.0
    """Weight of dpop's penalty, in units of the winner's gain in the logit. Ours; for language models its authors take 50."""
    linear_eta: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Least weight of a pair in linear, however well it is learned; the most is 1 less it. Ours."""
    pair_weighting: Literal["none", "confidence"] = "none"
    """Weight of a pair's loss: none (paper), or by how sure its order is, the probability that the winner is the better clip
    minus that of the reverse, given the standard errors of both scores. Ours."""
    static_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of Epipolar-DPO's penalty on static clips. 0 is also that code's default."""
    timesteps: TimestepsConfig = TimestepsConfig()
    """The noise levels of training."""
    steps: Positive = 1000
    """Optimizer steps. Paper: 10,000 (1,500 for CogVideoX1.5), with a release after 1,000 steps called strong."""
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Pairs of one forward pass, per process."""
    gradient_accumulation_steps: Positive = 16
    """Forward passes per optimizer step. Paper: 16 pairs a step in all; divide by the number of GPUs."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-6
    """Learning rate at its highest. Paper: 5e-6."""
    lr_scheduler: Literal["cosine", "constant"] = "cosine"
    """The learning rate after warm-up: falls to 0 along a cosine (paper), or stays."""
    warmup_steps: NonNegative = 500
    """Optimizer steps over which the learning rate rises from 0. Paper's code: 500."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Weight decay of AdamW. 0.01 is torch's default, which the paper's code keeps."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm. Paper: 1."""
    lora_rank: Annotated[int, Field(ge=1, le=4096)] = 64
    """Rank of the LoRA. Paper: 64."""
    lora_alpha: Positive = 128
    """Scale of the LoRA: its update is multiplied by alpha / rank. Paper: 128."""
    initial_adapter: Path | None = None
    """Train on from this LoRA, of the same rank and alpha, in place of a new one: a folder or a file, as for
    `generate.adapter`. The adapter that is trained then holds both, and belongs to the same model."""
    reference: Literal["previous", "base"] = "previous"
    """With `initial_adapter`, the reference of DPO: the policy that training starts from (as SPIN-Diffusion and other iterative
    methods), or the model without a LoRA. Without `initial_adapter` the two are one."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Dtype of the frozen weights while training; null: that of `model.dtype`. Clips and latents do not depend on it."""
    seed: Seed = 0
    """Seed of the adapter's start, the order of the pairs, the noise and the noise levels."""
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """AdamW, or AdamW with its state in 8 bits (GPU only; pip install 'videogpa[bitsandbytes]')."""
    joint_forward: bool = True
    """true: winner and loser in one forward pass; false: one after the other, half the activation memory."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a tenth of their memory, a third more time."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the prompts, rounded down, whose pairs are measured and never trained on. Paper's code: 0.02."""
    validate_every: Positive = 100
    """Steps between measurements on the held-out pairs."""
    checkpoint_every: Positive = 100
    """Steps between checkpoints; the last two are kept."""
    log_every: Positive = 1
    """Steps between rows of metrics.jsonl."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] | None = None
    """Where curves are sent besides metrics.jsonl. Default: tensorboard, if it is installed."""
