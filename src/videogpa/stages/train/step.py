"""One step of the optimizer."""

import time
from dataclasses import dataclass
from functools import cached_property

import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor
from torch.nn import Parameter

from videogpa.config import TrainConfig
from videogpa.models.base import VideoModel
from videogpa.stages.train.batches import Batches
from videogpa.stages.train.distributed import average_gradients, average_numbers, positions
from videogpa.stages.train.losses import Objective
from videogpa.stages.train.memory import peak_gib
from videogpa.stages.train.metrics import MetricsRow, require_number
from videogpa.stages.train.passes import backward_in_turn, backward_together
from videogpa.stages.train.schedule import learning_rate


@dataclass(frozen=True)
class Stepper:
    """Takes steps: the pairs of a step, their gradients, and the update."""

    config: TrainConfig
    objective: Objective
    model: VideoModel
    adapter: PeftModel
    batches: Batches
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator

    def take(self, step: int) -> MetricsRow:
        """Take step 0, 1, ..., and return its row of the metrics.

        Raises:
            UserError: If the loss or the gradient is no longer a number.
        """
        start, config = time.monotonic(), self.config
        measured = [self._part(step, part) for part in range(config.accumulate)]
        numbers = average_numbers(self.accelerator, measured, self.objective.names(compared=self.objective.compares))
        require_number("loss", numbers["loss"], step)
        average_gradients(self.accelerator, self.trained)
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, config.clip_norm))
        require_number("gradient", norm, step)
        rate = self._update(step)
        seconds = time.monotonic() - start
        pairs = config.batch * config.accumulate * self.accelerator.num_processes
        return MetricsRow(
            step=step,
            **numbers,
            gradient_norm=norm,
            learning_rate=rate,
            pairs_per_second=pairs / seconds,
            memory_gib=peak_gib(self.batches.device),
            seconds=seconds,
        )

    @cached_property
    def trained(self) -> list[Parameter]:
        """The parameters of the adapter."""
        return [parameter for parameter in self.adapter.parameters() if parameter.requires_grad]

    def _part(self, step: int, part: int) -> dict[str, float]:
        config, accelerator = self.config, self.accelerator
        mine = positions(
            step,
            part,
            batch=config.batch,
            accumulate=config.accumulate,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
        )

        def backward(loss: Tensor) -> None:
            accelerator.backward(loss / config.accumulate)

        run = backward_together if config.together else backward_in_turn
        return run(self.model, self.adapter, self.batches.at(mine), self.objective, backward)

    def _update(self, step: int) -> float:
        config = self.config
        rate = learning_rate(
            step, peak=config.learning_rate, warmup=config.warmup, steps=config.steps, schedule=config.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return rate
