"""The pairs of a run, and which of them, with which noise and timesteps, a step of the training sees.

What a step sees follows from the seed and the step alone, so that a training is resumed by knowing its step.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from videogpa.config import TimestepsConfig
from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.maths.diffusion import bell_weights, logit_normal, shifted
from videogpa.models.base import VideoModel
from videogpa.records import Latents, Pair
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.storage.tensors import damage, read_tensors

_NAMED = 3  # files in a message

PairWeighting = Literal["none", "confidence"]


@dataclass(frozen=True)
class EncodedPair:
    """The rows of latents.jsonl of a winner and of its loser. Both are of one prompt, and share its condition."""

    winner: Latents
    loser: Latents
    weight: float = 1.0
    """The weight of its loss."""


def read_pairs(folder: RunFolder, weighting: PairWeighting = "none") -> list[EncodedPair]:
    """Return the pairs of a run folder, in the order of pairs.jsonl.

    Args:
        folder: The run folder.
        weighting: What gives the weights of the pairs: `train.pair_weighting`.

    Raises:
        UserError: If there is none, or one is not encoded; the message says why and what to change.
    """
    rows = manifests.pairs(folder).rows()
    found = [(pair.winner, pair.loser, pair) for pair in rows if pair.winner is not None and pair.loser is not None]
    if not found:
        reasons = [str(pair.dropped) for pair in rows]
        counts = "; ".join(f"{reasons.count(reason)} x {reason}" for reason in dict.fromkeys(reasons)) or "no group at all"
        raise UserError(
            f"there is no pair to train on ({counts}). Lower pair.min_gap, pair.min_sigma or pair.min_motion, raise "
            "generate.candidates, or give more prompts."
        )
    latents = {row.clip: row for row in manifests.latents(folder).rows()}
    missing = [name for winner, loser, _ in found for name in (winner, loser) if name not in latents]
    if missing:
        raise MissingInput(f"these paired clips are not encoded: {', '.join(missing[:5])}. Run `videogpa encode` first.")
    return [EncodedPair(latents[winner], latents[loser], _weight(pair, weighting)) for winner, loser, pair in found]


def _weight(pair: Pair, weighting: PairWeighting) -> float:
    """Return the weight of a pair. With normal errors of the scores, P(better) - P(worse) is erf(gap / standard error / √2)."""
    if weighting == "none" or pair.sigmas is None:
        return 1.0
    return math.erf(pair.sigmas / math.sqrt(2))


def hold_out(pairs: Sequence[EncodedPair], share: float, seed: int) -> tuple[list[EncodedPair], list[EncodedPair]]:
    """Divide the pairs into those to train on and those that are only measured.

    All pairs of a prompt go to the same side, since pairs of one prompt are not independent.

    Args:
        pairs: All pairs of the run.
        share: Which share of the prompts is held out, in [0, 1); the number of prompts is rounded down.
        seed: Decides, together with the prompts' names, which prompts are held out. The order of the pairs does not matter.

    Returns:
        The pairs to train on and the held-out pairs, each in the order given.
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
    """Some pairs, each with one noise and one timestep that winner and loser share.

    Latents and noise are float32. `conditions` is what the transformer is shown besides noisy latents
    (`VideoModel.encode_condition`), stacked along a first axis of pairs.
    """

    winner: Float[Tensor, "pairs latent_frames channels h w"]
    loser: Float[Tensor, "pairs latent_frames channels h w"]
    noise: Float[Tensor, "pairs latent_frames channels h w"]
    timesteps: Int[Tensor, " pairs"]
    conditions: dict[str, Tensor]
    weights: Float[Tensor, " pairs"] | None = None
    """Weights of the pairs' losses; None where all are 1."""

    def __len__(self) -> int:
        return len(self.winner)

    def split(self) -> "Iterator[Batch]":
        """Yield the same pairs one by one."""
        for i in range(len(self)):
            rows = slice(i, i + 1)
            conditions = {name: tensor[rows] for name, tensor in self.conditions.items()}
            weights = None if self.weights is None else self.weights[rows]
            yield Batch(self.winner[rows], self.loser[rows], self.noise[rows], self.timesteps[rows], conditions, weights)


@dataclass(frozen=True)
class Batches:
    """Reads batches of pairs from a run folder onto a device, and draws their noise and timesteps."""

    pairs: Sequence[EncodedPair]
    folder: RunFolder
    model: VideoModel
    device: torch.device
    timesteps: TimestepsConfig
    seed: int

    def at(self, positions: Sequence[int]) -> Batch:
        """Return the pairs at these positions of the sampler, with the noise and the timesteps that belong to the positions.

        Args:
            positions: 0, 1, ... as `videogpa.training.distributed.positions` gives them; see `pair_index`.

        Raises:
            UserError: If a file of latents cannot be read.
        """
        chosen = [self.pairs[pair_index(position, len(self.pairs), self.seed)] for position in positions]
        generators = [_generator("noise", self.seed, position) for position in positions]
        return self._load(chosen, torch.stack([torch.rand((), generator=one) for one in generators]), generators)

    def fixed(self, index: int, quantile: float) -> Batch:
        """Return one pair at a quantile in [0, 1) of the timesteps, with noise that is the same each time."""
        generator = _generator("fixed", self.seed, index, round(1000 * quantile))
        return self._load([self.pairs[index]], torch.tensor([quantile]), [generator])

    def _load(
        self, chosen: Sequence[EncodedPair], quantiles: Float[Tensor, " pairs"], generators: Sequence[torch.Generator]
    ) -> Batch:
        winners = [_read(row.winner.path, self.folder)["latents"].float() for row in chosen]
        losers = [_read(row.loser.path, self.folder)["latents"].float() for row in chosen]
        conditions = [_read(row.winner.condition, self.folder) for row in chosen]
        noise = [torch.randn(clean.shape, generator=one) for clean, one in zip(winners, generators, strict=True)]
        levels = self._levels(quantiles)
        return Batch(
            winner=torch.stack(winners).to(self.device),
            loser=torch.stack(losers).to(self.device),
            noise=torch.stack(noise).to(self.device),
            timesteps=self.model.timesteps_at(levels).to(self.device),
            conditions={name: torch.stack([c[name] for c in conditions]).to(self.device) for name in conditions[0]},
            weights=self._weights(levels, chosen),
        )

    def _levels(self, quantiles: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
        """Map quantiles of the recipe's distribution to places in the model's range of timesteps, both in [0, 1)."""
        recipe = self.timesteps
        levels = quantiles
        if recipe.sampling == "logit-normal":
            levels = logit_normal(quantiles, mean=recipe.logit_mean, std=recipe.logit_std)
        return shifted(levels, recipe.shift)

    def _weights(self, levels: Float[Tensor, " pairs"], chosen: Sequence[EncodedPair]) -> Float[Tensor, " pairs"] | None:
        by_pair = torch.tensor([pair.weight for pair in chosen])
        if self.timesteps.weighting != "none":
            by_pair = by_pair * bell_weights(levels, shift=self.timesteps.shift)
        elif bool((by_pair == 1).all()):
            return None
        return by_pair.to(self.device)


def pair_index(position: int, pairs: int, seed: int) -> int:
    """Return the index of the pair at a position of the sampler: in every epoch each pair once, in a new order.

    Args:
        position: 0, 1, ... over all epochs.
        pairs: How many pairs there are.
        seed: Decides the orders.
    """
    epoch, place = divmod(position, pairs)
    return int(torch.randperm(pairs, generator=_generator("order", seed, epoch))[place])


def _generator(purpose: str, *keys: int) -> torch.Generator:
    """Return a generator on the CPU for a purpose and keys; the hash makes those of neighbouring seeds independent."""
    digest = hashlib.sha256(f"{purpose}/{'/'.join(map(str, keys))}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def require_whole(pairs: Sequence[EncodedPair], folder: RunFolder) -> None:
    """Check, before hours of work, that the files of all pairs are what was written.

    Raises:
        UserError: If some are missing or damaged; the message names them, and what makes them again.
        OSError: If one cannot be read now.
    """
    rows = [row for pair in pairs for row in (pair.winner, pair.loser)]
    broken = {}
    for path in dict.fromkeys(name for row in rows for name in (row.path, row.condition)):
        why = damage(folder / path)
        if why is not None or not (folder / path).exists():
            broken[path] = why or "missing"
    if broken:
        named = ", ".join(f"{folder / path} ({why})" for path, why in list(broken.items())[:_NAMED])
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise UserError(f"latents are damaged or missing: {named}{more}. `videogpa run` makes them again, and nothing else.")


def _read(path: str, folder: RunFolder) -> dict[str, Tensor]:
    try:
        return read_tensors(folder / path)
    except (InvalidInput, MissingInput) as error:
        raise UserError(f"{error}. `videogpa run` makes it again, and goes on from the last checkpoint.") from None
