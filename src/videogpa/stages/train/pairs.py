"""The pairs of a run: which clips, and where their latents lie."""

import hashlib
from dataclasses import dataclass

from videogpa import manifests
from videogpa.errors import UserError
from videogpa.records import Latents
from videogpa.runs import RunFolder


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
