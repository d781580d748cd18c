"""The training loop of all models: AdamW, a cosine schedule over steps or minutes, averaged weights, and checkpoints."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.utils import clip_grad_norm_

from videogpa.storage.files import atomic_path

_log = logging.getLogger(__name__)

AVERAGE = 0.999  # decay of the averaged weights; it is less at the start, so that the random ones have no weight
WARMUP = 0.02  # share of the training in which the learning rate rises to its full value
CLIP_NORM = 1.0
LOG_SECONDS = 20.0


@dataclass(frozen=True)
class Budget:
    """The end of a training: after this many steps or minutes of work, whichever comes first."""

    steps: int
    minutes: float = math.inf

    def progress(self, step: int, seconds: float) -> float:
        """Return the share of the training that is done, 1 at its end.

        Args:
            step: The number of steps made.
            seconds: The time spent on them.
        """
        return min(1.0, max(step / self.steps, seconds / 60 / self.minutes))


def fit(
    module: Module,
    loss: Callable[[int], Tensor],
    path: Path,
    *,
    rate: float,
    budget: Budget,
    checkpoint_seconds: float,
) -> None:
    """Train the module until its budget is spent, and leave the averaged weights in it.

    Args:
        module: The network; parameters that require gradients are trained.
        loss: Returns the loss of a step. It must depend on the step only: then a training that was killed and continues from
            its checkpoint makes the same steps as one that was not.
        path: The file of the checkpoint.
        rate: The largest learning rate.
        budget: The number of steps or minutes.
        checkpoint_seconds: The time between two checkpoints.
    """
    run = _Run(module, rate)
    run.resume(path)
    started = time.monotonic() - run.seconds
    saved = logged = time.monotonic()
    losses: list[float] = []
    while (progress := budget.progress(run.step, run.seconds)) < 1:
        losses.append(run.advance(loss, progress))
        now = time.monotonic()
        run.seconds = now - started
        if now - logged > LOG_SECONDS:
            rate_now = run.optimizer.param_groups[0]["lr"]
            _log.info(
                "step %d, %.1f min, rate %.2g, loss %.4f", run.step, run.seconds / 60, rate_now, sum(losses) / len(losses)
            )
            logged, losses = now, []
        if now - saved > checkpoint_seconds:
            run.save(path)
            saved = now
    run.save(path)
    averaged_into(module, path)


def averaged_into(module: Module, path: Path) -> int:
    """Load the averaged weights of a checkpoint into the module, and return the checkpoint's number of steps.

    Args:
        module: The network to load them into, in place.
        path: The file of the checkpoint.
    """
    state = torch.load(path, weights_only=True, map_location=next(module.parameters()).device)
    module.load_state_dict(state["average"], strict=False)  # buffers are not averaged
    return int(state["step"])


class _Run:
    """The complete state of a training."""

    def __init__(self, module: Module, rate: float) -> None:
        self.module = module
        self.rate = rate
        self.names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.step = 0
        self.seconds = 0.0

    def advance(self, loss: Callable[[int], Tensor], progress: float) -> float:
        """Make one step, and return its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min(1.0, (progress + 1e-4) / WARMUP) * 0.5 * (1 + math.cos(math.pi * progress))
        value = loss(self.step)
        value.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self.parameters, CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(AVERAGE, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [parameter.detach() for parameter in self.parameters], 1 - decay)
        return float(value.detach())

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on to a checkpoint."""
        state: dict[str, Any] = {
            "model": self.module.state_dict(),
            "average": dict(zip(self.names, self.average, strict=True)),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def resume(self, path: Path) -> None:
        """Restore the state from the checkpoint, if there is one."""
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.average[0].device)
        self.module.load_state_dict(state["model"])
        for mine, saved in zip(self.average, state["average"].values(), strict=True):
            mine.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        _log.info("going on from step %d of %s", self.step, path)
