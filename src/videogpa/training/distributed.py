"""Several processes that train as one: each on its share of the pairs of a step, with whole or with sharded weights.

Only the adapter is trained, and it is small: its gradients are averaged once a step, after the backward passes of all of a
process's pairs. A wrapper such as DDP does the same, and overlaps it with the backward pass; but it stumbles over experts that
none of a step's timesteps needs.

FSDP2 divides the frozen weights over the processes, which gather those of a layer for as long as it is at work (Zhao et al.
2023, https://arxiv.org/abs/2304.11277; torch.distributed.fsdp.fully_shard). The adapter is added afterwards and stays whole in
every process, so that clipping, optimizer and checkpoints are what they are without sharding.

The trap: each run of a sharded layer is a call that all processes must make together. They must run the network equally often,
in training and in validation, and no layer may be left out because of what a process's own samples are.
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
from videogpa.models.base import TRAINED_PARTS, VideoModel
from videogpa.models.loading import load_model
from videogpa.storage.run_folder import RunFolder

_GIB = 2**30

_log = logging.getLogger(__name__)

T = TypeVar("T")


def new_accelerator(device: torch.device, trackers: Sequence[str], folder: Path) -> Accelerator:
    """Return the accelerator, after joining the other processes if there are any. On GPUs each process takes its own as `cuda`.

    Args:
        device: The device of the recipe; a CPU keeps accelerate from taking a GPU.
        trackers: Names of the trackers that the metrics are sent to.
        folder: Where trackers write that write files.

    Raises:
        UserError: If accelerate was told to use DeepSpeed, Megatron-LM or mixed precision.
    """
    for variable, name in (("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"), ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM")):
        if _is_set(variable):
            raise UserError(
                f"{name} is not supported. Launch with --multi_gpu, or with FSDP2 where a GPU does not hold the weights: see "
                "docs/how-to/many-gpus.md."
            )
    if _mixed_precision():
        raise UserError(
            f"accelerate's mixed_precision {os.environ['ACCELERATE_MIXED_PRECISION']} is not supported: leave it at no (the "
            "variable ACCELERATE_MIXED_PRECISION, or `accelerate launch --mixed_precision no`), and see train.dtype."
        )
    return Accelerator(cpu=device.type == "cpu", mixed_precision="no", log_with=list(trackers) or None, project_dir=folder)


def positions(step: int, part: int, *, batch: int, accumulate: int, process: int, processes: int) -> range:
    """Return the sampler's positions of one forward pass. Those of a step are the same however they are divided.

    Args:
        step: The step, 0, 1, ...
        part: Which of the step's `accumulate` batches of this process.
        batch: Pairs per batch.
        accumulate: Batches per step and process.
        process: The index of this process.
        processes: How many processes there are.
    """
    first = (step * accumulate + part) * processes + process
    return range(first * batch, (first + 1) * batch)


def broadcast(accelerator: Accelerator, value: T) -> T:
    """Send the main process's value to all processes, and return it."""
    if accelerator.num_processes == 1:
        return value
    sent: T = broadcast_object_list([value])[0]
    return sent


def average_gradients(accelerator: Accelerator, parameters: Sequence[Parameter]) -> None:
    """Replace the gradients by their means over the processes. A parameter that was not used has a gradient of zero.

    That holds for a single process too, so that any number of processes treats an expert that none of a step's timesteps needs
    in the same way.
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
    accelerator: Accelerator, measured: Sequence[Mapping[str, float]], *, counted: int | None = None
) -> dict[str, float]:
    """Return the means of what was measured, over all measurements of all processes.

    Args:
        accelerator: The processes.
        measured: This process's measurements: one or more, with the same names in the same order in every process.
        counted: How many of them count, from the first; by default all do. May be 0.
    """
    count = len(measured) if counted is None else counted
    names = list(measured[0])
    sums = [math.fsum(numbers[name] for numbers in measured[:count]) for name in names]
    if accelerator.num_processes > 1:
        total = torch.tensor([*sums, count], dtype=torch.float64, device=accelerator.device)
        *sums, count = accelerator.reduce(total, reduction="sum").tolist()
    return {name: value / count for name, value in zip(names, sums, strict=True)}


def add_up(accelerator: Accelerator, numbers: torch.Tensor) -> torch.Tensor:
    """Return the sums over all processes of numbers that each of them has, on the CPU."""
    if accelerator.num_processes == 1:
        return numbers
    total: torch.Tensor = accelerator.reduce(numbers.to(accelerator.device), reduction="sum")
    return total.cpu()


def sharding_requested() -> bool:
    """Return whether `accelerate launch` was told to shard the weights.

    Raises:
        UserError: If it was told to in a way that is not supported; the message names the setting.
    """
    if not _is_set("ACCELERATE_USE_FSDP"):
        return False
    for setting, is_found, instead in _REFUSED:
        if is_found():
            raise UserError(f"accelerate's {setting} is not supported with sharded weights: {instead}.")
    return True


def load_sharded(config: ModelConfig, folder: RunFolder, accelerator: Accelerator) -> VideoModel:
    """Load the model's transformer, of which each process holds its share on its device.

    Every process reads the whole transformer into the CPU's memory and hands it to its device layer by layer. The processes of
    a machine do so at once or, where accelerate's `cpu_ram_efficient_loading` is on, one after the other, so that the machine's
    memory holds one transformer at a time.
    """
    # We never change a prediction in place, which FSDP warns of at every step.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor", category=UserWarning)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    turns = int(os.environ["LOCAL_WORLD_SIZE"]) if _is_set("FSDP_CPU_RAM_EFFICIENT_LOADING") else 1
    for turn in range(turns):
        if accelerator.local_process_index % turns == turn:
            model = load_model(config.model_copy(update={"device": "cpu"}), folder, parts=TRAINED_PARTS)
            shard(model.transformer, mesh)
        accelerator.wait_for_everyone()
    held, whole = (sum(sizes) / _GIB for sizes in zip(*map(_bytes, model.transformer.parameters()), strict=True))
    _log.info("FSDP2: this process holds %.3g of %.3g GiB of frozen weights", held, whole)
    return model


def shard(transformer: Module, mesh: DeviceMesh) -> None:
    """Divide the weights of a frozen network over the mesh, in place. What diffusers does not split is gathered as one."""
    names = {name for part in transformer.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    for layer in [part for part in transformer.modules() if type(part).__name__ in names]:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(transformer, mesh=mesh, reshard_after_forward=True)


def numbers_held(parameter: torch.Tensor) -> int:
    """Return how many numbers of a parameter, which may be sharded, this process holds."""
    return (parameter.to_local() if isinstance(parameter, DTensor) else parameter).numel()


def _bytes(parameter: torch.Tensor) -> tuple[int, int]:
    """Return the bytes of a parameter that this process holds, and those of the whole parameter."""
    return numbers_held(parameter) * parameter.element_size(), math.prod(parameter.shape) * parameter.element_size()


def _mixed_precision() -> bool:
    return os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower() not in ("", "no")


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1")


# Settings of accelerate's configuration that are refused: how they are called, whether they are set (the launcher hands the
# configuration over in environment variables), and what to do instead.
_REFUSED: tuple[tuple[str, Callable[[], bool], str], ...] = (
    ("fsdp_version: 1", lambda: os.environ.get("FSDP_VERSION", "1") != "2", "set fsdp_version: 2"),
    (
        "mixed_precision",
        _mixed_precision,
        "leave it at no, and see train.dtype",
    ),
    (
        "fsdp_reshard_after_forward: false",
        lambda: os.environ.get("FSDP_RESHARD_AFTER_FORWARD") == "false",
        "it would leave every process with all weights; set it to true",
    ),
    ("fsdp_offload_params", lambda: _is_set("FSDP_OFFLOAD_PARAMS"), "set it to false"),
    ("fsdp_ignored_modules", lambda: "FSDP_IGNORED_MODULES" in os.environ, "leave it out"),
    (
        "fsdp_activation_checkpointing",
        lambda: _is_set("FSDP_ACTIVATION_CHECKPOINTING"),
        "set it to false, and train.gradient_checkpointing=true",
    ),
    ("parallelism_config", lambda: _is_set("ACCELERATE_USE_PARALLELISM_CONFIG"), "leave it out"),
)
