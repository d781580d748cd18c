"""What training reads: the pairs, their latents, and which of them, with which noise, a step sees.

Nothing here has a state: what step s sees follows from (seed, s) alone, so that a run is resumed by knowing its step.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from videogpa import manifests
from videogpa.errors import UserError
from videogpa.models.base import VideoModel
from videogpa.records import Latents
from videogpa.runs import RunFolder


@dataclass(frozen=True)
class EncodedPair:
    """The latents rows of a winner and of its loser. They share the condition."""

    winner: Latents
    loser: Latents


@dataclass(frozen=True, eq=False)
class Batch:
    """Some pairs, with one noise and one timestep for both sides of each."""

    winner: Float[Tensor, "pairs latent_frames channels h w"]
    loser: Float[Tensor, "pairs latent_frames channels h w"]
    noise: Float[Tensor, "pairs latent_frames channels h w"]
    timesteps: Int[Tensor, " pairs"]
    conditions: dict[str, Tensor]


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


def pair_index(position: int, pairs: int, seed: int) -> int:
    """Return which pair the sampler gives at a position: every pair once an epoch, in a new order each time."""
    epoch, place = divmod(position, pairs)
    return int(torch.randperm(pairs, generator=_generator("order", seed, epoch))[place])


def load_batch(
    pairs: Sequence[EncodedPair],
    folder: RunFolder,
    model: VideoModel,
    *,
    seed: int,
    positions: Sequence[int],
    device: torch.device,
) -> Batch:
    """Load the pairs at these positions of the sampler, with the noise and the timesteps that belong there."""
    chosen = [pairs[pair_index(position, len(pairs), seed)] for position in positions]
    winners = [_load(row.winner.path, folder)["latents"] for row in chosen]
    losers = [_load(row.loser.path, folder)["latents"] for row in chosen]
    conditions = [_load(row.winner.condition, folder) for row in chosen]
    generators = [_generator("noise", seed, position) for position in positions]
    quantiles = torch.stack([torch.rand((), generator=generator) for generator in generators])
    noise = [torch.randn(clean.shape, generator=generator) for clean, generator in zip(winners, generators, strict=True)]
    return Batch(
        winner=torch.stack(winners).to(device),
        loser=torch.stack(losers).to(device),
        noise=torch.stack(noise).to(device),
        timesteps=model.timesteps_at(quantiles).to(device),
        conditions={name: torch.stack([c[name] for c in conditions]).to(device) for name in conditions[0]},
    )


def _generator(purpose: str, *keys: int) -> torch.Generator:
    """A generator on the CPU, independent of all others. Neighbouring seeds are hashed apart."""
    digest = hashlib.sha256(f"{purpose}/{'/'.join(map(str, keys))}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _load(path: str, folder: RunFolder) -> dict[str, Tensor]:
    try:
        return load_file(folder / path)
    except (SafetensorError, FileNotFoundError) as error:
        raise UserError(f"{folder / path} cannot be read ({error}). Remove it, and run `videogpa encode` again.") from None
