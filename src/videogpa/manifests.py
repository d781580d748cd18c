"""The manifests of a run folder, each in one line: which file, which rows, what tells them apart, which files they promise."""

from videogpa.records import Clip, Latents, Pair, Prompt, Score
from videogpa.runs import Manifest, RunFolder


def prompts(folder: RunFolder) -> Manifest[Prompt]:
    """What clips are asked for, with first frames in prompts/."""
    return Manifest(
        folder / "prompts.jsonl", Prompt, "prompt", files=lambda row: [folder / row.image] if row.image is not None else []
    )


def clips(folder: RunFolder) -> Manifest[Clip]:
    """The candidates, with their videos and what these were decoded from in clips/."""
    return Manifest(
        folder / "clips.jsonl", Clip, "clip", files=lambda row: [folder / name for name in (row.path, row.latents) if name]
    )


def scores(folder: RunFolder) -> Manifest[Score]:
    """What the critics say of the clips, failures included."""
    return Manifest(folder / "scores.jsonl", Score, "critic clip")


def pairs(folder: RunFolder) -> Manifest[Pair]:
    """One row per preference pair, and per group that gave none, with the reason."""
    return Manifest(folder / "pairs.jsonl", Pair, "prompt rank")


def latents(folder: RunFolder) -> Manifest[Latents]:
    """What training reads: the pairs' clips, encoded, and the conditions of their prompts."""
    return Manifest(folder / "latents.jsonl", Latents, "clip", files=lambda row: [folder / row.path, folder / row.condition])
