"""The same questions on pairs that training never sees, always with the same noise and timesteps."""

import math
from dataclasses import dataclass, field

import torch
from peft import PeftModel

from videogpa.models.base import VideoModel
from videogpa.training.backward import loser_terms, reference_terms, winner_terms
from videogpa.training.data import Batch, Batches
from videogpa.training.losses import Objective, Terms

_QUANTILES = (0.125, 0.375, 0.625, 0.875)  # the middles of four equal parts: the gain depends on the timestep


@dataclass(frozen=True)
class Validation:
    """Measures the policy on held-out pairs, one side at a time. The reference is asked once: its errors do not change."""

    model: VideoModel
    adapter: PeftModel
    batches: Batches
    objective: Objective
    process: int = 0
    processes: int = 1
    """The measurements are divided over the processes. All make as many: sharded weights want every forward pass from all."""
    _reference: dict[int, Terms] = field(default_factory=dict)

    def measure(self) -> list[dict[str, float]]:
        """Return `Objective.numbers` of every measurement that is this process's."""
        places = [(index, quantile) for index in range(len(self.batches.pairs)) for quantile in _QUANTILES]
        turns = range(self.process, math.ceil(len(places) / self.processes) * self.processes, self.processes)
        mine = [turn % len(places) for turn in turns]  # past the end again from the start, while others finish
        measured = [self._measure(number, self.batches.fixed(*places[number])) for number in mine]
        return measured[: len(range(self.process, len(places), self.processes))]

    @torch.no_grad()
    def _measure(self, number: int, batch: Batch) -> dict[str, float]:
        if number not in self._reference:
            self._reference[number] = reference_terms(self.model, self.adapter, batch, together=False)
        winner = winner_terms(self.model, batch, static=self.objective.static_weight > 0)
        return self.objective.numbers({**self._reference[number], **winner, **loser_terms(self.model, batch)})
