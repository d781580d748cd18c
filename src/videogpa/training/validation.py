"""Loss and gains on held-out pairs, always with the same noise and timesteps, so that they move only with the policy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor

from videogpa.config import TrainConfig
from videogpa.maths.crossed import crossed_spread
from videogpa.models.base import VideoModel
from videogpa.training.backward import reference_errors, separate_errors
from videogpa.training.data import Batch, Batches
from videogpa.training.losses import Errors, loss_of

_QUANTILES = (0.125, 0.375, 0.625, 0.875)  # the middles of four equal parts: the gain depends on the timestep


@dataclass(frozen=True)
class Validation:
    """Measures the policy on held-out pairs, each at four timesteps, one clip at a time.

    The measurements are divided over the processes. All processes make equally many, since with sharded weights every forward
    pass needs all of them: one that has fewer of its own repeats some of the others', which do not count.
    """

    model: VideoModel
    adapter: PeftModel
    batches: Batches
    """Of the held-out pairs."""
    settings: TrainConfig
    process: int = 0
    processes: int = 1
    _reference: dict[int, Errors] = field(default_factory=dict)
    """By measurement. The reference does not change, and is run the first time only."""

    def measure(self) -> list[dict[str, float]]:
        """Return what is logged (`LossOutput.numbers`) of each measurement of this process, the repeated ones at the end."""
        places = [(index, quantile) for index in range(len(self.batches.pairs)) for quantile in _QUANTILES]
        rounds = math.ceil(len(places) / self.processes)
        turns = [(self.process + turn * self.processes) % len(places) for turn in range(rounds)]
        return [self._measure(number, self.batches.fixed(*places[number])) for number in turns]

    @property
    def own(self) -> int:
        """How many measurements of this process are no repeats."""
        return len(range(self.process, len(self.batches.pairs) * len(_QUANTILES), self.processes))

    def by_pair(self, measured: Sequence[Mapping[str, float]], name: str) -> Float[Tensor, " pairs"]:
        """Return what this process's own measurements add to the mean of a number of each pair: the sum over all processes.

        Args:
            measured: What `measure` returned.
            name: One of the numbers.
        """
        sums = torch.zeros(len(self.batches.pairs), dtype=torch.float64)
        for turn, numbers in enumerate(measured[: self.own]):
            sums[(self.process + turn * self.processes) // len(_QUANTILES)] += numbers[name] / len(_QUANTILES)
        return sums

    def standard_error(self, values: Float[Tensor, " pairs"]) -> float | None:
        """Return the standard error of the mean of numbers of the pairs over prompts; None if there are fewer than two."""
        names = [pair.winner.prompt for pair in self.batches.pairs]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        if len(numbers) < 2:
            return None
        prompts = torch.tensor([numbers[name] for name in names])
        influence = (values - values.mean()) / len(values)
        return math.sqrt(crossed_spread(influence, prompts, torch.zeros_like(prompts)).variance)

    @torch.no_grad()
    def _measure(self, number: int, batch: Batch) -> dict[str, float]:
        if number not in self._reference:
            self._reference[number] = reference_errors(self.model, self.adapter, batch, joint=False)
        policy = separate_errors(self.model, batch, static=self.settings.static_weight > 0)
        errors: Errors = {**self._reference[number], **policy}
        return loss_of(errors, self.settings, batch.weights).numbers()
