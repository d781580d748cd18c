"""The memory of a training: an estimate before it starts, its peak while it runs, and the settings that save some."""

import importlib.util
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psutil
import torch
from torch.nn import Module, Parameter

from videogpa.config import TrainConfig
from videogpa.errors import UserError
from videogpa.models.base import Activations
from videogpa.training.data import Batch
from videogpa.training.distributed import numbers_held
from videogpa.training.losses import needs_reference
from videogpa.training.precision import compute_dtype

GIB = 2**30

_OF_ITS_INPUT = 1
"""Numbers per token, channel and layer that gradient checkpointing keeps: the layer's input."""
_OF_ITS_GRADIENTS = 8
"""Numbers per token and channel that the backward pass of a layer holds beside what the layer kept. Fitted to measurements,
whose figures stand beside those of this module in docs/reference/memory.md."""

_MOMENTS = {"adamw": 8, "adamw8bit": 2}  # bytes of the optimizer's state per trained number

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimate:
    """Bytes that a training takes on one device.

    The activations are a rough estimate, and None for a network whose configuration does not tell its layers.
    """

    weights: int
    adapter: int
    """Trained weights, their gradients and the optimizer's state."""
    activations: int | None

    def __str__(self) -> str:
        """Return the estimate as a phrase, in GiB."""
        rough = "unknown" if self.activations is None else f"about {self.activations / GIB:.1f}"
        return (
            f"weights {self.weights / GIB:.1f} GiB, adapter with gradients and optimizer {self.adapter / GIB:.1f}, "
            f"activations {rough}"
        )


def estimate(
    transformer: Module, trained: Sequence[Parameter], batch: Batch, config: TrainConfig, kept: Activations
) -> Estimate:
    """Estimate what the training takes.

    Args:
        transformer: The network with its adapter.
        trained: The adapter's parameters.
        batch: A batch such as training will see.
        config: The settings of the training.
        kept: What the network keeps for the backward pass.
    """
    ours = {id(parameter) for parameter in trained}
    frozen = [parameter for parameter in transformer.parameters() if id(parameter) not in ours]
    numbers = sum(parameter.numel() for parameter in trained)
    per_number = trained[0].element_size() * 2 + _MOMENTS[config.optimizer]
    return Estimate(
        weights=sum(numbers_held(parameter) * parameter.element_size() for parameter in frozen),
        adapter=numbers * per_number,
        activations=_activations(transformer, compute_dtype(frozen).itemsize, batch, config, kept),
    )


def _activations(transformer: Module, element_size: int, batch: Batch, config: TrainConfig, kept: Activations) -> int | None:
    settings: Any = next((known for part in transformer.modules() if hasattr(known := _settings(part), "num_layers")), None)
    if settings is None:
        return None
    layers: int = settings.num_layers
    numbers = layers * kept.of_a_layer
    if config.gradient_checkpointing:
        numbers = layers * _OF_ITS_INPUT + kept.of_a_layer + _OF_ITS_GRADIENTS
    channels: int = settings.num_attention_heads * settings.attention_head_dim
    of_a_token = channels * (numbers * element_size + kept.of_a_token)
    return int(_clips(batch, config) * _tokens(settings, batch) * of_a_token)


def _clips(batch: Batch, config: TrainConfig) -> int:
    """Return how many clips' activations are in memory at a time."""
    if not needs_reference(config.loss):
        return len(batch)
    return 2 * len(batch) if config.joint_forward else 1


def _settings(part: Module) -> Any:
    return getattr(part, "config", None)


def _tokens(settings: Any, batch: Batch) -> int:
    """Return how many tokens the network makes of a clip and its text.

    Its configuration gives the patch as one side (and maybe `patch_size_t` latent frames), or as (frames, height, width).
    """
    patch = settings.patch_size
    if isinstance(patch, int):
        patch = (getattr(settings, "patch_size_t", None) or 1, patch, patch)
    text = sum(condition.shape[1] for condition in batch.conditions.values() if condition.ndim == 3)
    frames, _, h, w = batch.winner.shape[1:]
    return int(frames * h * w // math.prod(patch) + text)


def free_bytes(device: torch.device) -> int:
    """Return the free memory of the device: the system's for a CPU."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def peak_gib(device: torch.device) -> float:
    """Return the peak of the memory in use since the process began, in GiB: the GPU's, or on a CPU the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return _peak_bytes() / GIB


def _peak_bytes() -> int:
    """Return the most memory that this process has had."""
    try:
        import resource
    except ImportError:  # Windows: its own count
        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts kilobytes on Linux, bytes on a Mac
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


Effect = Literal["keeps", "restarts", "restarts and generates"]

_EFFECTS: dict[Effect, str] = {
    "keeps": "keeps the training",
    "restarts": "restarts the training",
    "restarts and generates": "generates and encodes the clips again, and restarts the training",
}


@dataclass(frozen=True)
class Remedy:
    """Settings that save memory, and what becomes of a training that is under way when they are changed."""

    settings: str
    effect: Effect

    def __str__(self) -> str:
        """Return the settings with their effect."""
        return f"{self.settings} ({_EFFECTS[self.effect]})"


def remedies(config: TrainConfig, dtype: str) -> list[Remedy]:
    """Return the settings that would save memory and are not in use: first those that keep a training, then the others.

    Args:
        config: The settings of the training.
        dtype: That of the frozen weights while they are trained: `train.dtype`, or where it is open `model.dtype`.
    """
    pairs = config.gradient_accumulation_steps * config.batch_size
    reference = needs_reference(config.loss)
    known: list[tuple[str, Effect, bool]] = [
        ("train.gradient_checkpointing=true", "keeps", not config.gradient_checkpointing),
        (f"train.batch_size=1 with train.gradient_accumulation_steps={pairs}", "keeps", config.batch_size > 1),
        ("train.joint_forward=false", "keeps", config.joint_forward and reference),
        ("train.dtype=bfloat16", "restarts", dtype == "float32"),
        ("train.optimizer=adamw8bit", "restarts", config.optimizer == "adamw"),
        (f"a smaller train.lora_rank (now {config.lora_rank})", "restarts", config.lora_rank > 1),
        ("clips of fewer frames or pixels", "restarts and generates", True),
    ]
    return [Remedy(settings, effect) for settings, effect, helps in known if helps]


def check_fits(needed: Estimate, free: int, remedies: Sequence[Remedy]) -> None:
    """Log what the training will take, beside the weights that are loaded already; warn if it may be too much.

    Args:
        needed: The estimate.
        free: The free bytes of the device.
        remedies: What the error and the warning advise.

    Raises:
        UserError: If the adapter alone does not fit.
    """
    _log.info("memory: %s; %.1f GiB are free", needed, free / GIB)
    if needed.adapter > free:
        raise UserError(f"the training does not fit: {needed}, and {free / GIB:.1f} GiB are free. {_advice(remedies)}")
    if needed.adapter + (needed.activations or 0) > free:
        _log.warning("the training may not fit. %s", _advice(remedies))


@contextmanager
def explain_oom(remedies: Sequence[Remedy]) -> Iterator[None]:
    """Turn a GPU's lack of memory into an error that names the settings that save some.

    Raises:
        UserError: If the memory of the GPU runs out.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        found = str(error).split(". ")[0]
        raise UserError(f"GPU out of memory ({found}). {_advice(remedies)}") from None


def _advice(remedies: Sequence[Remedy]) -> str:
    listed = "".join(f"\n  {remedy}" for remedy in remedies)
    if not any(remedy.effect == "keeps" for remedy in remedies):
        return f"Try, in this order:{listed}"
    return f"Try, in this order:{listed}\nWith a setting that keeps the training, training goes on where it was."


def new_optimizer(trained: Sequence[Parameter], config: TrainConfig, device: torch.device) -> torch.optim.Optimizer:
    """Return AdamW over these parameters, with its state in 32 or in 8 bits (Dettmers et al. 2021, arXiv 2110.02861).

    Raises:
        UserError: If the settings ask for 8 bits, and bitsandbytes is not installed or the device is no GPU.
    """
    if config.optimizer == "adamw":
        return torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("train.optimizer adamw8bit needs bitsandbytes: pip install 'videogpa[bitsandbytes]'")
    if device.type != "cuda":
        raise UserError(f"train.optimizer adamw8bit needs a GPU, and the model is on {device}. Use adamw there.")
    from bitsandbytes.optim import AdamW8bit  # imported late: it looks for CUDA when it is imported

    optimizer: torch.optim.Optimizer = AdamW8bit(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    return optimizer
