"""A training step written plainly, as published trainers of the method do it: what `train_step.py` measures ours against.

A second, frozen network is the reference. Four forward passes, one after the other: winner and loser through the policy,
both graphs kept; winner and loser through the reference. Everything runs under autocast, weights in its dtype, the adapter in
float32. The official trainer of VideoGPA does this on Lightning's "bf16-mixed", with gradient checkpointing in the policy.

Two things it does otherwise are left out, so that the losses can be compared: it forgets the rotary embeddings, and its beta
has no factor 1/2. So is the VAE, which it keeps in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.functional import logsigmoid, mse_loss

from train_step_networks import cogvideox_scheduler
from videogpa.training.data import Batch, Batches


@dataclass(frozen=True)
class Twin:
    """Two networks, an optimizer, and the pairs of a step one by one."""

    model: Any
    """The adapter of the policy's architecture; it knows what the network is called with, and nothing else of it is used."""
    policy: PeftModel
    reference: Module
    optimizer: torch.optim.Optimizer
    batches: Batches
    error: Callable[[Module, Any, Tensor, Batch], Tensor]
    dtype: torch.dtype
    pairs: int
    beta: float
    clip_norm: float

    @property
    def trained(self) -> list[Parameter]:
        """The parameters of the adapter."""
        return [parameter for parameter in self.policy.parameters() if parameter.requires_grad]

    def take(self, step: int) -> tuple[float, float]:
        """Take a step; return its loss and the norm of its gradient."""
        self.optimizer.zero_grad()
        losses = []
        for part in range(self.pairs):
            batch = self.batches.at([step * self.pairs + part])
            with torch.autocast(self.batches.device.type, self.dtype, enabled=self.dtype != torch.float32):
                loss = self.loss(batch)
            torch.autograd.backward(loss / self.pairs)
            losses.append(float(loss.detach()))
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.clip_norm)
        self.optimizer.step()
        return sum(losses) / self.pairs, float(norm)

    def loss(self, batch: Batch) -> Tensor:
        """Return -log sigmoid of half beta times what the policy gained on the winner more than on the loser."""
        winner = self.error(self.policy, self.model, batch.winner, batch)
        loser = self.error(self.policy, self.model, batch.loser, batch)
        with torch.no_grad():
            winner_before = self.error(self.reference, self.model, batch.winner, batch)
            loser_before = self.error(self.reference, self.model, batch.loser, batch)
        return -logsigmoid(-0.5 * self.beta * ((winner - winner_before) - (loser - loser_before)))


def _velocity_error(network: Module, model: Any, clean: Tensor, batch: Batch) -> Tensor:
    """Return the mean squared error of CogVideoX's prediction, with the noise and the target of its scheduler."""
    noisy = _SCHEDULER.add_noise(clean, batch.noise, batch.timesteps)
    prediction = network(**model.transformer_inputs(noisy, batch.timesteps, batch.conditions))[0]
    target = _SCHEDULER.get_velocity(clean, batch.noise, batch.timesteps)
    return mse_loss(prediction.float(), target)


def _flow_error(network: Module, model: Any, clean: Tensor, batch: Batch) -> Tensor:
    """Return the mean squared error of Wan's prediction. Of UniPC's 1000 timesteps the last, 999, is pure noise."""
    sigma = ((batch.timesteps + 1) / 1000).view(-1, 1, 1, 1, 1)
    noisy = (1 - sigma) * clean + sigma * batch.noise
    prediction = network(**model.transformer_inputs(noisy, batch.timesteps, batch.conditions))[0]
    target = batch.noise - clean
    return mse_loss(prediction.float(), target.transpose(1, 2))  # the network has the channels before the frames


_SCHEDULER = cogvideox_scheduler()

ERRORS = {"cogvideox-5b": _velocity_error, "wan2.1-1.3b": _flow_error}
