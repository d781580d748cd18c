"""The training loop: steps, held-out pairs, checkpoints, and what is logged."""

import math
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from peft import PeftModel
from rich.markup import escape
from torch import Tensor
from torch.nn import Parameter

from videogpa import processes
from videogpa.config import TrainConfig
from videogpa.models.adapters import new_adapter, save_adapter
from videogpa.models.base import VideoModel
from videogpa.models.exports import export_adapter
from videogpa.storage.files import atomic_folder
from videogpa.storage.run_folder import RunFolder
from videogpa.training import checkpoints, memory, monitor
from videogpa.training.backward import backward_joint, backward_loser_first
from videogpa.training.data import Batches, EncodedPair
from videogpa.training.distributed import average_gradients, average_numbers, broadcast, positions
from videogpa.training.losses import Objective
from videogpa.training.memory import peak_gib
from videogpa.training.monitor import MetricsRow, TrainingMonitor, require_number
from videogpa.training.validation import Validation
from videogpa.workers import progress


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
        measured = [self._part(step, part) for part in range(config.gradient_accumulation_steps)]
        numbers = average_numbers(self.accelerator, measured, self.objective.names(compared=self.objective.compares))
        require_number("loss", numbers["loss"], step)
        average_gradients(self.accelerator, self.trained)
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, config.max_grad_norm))
        require_number("gradient", norm, step)
        rate = self._update(step)
        seconds = time.monotonic() - start
        pairs = config.batch_size * config.gradient_accumulation_steps * self.accelerator.num_processes
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
            batch=config.batch_size,
            accumulate=config.gradient_accumulation_steps,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
        )

        def backward(loss: Tensor) -> None:
            accelerator.backward(loss / config.gradient_accumulation_steps)

        run = backward_joint if config.joint_forward else backward_loser_first
        return run(self.model, self.adapter, self.batches.at(mine), self.objective, backward)

    def _update(self, step: int) -> float:
        config = self.config
        rate = learning_rate(
            step, peak=config.learning_rate, warmup=config.warmup_steps, steps=config.steps, schedule=config.lr_scheduler
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return rate


Schedule = Literal["cosine", "constant"]


def learning_rate(step: int, *, peak: float, warmup: int, steps: int, schedule: Schedule = "cosine") -> float:
    """Return the rate of step 0, 1, ...: up to `peak` in a line over `warmup` steps, then down to 0 in half a cosine.

    Or, `constant`, at `peak` to the end. The same numbers as the schedules `cosine` and `constant_with_warmup` of diffusers and
    transformers: step 0 of a warm-up has rate 0.
    """
    if step < warmup:
        return peak * step / warmup
    if schedule == "constant":
        return peak
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass(frozen=True)
class Trainer:
    """Trains a fresh adapter of `model`, or goes on from the last checkpoint in `<folder>/train`.

    Of several processes the main one alone writes.
    """

    config: TrainConfig
    model: VideoModel
    pairs: list[EncodedPair]
    held_out: list[EncodedPair]
    folder: RunFolder
    fingerprint: str
    """Of all that decides the result; stands in every row of the metrics."""
    accelerator: Accelerator
    remedies: list[str]
    """What to try when the memory does not suffice."""

    def train(self) -> None:
        """Take all steps that are left, and write the adapter to `<folder>/adapter`.

        Raises:
            UserError: If the loss or the gradient is no longer a number, the loss has exploded, or the memory does not suffice.
                The last checkpoints stay.
        """
        with memory.explain_oom(self.remedies):
            stepper, validation = self._prepare()
            first = self._restore(stepper)
            watch, measured = self._resume_metrics(first)
            with progress("train", self.config.steps, done=first) as advance:
                for step in range(first, self.config.steps):
                    if step % self.config.validate_every == 0 and step not in measured:
                        self._validate(step, validation)
                    row = stepper.take(step)
                    watch.see(row)
                    self._keep(row, stepper)
                    advance(escape(_essentials(row)))
            if self.config.steps not in measured:
                self._validate(self.config.steps, validation)
        if self._writes:
            with atomic_folder(self.folder / "adapter") as temporary:
                save_adapter(stepper.adapter, temporary)
                export_adapter(temporary)

    @property
    def _writes(self) -> bool:
        return processes.is_main_process()

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "train" / "checkpoints"

    def _prepare(self) -> tuple[Stepper, Validation]:
        config = self.config
        adapter = new_adapter(
            self.model.transformer,
            targets=self.model.lora_targets,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            seed=config.seed,
        )
        if config.gradient_checkpointing:
            self.model.enable_gradient_checkpointing()
        trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
        device = trained[0].device
        batches = Batches(self.pairs, self.folder, self.model, device, config.timesteps, config.seed)
        self._check_memory(adapter, batches)
        stepper = Stepper(
            config=config,
            objective=Objective(config.loss, config.beta, config.sft_weight, config.static_weight),
            model=self.model,
            adapter=adapter,
            batches=batches,
            optimizer=memory.new_optimizer(trained, config, device),
            accelerator=self.accelerator,
        )
        return stepper, self._validation(stepper)

    def _validation(self, stepper: Stepper) -> Validation:
        return Validation(
            model=self.model,
            adapter=stepper.adapter,
            batches=replace(stepper.batches, pairs=self.held_out),
            objective=stepper.objective,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )

    def _check_memory(self, adapter: PeftModel, batches: Batches) -> None:
        trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
        needed = memory.estimate(self.model.transformer, trained, batches.at(range(self.config.batch_size)), self.config)
        memory.check_fits(needed, memory.free_bytes(batches.device), self.remedies)

    def _restore(self, stepper: Stepper) -> int:
        """Return how many steps are done, by the newest whole checkpoint, and go back to there."""
        if self._writes:
            checkpoints.prune(self._checkpoints)  # where a killed process did not come to it
        self.accelerator.wait_for_everyone()
        return checkpoints.restore(self._checkpoints, stepper.adapter, stepper.optimizer)

    def _resume_metrics(self, first: int) -> tuple[TrainingMonitor, set[int]]:
        """Drop the rows after the checkpoint. Return a watch that has seen those before, and where held-out rows are there."""
        watch, measured = TrainingMonitor(), set()
        if self._writes:
            rows = monitor.manifest(self.folder)
            wanted = [*(f"train {step}" for step in range(first)), *(f"held_out {step}" for step in range(first + 1))]
            rows.drop_stale(dict.fromkeys(wanted, self.fingerprint))
            for row in rows.rows():
                if row.split == "train":
                    watch.see(row)
                else:
                    measured.add(row.step)
        return watch, broadcast(self.accelerator, measured)

    def _validate(self, step: int, validation: Validation) -> None:
        if not self.held_out:
            return
        start = time.monotonic()
        names = validation.objective.names(compared=True)
        numbers = average_numbers(self.accelerator, validation.measure(), names)
        self._write(MetricsRow(step=step, split="held_out", **numbers, seconds=time.monotonic() - start))

    def _keep(self, row: MetricsRow, stepper: Stepper) -> None:
        """Write the row and a checkpoint, each where it is due."""
        last = row.step == self.config.steps - 1
        if row.step % self.config.log_every == 0 or last:
            self._write(row)
        if self._writes and ((row.step + 1) % self.config.checkpoint_every == 0 or last):
            checkpoints.save(self._checkpoints, row.step + 1, stepper.adapter, stepper.optimizer)

    def _write(self, row: MetricsRow) -> None:
        monitor.log(self.accelerator, row)
        if self._writes:
            monitor.manifest(self.folder).append(row.model_copy(update={"fingerprint": self.fingerprint}))


def _essentials(row: MetricsRow) -> str:
    """Say a row in a few words, for the progress bar."""
    said = f"loss {row.loss:.4f}"
    if row.winner_gain is not None and row.loser_gain is not None:
        said += f" winner {row.winner_gain:+.1e} loser {row.loser_gain:+.1e}"
    return f"{said}, {row.pairs_per_second:.2g} pairs/s, {row.memory_gib:.1f} GiB"
