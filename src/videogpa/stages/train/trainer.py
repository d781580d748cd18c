"""The training loop: steps, held-out pairs, checkpoints, and what is logged."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator
from peft import PeftModel
from rich.markup import escape

from videogpa import processes
from videogpa.config import TrainConfig
from videogpa.models.adapters import new_adapter, save_adapter
from videogpa.models.base import VideoModel
from videogpa.models.exports import export_adapter
from videogpa.runs import RunFolder, atomic_folder
from videogpa.stages.train import checkpoints, memory, metrics, trackers
from videogpa.stages.train.batches import Batches
from videogpa.stages.train.distributed import agreed, average_numbers
from videogpa.stages.train.losses import Objective
from videogpa.stages.train.metrics import MetricsRow, Watch
from videogpa.stages.train.pairs import EncodedPair
from videogpa.stages.train.step import Stepper
from videogpa.stages.train.validation import Validation
from videogpa.workers import progress


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
        with memory.explained(self.remedies):
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
        return processes.main()

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "train" / "checkpoints"

    def _prepare(self) -> tuple[Stepper, Validation]:
        config = self.config
        adapter = new_adapter(
            self.model.transformer, targets=self.model.lora_targets, rank=config.rank, alpha=config.alpha, seed=config.seed
        )
        if config.checkpoint_gradients:
            self.model.checkpoint_gradients()
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
        needed = memory.estimate(self.model.transformer, trained, batches.at(range(self.config.batch)), self.config)
        memory.check_fits(needed, memory.free_bytes(batches.device), self.remedies)

    def _restore(self, stepper: Stepper) -> int:
        """Return how many steps are done, by the newest whole checkpoint, and go back to there."""
        if self._writes:
            checkpoints.prune(self._checkpoints)  # where a killed process did not come to it
        self.accelerator.wait_for_everyone()
        return checkpoints.restore(self._checkpoints, stepper.adapter, stepper.optimizer)

    def _resume_metrics(self, first: int) -> tuple[Watch, set[int]]:
        """Drop the rows after the checkpoint. Return a watch that has seen those before, and where held-out rows are there."""
        watch, measured = Watch(), set()
        if self._writes:
            rows = metrics.manifest(self.folder)
            wanted = [*(f"train {step}" for step in range(first)), *(f"held_out {step}" for step in range(first + 1))]
            rows.resume(dict.fromkeys(wanted, self.fingerprint))
            for row in rows.rows():
                if row.split == "train":
                    watch.see(row)
                else:
                    measured.add(row.step)
        return watch, agreed(self.accelerator, measured)

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
        trackers.log(self.accelerator, row)
        if self._writes:
            metrics.manifest(self.folder).append(row.model_copy(update={"fingerprint": self.fingerprint}))


def _essentials(row: MetricsRow) -> str:
    """Say a row in a few words, for the progress bar."""
    said = f"loss {row.loss:.4f}"
    if row.winner_gain is not None and row.loser_gain is not None:
        said += f" winner {row.winner_gain:+.1e} loser {row.loser_gain:+.1e}"
    return f"{said}, {row.pairs_per_second:.2g} pairs/s, {row.memory_gib:.1f} GiB"
