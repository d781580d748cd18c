"""The training loop: steps, checkpoints, and what is logged."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from peft import PeftModel
from rich.markup import escape

from videogpa.config import TrainConfig
from videogpa.errors import UserError
from videogpa.models.adapters import new_adapter, save_adapter
from videogpa.models.base import VideoModel
from videogpa.records import Row
from videogpa.runs import Manifest, RunFolder, atomic_folder
from videogpa.stages.train import checkpoints
from videogpa.stages.train.dpo import pair_loss
from videogpa.stages.train.pairs import EncodedPair, load_batch
from videogpa.stages.train.schedule import learning_rate
from videogpa.workers import progress


class TrainingStep(Row):
    """One line of metrics.jsonl: means over the pairs of a step, before its update. See `pair_loss` for what they mean."""

    step: int
    loss: float
    winner_gain: float
    loser_gain: float
    accuracy: float
    margin: float
    gradient_norm: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Trainer:
    """Trains a fresh adapter of `model`, or goes on from the last checkpoint in `<folder>/train`."""

    config: TrainConfig
    model: VideoModel
    pairs: list[EncodedPair]
    folder: RunFolder
    fingerprint: str
    """Of all that decides the result; stands in every row of the metrics."""

    def train(self) -> None:
        """Take all steps that are left, and write the adapter to `<folder>/adapter`.

        Raises:
            UserError: If the loss or the gradient is no longer a number. The last checkpoint stays.
        """
        adapter = new_adapter(
            self.model.transformer,
            targets=self.model.lora_targets,
            rank=self.config.rank,
            alpha=self.config.alpha,
            seed=self.config.seed,
        )
        trained = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
        device = trained[0].device
        accelerator = Accelerator(cpu=device.type == "cpu")
        optimizer = torch.optim.AdamW(trained, lr=self.config.learning_rate, weight_decay=self.config.weight_decay)
        optimizer = accelerator.prepare_optimizer(optimizer, device_placement=False)  # the weights are where they belong
        first = checkpoints.restore(self._checkpoints, adapter, optimizer)
        metrics = Manifest(self.folder / "train" / "metrics.jsonl", TrainingStep, "step")
        metrics.resume({str(step): self.fingerprint for step in range(first)})
        with progress("train", self.config.steps, done=first) as advance:
            for step in range(first, self.config.steps):
                row = self._step(step, adapter, trained, optimizer, accelerator)
                if step % self.config.log_every == 0 or step == self.config.steps - 1:
                    metrics.append(row)
                if (step + 1) % self.config.checkpoint_every == 0 or step == self.config.steps - 1:
                    checkpoints.save(self._checkpoints, step + 1, adapter, optimizer)
                advance(escape(f"loss {row.loss:.4f} winner {row.winner_gain:+.1e} loser {row.loser_gain:+.1e}"))
        with atomic_folder(self.folder / "adapter") as temporary:
            save_adapter(adapter, temporary)

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "train" / "checkpoints"

    def _step(
        self,
        step: int,
        adapter: PeftModel,
        trained: list[torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
    ) -> TrainingStep:
        start, config = time.monotonic(), self.config
        logged = []
        for part in range(config.accumulate):
            first = (step * config.accumulate + part) * config.batch
            positions = range(first, first + config.batch)
            batch = load_batch(
                self.pairs, self.folder, self.model, seed=config.seed, positions=positions, device=trained[0].device
            )
            loss, numbers = pair_loss(self.model, adapter, batch, config.beta)
            self._require_number("loss", numbers["loss"], step)
            accelerator.backward(loss / config.accumulate)
            logged.append(numbers)
        norm = float(accelerator.clip_grad_norm_(trained, config.clip_norm))
        self._require_number("gradient", norm, step)
        rate = learning_rate(step, peak=config.learning_rate, warmup=config.warmup, steps=config.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        means = {name: math.fsum(numbers[name] for numbers in logged) / len(logged) for name in logged[0]}
        return TrainingStep(
            step=step,
            **means,
            gradient_norm=norm,
            learning_rate=rate,
            seconds=time.monotonic() - start,
            fingerprint=self.fingerprint,
        )

    def _require_number(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise UserError(
                f"the {what} is {value} at step {step}: training stops. Lower train.learning_rate or train.beta, or use "
                f"model.dtype float32 or bfloat16. Checkpoints of the steps before it are kept in {self._checkpoints}."
            )
