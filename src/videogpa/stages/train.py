"""train: preference pairs in; train/ (metrics, checkpoints, state.json) and adapter/ in PEFT's format out."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from videogpa import processes
from videogpa.config import Recipe
from videogpa.devices import pick_device
from videogpa.models.base import Part
from videogpa.models.loading import load_model, model_identity
from videogpa.storage.files import write_text
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.training.data import EncodedPair, read_pairs, split

_log = logging.getLogger(__name__)

_TRAINED: tuple[Part, ...] = ("transformer",)
_NO_EFFECT = {  # on the result, but for rounding: changing them does not start over
    *(
        "batch_size",
        "gradient_accumulation_steps",
        "joint_forward",
        "gradient_checkpointing",
    ),  # the pairs of a step count, however they are divided
    *("validate_every", "checkpoint_every", "log_every", "trackers"),
}


def run(recipe: Recipe, folder: RunFolder) -> Path:
    """Train the adapter, going on from the last checkpoint, and return its folder. A finished one is kept.

    Settings, weights or pairs other than those that a training was begun with start it over.

    Raises:
        UserError: If there is no pair to train on, the loss is no longer a number, or the memory does not suffice.
    """
    pairs = read_pairs(folder)
    made_from = _fingerprint(recipe, folder, pairs)
    state = folder / "train" / "state.json"
    adapter = folder / "adapter"
    if _finished(state, made_from, adapter):
        return adapter
    if processes.is_main_process() and _read(state).get("fingerprint") != made_from:
        _start_over(folder)
        write_text(state, json.dumps({"fingerprint": made_from}) + "\n")
    _train(recipe, folder, pairs, made_from)
    if processes.is_main_process():
        write_text(state, json.dumps({"fingerprint": made_from, "adapter": path_fingerprint(adapter)}) + "\n")
    return adapter


def _train(recipe: Recipe, folder: RunFolder, pairs: list[EncodedPair], made_from: str) -> None:
    from videogpa.training import distributed, memory, monitor  # not before they are needed: they import peft and accelerate
    from videogpa.training.distributed import new_accelerator
    from videogpa.training.trainer import Trainer

    config = recipe.train
    names = monitor.chosen(config)
    sharded = distributed.wanted() and processes.world_size() > 1
    accelerator = new_accelerator(pick_device(recipe.model.device), names, folder / "train")
    monitor.start(accelerator, names, config)
    ways = memory.remedies(config, recipe.model.dtype)
    trained, held_out = split(pairs, config.held_out, config.seed)
    _log.info("train on %d pairs, %d are held out", len(trained), len(held_out))
    with memory.explain_oom(ways):
        if sharded:
            model = distributed.load_sharded(recipe.model, folder, accelerator)
        else:
            model = load_model(recipe.model, folder, parts=_TRAINED)
    Trainer(
        config=config,
        model=model,
        pairs=trained,
        held_out=held_out,
        folder=folder,
        fingerprint=made_from,
        accelerator=accelerator,
        remedies=ways,
    ).train()
    accelerator.end_training()


def _fingerprint(recipe: Recipe, folder: RunFolder, pairs: list[EncodedPair]) -> str:
    data = [(pair.winner.fingerprint, pair.loser.fingerprint) for pair in pairs]
    config = recipe.train
    step = processes.world_size() * config.batch_size * config.gradient_accumulation_steps
    settings = (config.model_dump(exclude=_NO_EFFECT), recipe.model.expert)
    return fingerprint("train", settings, step, model_identity(recipe.model, folder), data)


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
