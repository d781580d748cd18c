"""How gradients are added up: in float16 scaled, so that they do not vanish, and divided afterwards; else as they are.

float16 has no number between 0 and 6e-8, and loses digits below 6e-5. A denoising error is a mean over all numbers of a clip's
latents, a million and more, so that the gradient of each number is about a millionth, and half of them or more become 0 on
their way through the network. The remedy is that of Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740: multiply the
loss by a factor, and divide the adapter's gradients, which are float32, by it. Ours follows from the size of the clips and from
the loss, and is a power of two, so that it changes no digit of a number that float16 holds anyway.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from videogpa.config import TrainConfig
from videogpa.training.data import Batch


def compute_dtype(frozen: Sequence[Parameter]) -> torch.dtype:
    """Return the dtype that a network computes in: that of most of its numbers. diffusers keeps a few of Wan's in float32."""
    numbers: dict[torch.dtype, int] = {}
    for parameter in frozen:
        numbers[parameter.dtype] = numbers.get(parameter.dtype, 0) + parameter.numel()
    return max(numbers, key=lambda dtype: numbers[dtype])


def loss_scale(dtype: torch.dtype, batch: Batch, settings: TrainConfig) -> float:
    """Return the factor by which losses are multiplied before their gradients are computed.

    With it the gradient of a predicted number is about the difference between prediction and target, or smaller.

    Args:
        dtype: What the network computes in. For another than float16 the factor is 1.
        batch: A batch such as training sees; its size counts.
        settings: The loss with its weights, and how many batches a step has.
    """
    if dtype != torch.float16:
        return 1.0
    numbers = batch.winner.numel() * settings.gradient_accumulation_steps  # of which the loss of a step is a mean
    return 2.0 ** round(math.log2(numbers / _steepest(settings)))


def _steepest(settings: TrainConfig) -> float:
    """Return the largest slope of the loss of a pair with respect to a denoising error."""
    preference, _, winners = settings.loss.partition("+")
    if preference == "sft":
        return 1.0 + settings.static_weight
    steepest = settings.beta / 2 * (1 + settings.dpop_lambda if preference == "dpop" else 1)
    return steepest + (settings.sft_weight if winners else 0.0) + settings.static_weight


@dataclass(frozen=True)
class Backpropagation:
    """Adds the gradients of the batches of a step, whose loss is the mean over its batches."""

    batches: int
    scale: float = 1.0
    """The factor on the gradients until `finish`; see `loss_scale`."""

    def __call__(self, loss: Tensor) -> None:
        """Add the gradients of a batch's loss.

        Not by accelerate's `backward`, which divides them once more by a number that it finds in the environment.
        """
        (self.scale * (loss / self.batches)).backward()  # type: ignore[no-untyped-call]

    def finish(self, trained: Sequence[Parameter]) -> None:
        """Divide the gradients by the factor. It is a power of two, so that no digit changes."""
        if self.scale != 1:
            for parameter in trained:
                if parameter.grad is not None:
                    parameter.grad.div_(self.scale)
