"""The training loop: `Trainer.train` and the step that it repeats, `Trainer.take_step`."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from peft import PeftModel
from rich.markup import escape

from videogpa import processes
from videogpa.config import TrainConfig
from videogpa.models.adapters import continued_adapter, new_adapter, save_adapter
from videogpa.models.base import Activations, VideoModel
from videogpa.models.exports import export_adapter
from videogpa.storage.files import atomic_folder
from videogpa.storage.run_folder import RunFolder
from videogpa.training import backward, checkpoints, memory, monitor
from videogpa.training.data import Batches, EncodedPair
from videogpa.training.distributed import add_up, average_gradients, average_numbers, broadcast, positions
from videogpa.training.losses import needs_reference
from videogpa.training.memory import Remedy
from videogpa.training.metrics import MetricsRow, metrics
from videogpa.training.monitor import TrainingMonitor, require_number
from videogpa.training.precision import Backpropagation, compute_dtype, loss_scale
from videogpa.training.validation import Validation
from videogpa.workers import progress


class Trainer:
    """Trains a fresh adapter of a model or `train.initial_adapter`, or goes on from the last checkpoint in `<folder>/train`.

    Of several processes that train as one, the main process alone writes.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: VideoModel,
        pairs: Sequence[EncodedPair],
        held_out: Sequence[EncodedPair],
        folder: RunFolder,
        *,
        fingerprint: str,
        accelerator: Accelerator,
        remedies: Sequence[Remedy] = (),
    ) -> None:
        """Put the adapter into the model's transformer, and prepare optimizer, batches and validation.

        Args:
            config: The settings of the training.
            model: The model, with its transformer loaded.
            pairs: The pairs to train on.
            held_out: The pairs that are measured and never trained on; there may be none.
            folder: The run folder: latents are read from it, metrics, checkpoints and the adapter written into it.
            fingerprint: Of all that decides the result; stands in every row of the metrics.
            accelerator: The processes that train together.
            remedies: What to advise when the memory does not suffice.

        Raises:
            UserError: If the settings ask for an optimizer that cannot be used here, or training cannot go on from
                `initial_adapter`.
        """
        self.config = config
        self.model = model
        self.folder = folder
        self.fingerprint = fingerprint
        self.accelerator = accelerator
        self.remedies = remedies
        self.adapter = _adapter(config, model)
        if config.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        self.trained = [parameter for parameter in self.adapter.parameters() if parameter.requires_grad]
        self.dtype = compute_dtype([parameter for parameter in self.adapter.parameters() if not parameter.requires_grad])
        self.device = self.trained[0].device
        self.optimizer = memory.new_optimizer(self.trained, config, self.device)
        self.batches = Batches(pairs, folder, model, self.device, config.timesteps, config.seed)
        self.validation = Validation(
            model,
            self.adapter,
            Batches(held_out, folder, model, self.device, config.timesteps, config.seed),
            config,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
        )

    def train(self) -> None:
        """Take all steps that are left, and write the adapter to `<folder>/adapter`.

        Raises:
            UserError: If the loss or the gradient is NaN or infinite, the loss explodes, or the adapter alone does not fit into
                the memory. The last checkpoints stay.
        """
        config = self.config
        self._check_memory()
        first = self._restore()
        watch, validated = self._resume_metrics(first)
        with progress("train", config.steps, done=first) as advance:
            for step in range(first, config.steps):
                if step % config.validate_every == 0 and step not in validated:
                    self._validate(step)
                row = self.take_step(step)
                watch.update(row)
                last = step == config.steps - 1
                if step % config.log_every == 0 or last:
                    self._log(row)
                if (step + 1) % config.checkpoint_every == 0 or last:
                    self._save(step + 1)
                advance(escape(_summary(row)))
        if config.steps not in validated:
            self._validate(config.steps)
        self._write_adapter()

    def take_step(self, step: int) -> MetricsRow:
        """Take step 0, 1, ...: read its pairs, add up their gradients, update the adapter. Return the step's metrics.

        Raises:
            UserError: If the loss or the gradient is NaN or infinite.
        """
        config, accelerator, start = self.config, self.accelerator, time.monotonic()
        passes = backward.joint if config.joint_forward else backward.loser_first
        logged = []
        for part in range(config.gradient_accumulation_steps):
            batch = self.batches.at(self._positions(step, part))
            backpropagate = Backpropagation(config.gradient_accumulation_steps, loss_scale(self.dtype, batch, config))
            logged.append(passes(self.model, self.adapter, batch, config, backpropagate))
        backpropagate.finish(self.trained)
        numbers = average_numbers(accelerator, logged)
        require_number("loss", numbers["loss"], step, self.dtype)

        average_gradients(accelerator, self.trained)
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, config.max_grad_norm))
        require_number("gradient", norm, step, self.dtype)
        rate = learning_rate(
            step, peak=config.learning_rate, warmup=config.warmup_steps, steps=config.steps, schedule=config.lr_scheduler
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()

        seconds = time.monotonic() - start
        return MetricsRow(
            step=step,
            **numbers,
            gradient_norm=norm,
            learning_rate=rate,
            pairs_per_second=len(batch) * len(logged) * accelerator.num_processes / seconds,
            memory_gib=memory.peak_gib(self.device),
            seconds=seconds,
        )

    def _positions(self, step: int, part: int) -> range:
        """Return the sampler's positions of this process's next batch."""
        return positions(
            step,
            part,
            batch=self.config.batch_size,
            accumulate=self.config.gradient_accumulation_steps,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )

    def _validate(self, step: int) -> None:
        """Measure the held-out pairs, if there are any, and log the means, with standard errors over prompts."""
        if not self.validation.batches.pairs:
            return
        start = time.monotonic()
        measured = self.validation.measure()
        numbers: dict[str, float | None] = {**average_numbers(self.accelerator, measured, counted=self.validation.own)}
        for name in ("winner_gain", "accuracy"):
            by_pair = add_up(self.accelerator, self.validation.by_pair(measured, name))
            numbers[f"{name}_se"] = self.validation.standard_error(by_pair)
        self._log(
            MetricsRow.model_validate({"step": step, "split": "held_out", **numbers, "seconds": time.monotonic() - start})
        )

    def _log(self, row: MetricsRow) -> None:
        """Send a row to the trackers, and append it to the metrics."""
        monitor.send_to_trackers(self.accelerator, row)
        if processes.is_main_process():
            metrics(self.folder).append(row.model_copy(update={"fingerprint": self.fingerprint}))

    def _save(self, done: int) -> None:
        """Write a checkpoint of `done` finished steps."""
        if processes.is_main_process():
            steps = self.config.steps
            checkpoints.save(self._checkpoints, done, self.adapter, self.optimizer, fingerprint=self.fingerprint, steps=steps)

    def _write_adapter(self) -> None:
        """Write the adapter in PEFT's format, with its exports for other programs."""
        if processes.is_main_process():
            with atomic_folder(self.folder / "adapter") as temporary:
                save_adapter(self.adapter, temporary)
                export_adapter(temporary)

    def _check_memory(self) -> None:
        batch = self.batches.at(range(self.config.batch_size))
        kept = getattr(self.model, "activations", Activations())  # a model of another package may not say it
        needed = memory.estimate(self.model.transformer, self.trained, batch, self.config, kept)
        memory.check_fits(needed, memory.free_bytes(self.device), self.remedies)

    def _restore(self) -> int:
        """Load the newest whole checkpoint, and return how many steps are done: 0 if there is none."""
        if processes.is_main_process():
            checkpoints.clean(self._checkpoints)  # a process that was killed may have left more than two
        self.accelerator.wait_for_everyone()
        return checkpoints.restore(self._checkpoints, self.adapter, self.optimizer)

    def _resume_metrics(self, first: int) -> tuple[TrainingMonitor, set[int]]:
        """Drop the rows after the checkpoint. Return a monitor that has read those before, and the steps validated already."""
        watch, validated = TrainingMonitor(), set()
        if processes.is_main_process():
            rows = metrics(self.folder)
            wanted = [rows.key_of(split="train", step=step) for step in range(first)]
            wanted += [rows.key_of(split="held_out", step=step) for step in range(first + 1)]
            rows.drop_stale(dict.fromkeys(wanted, self.fingerprint))
            for row in rows.rows():
                if row.split == "train":
                    watch.update(row)
                else:
                    validated.add(row.step)
        return watch, broadcast(self.accelerator, validated)

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "train" / "checkpoints"


def _adapter(config: TrainConfig, model: VideoModel) -> PeftModel:
    """Put the adapter that is to be trained into the model's transformer."""
    network, targets, rank, alpha = model.transformer, model.lora_targets, config.lora_rank, config.lora_alpha
    if config.initial_adapter is None:
        return new_adapter(network, targets=targets, rank=rank, alpha=alpha, seed=config.seed)
    keep = config.reference == "previous" and needs_reference(config.loss)
    return continued_adapter(network, config.initial_adapter, targets=targets, rank=rank, alpha=alpha, keep_start=keep)


def _summary(row: MetricsRow) -> str:
    """Return a row in a few words, for the progress bar."""
    words = f"loss {row.loss:.4f}"
    if row.winner_gain is not None and row.loser_gain is not None:
        words += f" winner {row.winner_gain:+.1e} loser {row.loser_gain:+.1e}"
    return f"{words}, {row.pairs_per_second:.2g} pairs/s, {row.memory_gib:.1f} GiB"


Schedule = Literal["cosine", "constant"]


def learning_rate(step: int, *, peak: float, warmup: int, steps: int, schedule: Schedule = "cosine") -> float:
    """Return the learning rate of a step.

    It rises linearly from 0 to `peak` over the warm-up; then `cosine` lets it fall to 0 along half a cosine, and `constant`
    keeps it. The numbers are those of the schedules `cosine` and `constant_with_warmup` of diffusers and transformers.

    Args:
        step: The step, 0, 1, ...
        peak: The rate after the warm-up.
        warmup: Steps of the warm-up.
        steps: Steps of the training.
        schedule: What follows the warm-up.
    """
    if step < warmup:
        return peak * step / warmup
    if schedule == "constant":
        return peak
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
