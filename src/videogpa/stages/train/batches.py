"""Which pairs, with which noise and timesteps, a step sees.

Nothing here has a state: what step s sees follows from (seed, s) alone, so that a run is resumed by knowing its step.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from videogpa.config import TimestepsConfig
from videogpa.errors import UserError
from videogpa.maths.diffusion import logit_normal, shifted
from videogpa.models.base import VideoModel
from videogpa.runs import RunFolder
from videogpa.stages.train.pairs import EncodedPair


@dataclass(frozen=True, eq=False)
class Batch:
    """Some pairs, with one noise and one timestep for both sides of each."""

    winner: Float[Tensor, "pairs latent_frames channels h w"]
    loser: Float[Tensor, "pairs latent_frames channels h w"]
    noise: Float[Tensor, "pairs latent_frames channels h w"]
    timesteps: Int[Tensor, " pairs"]
    conditions: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.winner)

    def singly(self) -> "Iterator[Batch]":
        """The same pairs, one by one."""
        for i in range(len(self)):
            rows = slice(i, i + 1)
            conditions = {name: tensor[rows] for name, tensor in self.conditions.items()}
            yield Batch(self.winner[rows], self.loser[rows], self.noise[rows], self.timesteps[rows], conditions)


@dataclass(frozen=True)
class Batches:
    """Makes batches of pairs of a run folder, on a device."""

    pairs: Sequence[EncodedPair]
    folder: RunFolder
    model: VideoModel
    device: torch.device
    timesteps: TimestepsConfig
    seed: int

    def at(self, positions: Sequence[int]) -> Batch:
        """Return the pairs at these positions of the sampler, with the noise and the timesteps that belong there."""
        chosen = [self.pairs[pair_index(position, len(self.pairs), self.seed)] for position in positions]
        generators = [_generator("noise", self.seed, position) for position in positions]
        return self._load(chosen, torch.stack([torch.rand((), generator=one) for one in generators]), generators)

    def fixed(self, index: int, quantile: float) -> Batch:
        """Return one pair at a quantile of the timesteps, with noise that is the same each time."""
        generator = _generator("fixed", self.seed, index, round(1000 * quantile))
        return self._load([self.pairs[index]], torch.tensor([quantile]), [generator])

    def _load(
        self, chosen: Sequence[EncodedPair], quantiles: Float[Tensor, " pairs"], generators: Sequence[torch.Generator]
    ) -> Batch:
        winners = [_read(row.winner.path, self.folder)["latents"].float() for row in chosen]
        losers = [_read(row.loser.path, self.folder)["latents"].float() for row in chosen]
        conditions = [_read(row.winner.condition, self.folder) for row in chosen]
        noise = [torch.randn(clean.shape, generator=one) for clean, one in zip(winners, generators, strict=True)]
        return Batch(
            winner=torch.stack(winners).to(self.device),
            loser=torch.stack(losers).to(self.device),
            noise=torch.stack(noise).to(self.device),
            timesteps=self.model.timesteps_at(self._levels(quantiles)).to(self.device),
            conditions={name: torch.stack([c[name] for c in conditions]).to(self.device) for name in conditions[0]},
        )

    def _levels(self, quantiles: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
        """From quantiles of the recipe's distribution to places in the model's range of timesteps, both in [0, 1)."""
        recipe = self.timesteps
        bell = recipe.sampling == "logit-normal"
        levels = logit_normal(quantiles, mean=recipe.mean, std=recipe.std) if bell else quantiles
        return shifted(levels, recipe.shift)


def pair_index(position: int, pairs: int, seed: int) -> int:
    """Return which pair the sampler gives at a position: every pair once an epoch, in a new order each time."""
    epoch, place = divmod(position, pairs)
    return int(torch.randperm(pairs, generator=_generator("order", seed, epoch))[place])


def _generator(purpose: str, *keys: int) -> torch.Generator:
    """A generator on the CPU, independent of all others. Neighbouring seeds are hashed apart."""
    digest = hashlib.sha256(f"{purpose}/{'/'.join(map(str, keys))}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _read(path: str, folder: RunFolder) -> dict[str, Tensor]:
    try:
        return load_file(folder / path)
    except (SafetensorError, FileNotFoundError) as error:
        raise UserError(f"{folder / path} cannot be read ({error}). Remove it, and run `videogpa encode` again.") from None
