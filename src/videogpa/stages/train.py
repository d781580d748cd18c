"""train: preference pairs in; train/ (metrics, checkpoints, state.json) and adapter/ in PEFT's format out.

A training is resumed, or kept when it is finished, as long as what decides its result stays the same. `state.json` holds the
fingerprint of that, and once the adapter is there, the adapter's own.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from videogpa import processes
from videogpa.config import ModelConfig, Recipe
from videogpa.devices import pick_device
from videogpa.models.base import TRAINED_PARTS
from videogpa.models.loading import load_model, model_identity
from videogpa.storage.files import write_text
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.training import distributed, memory, monitor
from videogpa.training.data import EncodedPair, hold_out, read_pairs
from videogpa.training.trainer import Trainer

_log = logging.getLogger(__name__)

_NO_EFFECT = {  # settings without effect on the result, but for rounding: a training goes on when they change
    *("batch_size", "gradient_accumulation_steps"),  # but their product, the pairs of a step, has one
    *("joint_forward", "gradient_checkpointing"),
    *("validate_every", "checkpoint_every", "log_every", "trackers"),
}


def run(recipe: Recipe, folder: RunFolder) -> Path:
    """Train the adapter on the run's pairs, going on from the last checkpoint, and return its folder.

    A finished training is kept. Settings, weights or pairs other than those that a training was begun with start it over; its
    files are removed once the new one is ready to take its first step.

    Args:
        recipe: The recipe; `train` and `model` are read.
        folder: The run folder, with pairs.jsonl and latents.jsonl.

    Raises:
        UserError: If there is no pair to train on, the settings ask for what is not installed, the loss is NaN or infinite, or
            the memory does not suffice.
    """
    pairs = read_pairs(folder)
    made_from = _fingerprint(recipe, folder, pairs)
    state, adapter = folder / "train" / "state.json", folder / "adapter"
    if _is_finished(state, made_from, adapter):
        return adapter
    trackers = monitor.choose_trackers(recipe.train)
    remedies = memory.remedies(recipe.train, _trained_model(recipe).dtype)
    with memory.explain_oom(remedies):
        trainer = _new_trainer(recipe, folder, pairs, trackers, made_from, remedies)
        if processes.is_main_process() and _read(state).get("fingerprint") != made_from:
            _start_over(folder)
            write_text(state, json.dumps({"fingerprint": made_from}) + "\n")
        monitor.start_trackers(trainer.accelerator, trackers, recipe.train)
        trainer.train()
    trainer.accelerator.end_training()
    if processes.is_main_process():
        write_text(state, json.dumps({"fingerprint": made_from, "adapter": path_fingerprint(adapter)}) + "\n")
    return adapter


def _new_trainer(
    recipe: Recipe,
    folder: RunFolder,
    pairs: list[EncodedPair],
    trackers: list[str],
    made_from: str,
    remedies: list[memory.Remedy],
) -> Trainer:
    """Join the other processes if there are any, and load the model."""
    config, model_config = recipe.train, _trained_model(recipe)
    sharded = distributed.sharding_requested() and processes.world_size() > 1
    accelerator = distributed.new_accelerator(pick_device(model_config.device), trackers, folder / "train")
    trained, held_out = hold_out(pairs, config.held_out, config.seed)
    _log.info("train on %d pairs, %d are held out", len(trained), len(held_out))
    if sharded:
        model = distributed.load_sharded(model_config, folder, accelerator)
    else:
        model = load_model(model_config, folder, parts=TRAINED_PARTS)
    return Trainer(config, model, trained, held_out, folder, fingerprint=made_from, accelerator=accelerator, remedies=remedies)


def _trained_model(recipe: Recipe) -> ModelConfig:
    """Return the settings of the model in the dtype that it is trained in."""
    return recipe.model.model_copy(update={"dtype": recipe.train.dtype or recipe.model.dtype})


def _fingerprint(recipe: Recipe, folder: RunFolder, pairs: list[EncodedPair]) -> str:
    """Return the fingerprint of all that decides the adapter: settings, pairs per step, weights with their dtype, and data."""
    data = [(pair.winner.fingerprint, pair.loser.fingerprint) for pair in pairs]
    config = recipe.train
    step = processes.world_size() * config.batch_size * config.gradient_accumulation_steps
    settings = (config.model_dump(exclude={*_NO_EFFECT, "dtype"}), recipe.model.expert)
    return fingerprint("train", settings, step, model_identity(_trained_model(recipe), folder), data)


def _is_finished(state: Path, made_from: str, adapter: Path) -> bool:
    read = _read(state)
    return read.get("fingerprint") == made_from and adapter.is_dir() and read.get("adapter") == path_fingerprint(adapter)


def _read(state: Path) -> dict[str, Any]:
    if not state.exists():
        return {}
    content: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))
    return content


def _start_over(folder: RunFolder) -> None:
    """Remove an earlier training: first the record that it was finished, then the rest."""
    (folder / "train" / "state.json").unlink(missing_ok=True)
    for part in (folder / "adapter", folder / "train"):
        if part.exists():
            shutil.rmtree(part)
