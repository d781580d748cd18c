"""The stage of a run: train/ (metrics, checkpoints, state.json) and adapter/ in PEFT's format."""

import json
import shutil
from pathlib import Path
from typing import Any

from videogpa.config import Recipe
from videogpa.models.base import Part
from videogpa.models.loading import load_model, model_identity
from videogpa.runs import RunFolder, fingerprint, path_fingerprint, write_text
from videogpa.stages.train.pairs import EncodedPair, read_pairs

_TRAINED: tuple[Part, ...] = ("transformer",)
_NO_EFFECT = {"checkpoint_every", "log_every"}  # on the result: changing them does not start over


def run(recipe: Recipe, folder: RunFolder) -> Path:
    """Train the adapter, going on from the last checkpoint, and return its folder. A finished one is kept.

    Settings, weights or pairs other than those that a training was begun with start it over.

    Raises:
        UserError: If there is no pair to train on, or the loss is no longer a number.
    """
    pairs = read_pairs(folder)
    made_from = _fingerprint(recipe, folder, pairs)
    state = folder / "train" / "state.json"
    adapter = folder / "adapter"
    if _finished(state, made_from, adapter):
        return adapter
    if _read(state).get("fingerprint") != made_from:
        _start_over(folder)
        write_text(state, json.dumps({"fingerprint": made_from}) + "\n")

    from videogpa.stages.train.trainer import Trainer  # not before it is needed: imports peft and accelerate

    Trainer(
        config=recipe.train,
        model=load_model(recipe.model, folder, parts=_TRAINED),
        pairs=pairs,
        folder=folder,
        fingerprint=made_from,
    ).train()
    write_text(state, json.dumps({"fingerprint": made_from, "adapter": path_fingerprint(adapter)}) + "\n")
    return adapter


def _fingerprint(recipe: Recipe, folder: RunFolder, pairs: list[EncodedPair]) -> str:
    data = [(pair.winner.fingerprint, pair.loser.fingerprint) for pair in pairs]
    settings = (recipe.train.model_dump(exclude=_NO_EFFECT), recipe.model.expert)
    return fingerprint("train", settings, model_identity(recipe.model, folder), data)


def _finished(state: Path, made_from: str, adapter: Path) -> bool:
    read = _read(state)
    return read.get("fingerprint") == made_from and adapter.is_dir() and read.get("adapter") == path_fingerprint(adapter)


def _read(state: Path) -> dict[str, Any]:
    if not state.exists():
        return {}
    content: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))
    return content


def _start_over(folder: RunFolder) -> None:
    """Remove an earlier training: first what says that it was finished, then the rest."""
    (folder / "train" / "state.json").unlink(missing_ok=True)
    for part in (folder / "adapter", folder / "train"):
        if part.exists():
            shutil.rmtree(part)
