"""FSDP2: the frozen weights are divided over the processes, which gather those of a layer for as long as it is at work.

Zhao et al. 2023, https://arxiv.org/abs/2304.11277; torch.distributed.fsdp.fully_shard. The adapter is put on afterwards and
stays whole in every process: it is small, and so clipping, optimizer and checkpoints are what they are without sharding. Frozen
layers have no gradients, so that all there is to send are weights.

The trap: each run of a layer is a call that all processes must make together. They must run the network equally often, in
training and in validation, and a layer must not be left out because of what a process's own samples are.
"""

import logging
import math
import os
import warnings
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import Module

from videogpa.config import ModelConfig
from videogpa.errors import UserError
from videogpa.models.base import Part, VideoModel
from videogpa.models.loading import load_model
from videogpa.runs import RunFolder

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
        "set it to false, and train.checkpoint_gradients=true",
    ),
    ("parallelism_config", lambda: _set("ACCELERATE_USE_PARALLELISM_CONFIG"), "leave it out"),
)
