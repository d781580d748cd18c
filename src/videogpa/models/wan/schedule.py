"""Noise levels of Wan: which sigma belongs to which timestep, as the scheduler has it at inference.

Flow matching along the straight path z = (1 - sigma) x + sigma eps. The schedulers that Wan's folders come with call the
transformer with 1000 sigma; UniPC cuts it to an integer, and so ends at 999, where Euler ends at 1000.
"""

from copy import deepcopy
from math import ceil
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from videogpa.errors import UserError


class FlowSchedule:
    """The timesteps of a flow-matching scheduler, which are as many as it was trained with, and their noise levels."""

    def __init__(self, scheduler: Any, *, origin: object) -> None:
        """Take a scheduler as diffusers loads it from `origin`, and leave it as it is.

        Raises:
            UserError: If it is not one of flow matching.
        """
        config = scheduler.config
        if config.get("prediction_type", "flow_prediction") != "flow_prediction" or not config.get("use_flow_sigmas", True):
            raise UserError(f"{origin}: its scheduler, {type(scheduler).__name__}, is not set up for flow matching")
        self.count: int = config.num_train_timesteps
        probe = deepcopy(scheduler)
        probe.set_timesteps(1)
        first = probe.timesteps[0]  # where all is noise
        self._last = int(first)
        self.dtype: torch.dtype = first.dtype
        """Of the timesteps that the transformer is called with."""

    @property
    def timesteps(self) -> range:
        """All timesteps, from clean to noise."""
        return range(self._last - self.count + 1, self._last + 1)

    def sigma_at(self, timesteps: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return sigma in (0, 1]: 1 at the last timestep. Of the noise levels that a scheduler cuts to one, the noisiest."""
        return (timesteps.double() + (self.count - self._last)).div(self.count).float()

    def split(self, boundary: float) -> tuple[range, range]:
        """Return the timesteps below the boundary and those from it on."""
        first = min(max(ceil(boundary), self.timesteps.start), self.timesteps.stop)
        return range(self.timesteps.start, first), range(first, self.timesteps.stop)


def timestep_in(timesteps: range, quantiles: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Return the timesteps at quantiles in [0, 1) of a range, each drawn alike."""
    return (quantiles.double() * len(timesteps)).long() + timesteps.start
