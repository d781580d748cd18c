"""Noise levels of Wan: the sigma of each timestep, identical to the scheduler's at inference.

Wan uses flow matching along the straight path z = (1 - sigma) x + sigma eps. The schedulers in Wan's folders call the
transformer with the timestep 1000 sigma; UniPC truncates it to an integer, so that its last one is 999, where Euler's is 1000.
"""

from copy import deepcopy
from math import ceil
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from videogpa.errors import InvalidInput


class FlowSchedule:
    """The timesteps of a flow-matching scheduler, as many as the model was trained with, and their noise levels."""

    def __init__(self, scheduler: Any, *, origin: object) -> None:
        """Read a scheduler without changing it.

        Args:
            scheduler: A scheduler as diffusers loads it.
            origin: The folder or hub id that it was loaded from, for the error message.

        Raises:
            InvalidInput: If the scheduler is not set up for flow matching.
        """
        config = scheduler.config
        if config.get("prediction_type", "flow_prediction") != "flow_prediction" or not config.get("use_flow_sigmas", True):
            raise InvalidInput(f"{origin}: its scheduler, {type(scheduler).__name__}, is not set up for flow matching")
        self.count: int = config.num_train_timesteps
        probe = deepcopy(scheduler)
        probe.set_timesteps(1)
        first = probe.timesteps[0]  # the timestep at which the input is pure noise
        self._last = int(first)
        self.dtype: torch.dtype = first.dtype
        """The dtype of the timesteps that the transformer is called with."""

    @property
    def timesteps(self) -> range:
        """All timesteps, from the least noise to pure noise."""
        return range(self._last - self.count + 1, self._last + 1)

    def sigma_at(self, timesteps: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return sigma in (0, 1], 1 at the last timestep.

        Where a scheduler truncates several sigmas to the same timestep, this is the largest of them.
        """
        return (timesteps.double() + (self.count - self._last)).div(self.count).float()

    def split(self, boundary: float) -> tuple[range, range]:
        """Return the timesteps below the boundary, and those at or above it."""
        first = min(max(ceil(boundary), self.timesteps.start), self.timesteps.stop)
        return range(self.timesteps.start, first), range(first, self.timesteps.stop)


def timestep_in(timesteps: range, quantiles: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Return the timesteps at quantiles in [0, 1) of a range; uniform quantiles give uniform timesteps."""
    return (quantiles.double() * len(timesteps)).long() + timesteps.start


def with_shift(scheduler: Any, shift: float | None) -> Any:
    """Return a scheduler like this one with another shift of its noise levels, or the same one if `shift` is None."""
    if shift is None:
        return scheduler
    name = "flow_shift" if "flow_shift" in scheduler.config else "shift"  # diffusers' Euler has the shorter name
    return type(scheduler).from_config(scheduler.config, **{name: shift})
