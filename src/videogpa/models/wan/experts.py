"""The two transformers of Wan2.2 A14B as one network: one handles high noise levels, the other low ones.

Source: Wan2.2, https://github.com/Wan-Video/Wan2.2. The high-noise expert lays the clip out, the low-noise expert refines it.
At inference the pipeline uses one of them at every step; in training every sample of a batch has its own timestep.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn import Module, ModuleDict

COMPONENTS = {"high": "transformer", "low": "transformer_2"}
"""Diffusers' names of the experts, in its folders, its pipelines and the keys of its adapters."""


class Experts(ModuleDict):
    """The experts that are trained, under diffusers' names. The call takes one expert's arguments; each gets its samples."""

    def __init__(self, experts: Mapping[str, Module], *, boundary: float) -> None:
        """Wrap the high-noise expert, the low-noise expert, or both.

        Args:
            experts: The networks under the keys "high" and "low"; one of them may be missing.
            boundary: Samples at this timestep or above go to the high-noise expert, the others to the low-noise one.
        """
        super().__init__({COMPONENTS[expert]: network for expert, network in experts.items()})
        self._boundary = boundary

    def forward(
        self, *, hidden_states: Float[Tensor, " batch *axes"], timestep: Shaped[Tensor, " batch"], **inputs: Any
    ) -> tuple[Float[Tensor, " batch *out_axes"]]:
        """Return the experts' predictions, each for its own samples. Inputs that are tensors have a batch axis.

        Raises:
            KeyError: If a sample belongs to an expert that is not loaded.
        """
        high = timestep >= self._boundary
        sharded = isinstance(self, FSDPModule)
        if not sharded and (high.all() or not high.any()):
            return (self._call("high" if high.all() else "low", hidden_states=hidden_states, timestep=timestep, **inputs),)
        batch = {"hidden_states": hidden_states, "timestep": timestep, **inputs}
        places = {expert: torch.nonzero(mine)[:, 0] for expert, mine in (("high", high), ("low", ~high))}
        asked = {expert: rows for expert, rows in places.items() if len(rows) or (sharded and COMPONENTS[expert] in self)}
        parts = [
            self._call(expert, **_rows(batch, rows)) if len(rows) else self._join(expert, batch)
            for expert, rows in asked.items()
        ]
        order = torch.cat(list(asked.values()))
        return (torch.cat(parts)[order.argsort()],)

    def _join(self, expert: str, batch: Mapping[str, Any]) -> Float[Tensor, "0 channels frames h w"]:
        """Run an expert that has no sample in this process on one frame, and return an empty prediction.

        With sharded weights, the processes that have samples for this expert cannot gather its weights without this process, in
        the forward or the backward pass.
        """
        frame = {**_rows(batch, torch.tensor([0])), "hidden_states": batch["hidden_states"][:1, :, :1]}
        prediction = self._call(expert, **frame)
        return prediction[:0].reshape(0, prediction.shape[1], *batch["hidden_states"].shape[2:])

    def _call(self, expert: str, **inputs: Any) -> Tensor:
        prediction: Tensor = self[COMPONENTS[expert]](**inputs)[0]
        return prediction


def _rows(inputs: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    return {name: value[rows] if isinstance(value, Tensor) else value for name, value in inputs.items()}
