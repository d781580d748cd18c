"""The pairs of a run, and which of them, with which noise and timesteps, a step sees.

What step s sees follows from (seed, s) alone, so that a run is resumed by knowing its step.
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
from videogpa.records import Latents
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder


@dataclass(frozen=True)
class EncodedPair:
    """The latents rows of a winner and of its loser. They share the condition."""

    winner: Latents
    loser: Latents


def read_pairs(folder: RunFolder) -> list[EncodedPair]:
    """Return the run's pairs in order.

    Raises:
        UserError: If there is none, or one is not encoded; the message says why and what to change.
    """
    rows = manifests.pairs(folder).rows()
    found = [(pair.winner, pair.loser) for pair in rows if pair.winner is not None and pair.loser is not None]
    if not found:
        reasons = [str(pair.dropped) for pair in rows]
        counts = "; ".join(f"{reasons.count(reason)} x {reason}" for reason in dict.fromkeys(reasons)) or "no group at all"
        raise UserError(
            f"there is no pair to train on ({counts}). Lower pair.min_gap or pair.min_motion, raise "
            "generate.candidates, or give more prompts."
        )
    latents = {row.clip: row for row in manifests.latents(folder).rows()}
    missing = [name for pair in found for name in pair if name not in latents]
    if missing:
        raise UserError(f"these paired clips are not encoded: {', '.join(missing[:5])}. Run `videogpa encode` first.")
    return [EncodedPair(latents[winner], latents[loser]) for winner, loser in found]


def split(pairs: list[EncodedPair], share: float, seed: int) -> tuple[list[EncodedPair], list[EncodedPair]]:
    """Return the pairs to train on, and those held out: all pairs of some prompts, `share` of the prompts rounded down.

    By prompt, since pairs of one prompt are not independent. Who is held out follows from the prompts' names and the seed.
    """
    prompts = {pair.winner.prompt for pair in pairs}
    shuffled = sorted(prompts, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    held_out = set(shuffled[: int(share * len(prompts))])
    return (
        [pair for pair in pairs if pair.winner.prompt not in held_out],
        [pair for pair in pairs if pair.winner.prompt in held_out],
    )


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

    def _split(self) -> "Iterator[Batch]":
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
        levels = logit_normal(quantiles, mean=recipe.logit_mean, std=recipe.logit_std) if bell else quantiles
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
