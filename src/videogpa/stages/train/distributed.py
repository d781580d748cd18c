"""Several processes, on GPUs of one or more machines, that train as one: each on its share of the pairs of a step.

Only the adapter is trained, and it is small: its gradients are averaged once a step, when all of a process's pairs are done.
That is what a wrapper such as DDP does, but for the overlap with the backward pass, and it does not mind experts that no
timestep of a step has called upon.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.nn import Parameter

from videogpa.errors import UserError

T = TypeVar("T")


def new_accelerator(device: torch.device, trackers: Sequence[str], folder: Path) -> Accelerator:
    """Return the accelerator, and join the other processes if there are any. On GPUs each process takes its own as `cuda`.

    Raises:
        UserError: If accelerate was told to use DeepSpeed.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise UserError(
            "DeepSpeed is not supported. Launch with --multi_gpu, or with FSDP2 where a GPU does not hold the weights: see "
            "docs/training.md."
        )
    return Accelerator(cpu=device.type == "cpu", log_with=list(trackers) or None, project_dir=folder)


def agreed(accelerator: Accelerator, value: T) -> T:
    """Return what the main process says."""
    if accelerator.num_processes == 1:
        return value
    said: T = broadcast_object_list([value])[0]
    return said


def positions(step: int, part: int, *, batch: int, accumulate: int, process: int, processes: int) -> range:
    """Return the sampler's positions of one forward pass: those of a step are the same however they are divided."""
    first = (step * accumulate + part) * processes + process
    return range(first * batch, (first + 1) * batch)


def average_gradients(accelerator: Accelerator, parameters: Sequence[Parameter]) -> None:
    """Replace the gradients by their means over the processes. A parameter that was not used here has a gradient of zero.

    In a single process, too: an expert that no timestep of a step has called upon is treated alike by any number of them.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if accelerator.num_processes == 1:
        return
    flat = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
    means = accelerator.reduce(flat, reduction="mean")
    for parameter, mean in zip(parameters, means.split([parameter.numel() for parameter in parameters]), strict=True):
        parameter.grad = mean.view_as(parameter)


def average_numbers(
    accelerator: Accelerator, measured: Sequence[Mapping[str, float]], names: Sequence[str]
) -> dict[str, float]:
    """Return the means of these numbers over all that was measured, in all processes."""
    sums = [math.fsum(numbers[name] for numbers in measured) for name in names]
    if accelerator.num_processes > 1:
        total = torch.tensor([*sums, len(measured)], dtype=torch.float64, device=accelerator.device)
        *sums, count = accelerator.reduce(total, reduction="sum").tolist()
    else:
        count = len(measured)
    return {name: value / count for name, value in zip(names, sums, strict=True)}
