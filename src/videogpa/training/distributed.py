"""Several processes that train as one: each on its share of the pairs of a step, with whole or with sharded weights.

Only the adapter is trained, and it is small: its gradients are averaged once a step, when all of a process's pairs are done.
That is what a wrapper such as DDP does, but for the overlap with the backward pass, and it does not mind experts that no
timestep of a step has called upon.

FSDP2 divides the frozen weights over the processes, which gather those of a layer for as long as it is at work (Zhao et al.
2023, https://arxiv.org/abs/2304.11277; torch.distributed.fsdp.fully_shard). The adapter is put on afterwards and stays whole in
every process, so that clipping, optimizer and checkpoints are what they are without sharding.

The trap: each run of a sharded layer is a call that all processes must make together. They must run the network equally often,
in training and in validation, and a layer must not be left out because of what a process's own samples are.
"""

import logging
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import Module, Parameter

from videogpa.config import ModelConfig
from videogpa.errors import UserError
from videogpa.models.base import Part, VideoModel
from videogpa.models.loading import load_model
from videogpa.storage.run_folder import RunFolder

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


def broadcast(accelerator: Accelerator, value: T) -> T:
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


_GIB = 2**30
_TRAINED: tuple[Part, ...] = ("transformer",)

_log = logging.getLogger(__name__)


def wanted() -> bool:
    """Return whether `accelerate launch` was told to shard the weights.

    Raises:
        UserError: If it was told to in a way that is not supported; the message names the setting.
    """
    if not _set("ACCELERATE_USE_FSDP"):
        return False
    for setting, found, instead in _REFUSED:
        if found():
            raise UserError(f"accelerate's {setting} is not supported with sharded weights: {instead}.")
    return True


def load_sharded(config: ModelConfig, folder: RunFolder, accelerator: Accelerator) -> VideoModel:
    """Return the recipe's model with its transformer alone, each process holding its share of it on its device.

    Every process reads the whole transformer into the CPU's memory, and hands it to its device layer by layer: at once with the
    others of its machine, or where accelerate's `cpu_ram_efficient_loading` is on after them, so that there is one at a time.
    """
    # We never change a prediction in place, which FSDP warns of at every step.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor", category=UserWarning)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    turns = int(os.environ["LOCAL_WORLD_SIZE"]) if _set("FSDP_CPU_RAM_EFFICIENT_LOADING") else 1
    for turn in range(turns):
        if accelerator.local_process_index % turns == turn:
            model = load_model(config.model_copy(update={"device": "cpu"}), folder, parts=_TRAINED)
            shard(model.transformer, mesh)
        accelerator.wait_for_everyone()
    held, whole = (sum(sizes) / _GIB for sizes in zip(*map(_bytes, model.transformer.parameters()), strict=True))
    _log.info("FSDP2: this process holds %.3g of %.3g GiB of frozen weights", held, whole)
    return model


def shard(transformer: Module, mesh: DeviceMesh) -> None:
    """Divide the weights of a frozen network over the mesh, in place; what diffusers does not split is gathered as one."""
    names = {name for part in transformer.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    for layer in [part for part in transformer.modules() if type(part).__name__ in names]:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(transformer, mesh=mesh, reshard_after_forward=True)


def numbers_held(parameter: torch.Tensor) -> int:
    """Return how many numbers of a parameter, which may be sharded, this process holds."""
    return (parameter.to_local() if isinstance(parameter, DTensor) else parameter).numel()


def _bytes(parameter: torch.Tensor) -> tuple[int, int]:
    return numbers_held(parameter) * parameter.element_size(), math.prod(parameter.shape) * parameter.element_size()


def _set(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1")


_REFUSED: tuple[
    tuple[str, Callable[[], bool], str], ...
] = (  # of the configuration, which the launcher hands over in these variables
    ("fsdp_version: 1", lambda: os.environ.get("FSDP_VERSION", "1") != "2", "set fsdp_version: 2"),
    (
        "mixed_precision",
        lambda: os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no",
        "leave it at no, and see model.dtype",
    ),
    (
        "fsdp_reshard_after_forward: false",
        lambda: os.environ.get("FSDP_RESHARD_AFTER_FORWARD") == "false",
        "it would leave every process with all weights; set it to true",
    ),
    ("fsdp_offload_params", lambda: _set("FSDP_OFFLOAD_PARAMS"), "set it to false"),
    ("fsdp_ignored_modules", lambda: "FSDP_IGNORED_MODULES" in os.environ, "leave it out"),
    (
        "fsdp_activation_checkpointing",
        lambda: _set("FSDP_ACTIVATION_CHECKPOINTING"),
        "set it to false, and train.gradient_checkpointing=true",
    ),
    ("parallelism_config", lambda: _set("ACCELERATE_USE_PARALLELISM_CONFIG"), "leave it out"),
)
