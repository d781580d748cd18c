"""train: preference pairs in; train/ (metrics, checkpoints, state.json) and adapter/ in PEFT's format out.

A training is resumed, or kept when it is finished, as long as what decides its result stays the same: `training/state.py`. More
steps prolong it where the schedule of the learning rate allows. What another training replaces is moved aside:
`training/earlier.py`.
"""

import logging
from pathlib import Path

from videogpa import processes
from videogpa.config import ModelConfig, Recipe, TrainConfig
from videogpa.devices import pick_device
from videogpa.models.base import TRAINED_PARTS
from videogpa.models.loading import in_use, load_model, model_identities
from videogpa.storage.files import set_aside
from videogpa.storage.fingerprints import fingerprint, hashed, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.training import checkpoints, distributed, earlier, memory, metrics, monitor, state
from videogpa.training.data import EncodedPair, hold_out, read_pairs, require_whole
from videogpa.training.state import TrainingState
from videogpa.training.trainer import Trainer

_log = logging.getLogger(__name__)

_NO_EFFECT = {  # settings without effect on the result, but for rounding: a training goes on when they change
    *("batch_size", "gradient_accumulation_steps"),  # but their product, the pairs of a step, has one
    *("joint_forward", "gradient_checkpointing"),
    *("validate_every", "checkpoint_every", "log_every", "trackers"),
}


def run(recipe: Recipe, folder: RunFolder) -> Path:
    """Train the adapter on the run's pairs, going on from the last checkpoint, and return its folder.

    A finished training is kept. One with settings, weights or pairs other than those that are asked for is moved to `train.1/`
    and `adapter.1/`, or the next free number, once the new one is ready to take its first step; if those that are asked for
    were moved aside before, they are brought back. More steps prolong a training where the schedule of the learning rate
    allows.

    Args:
        recipe: The recipe; `train` and `model` are read.
        folder: The run folder, with pairs.jsonl and latents.jsonl.

    Raises:
        UserError: If there is no pair to train on, the settings ask for what is not installed, the loss is NaN or infinite, or
            the memory does not suffice.
    """
    pairs = read_pairs(folder, recipe.train.pair_weighting)
    wanted, before = _wanted(recipe, folder, pairs)
    found = _find(folder, wanted, before)
    adapter = folder / "adapter"
    if found is not None and found.same(wanted) and found.is_finished(folder):
        return adapter
    require_whole(pairs, folder)
    _warn_of_other_candidates(recipe)
    trackers = monitor.choose_trackers(recipe.train)
    remedies = memory.remedies(recipe.train, _trained_model(recipe).dtype)
    with memory.explain_oom(remedies):
        trainer = _new_trainer(recipe, folder, pairs, trackers, wanted.fingerprint, remedies)
        if processes.is_main_process():
            _make_way(recipe, folder, found, wanted)
            folder.begun()
        monitor.start_trackers(trainer.accelerator, trackers, recipe.train)
        trainer.train()
    trainer.accelerator.end_training()
    if processes.is_main_process():
        state.write(folder, wanted.model_copy(update={"adapter": path_fingerprint(adapter)}))
    return adapter


def _warn_of_other_candidates(recipe: Recipe) -> None:
    """Say that the candidates are not of the policy that training begins with, if that is so."""
    given, initial = recipe.generate.adapter, recipe.train.initial_adapter
    if given is not None and initial is None:
        _log.warning(
            "candidates were made with generate.adapter, and training begins at the model without it, which is its reference. "
            "For a second round, set train.initial_adapter to the same LoRA, or use `videogpa run --rounds`: "
            "docs/how-to/rounds.md"
        )


def _find(folder: RunFolder, wanted: TrainingState, before: str) -> TrainingState | None:
    """Return the state of the training in the folder, after putting the folder in order; None if there is none.

    Args:
        folder: The run folder.
        wanted: The training that is asked for.
        before: The fingerprint that version 0.1 gave it.
    """
    if not processes.is_main_process():
        return state.read(folder, mend=False)
    earlier.recover(folder)
    found = state.read(folder, mend=True)
    if found is not None and found.steps is None and found.fingerprint == before:
        found = wanted.model_copy(update={"adapter": found.adapter})
        metrics.mark(folder, wanted.fingerprint)
        state.write(folder, found)
    number = None if found is not None and found.same(wanted) else earlier.find(folder, wanted)
    if number is not None and processes.world_size() > 1:  # the other processes may be reading what would be renamed
        _log.warning("the training in train.%d was with these settings: one process alone brings it back", number)
    elif number is not None:
        moved = _move_out(folder, found, f"the training of train.{number}, which was asked for again")
        earlier.bring_back(folder, number)
        _log.warning("the training in train.%d was with these settings, and is that of the folder again%s", number, moved)
        found = state.read(folder, mend=True)
    return found


def _make_way(recipe: Recipe, folder: RunFolder, found: TrainingState | None, wanted: TrainingState) -> None:
    """Prepare the folder for the training that is asked for: to go on, to be prolonged, or to begin anew."""
    if found is None or found.fingerprint != wanted.fingerprint:
        _begin_anew(folder, found, wanted, "")
    elif found.steps != wanted.steps:
        _change_steps(recipe, folder, found, wanted)
    elif (folder / "adapter").exists() and not found.is_finished(folder):
        _set_adapter_aside(folder, found)
    state.write(folder, wanted)


def _change_steps(recipe: Recipe, folder: RunFolder, found: TrainingState, wanted: TrainingState) -> None:
    """Prolong a training, or shorten one that is not that far yet, if that gives what a new one would; else begin anew."""
    note = checkpoints.newest(folder / "train" / "checkpoints")
    done, steps = 0 if note is None else note.step, found.steps or 0
    reason = state.why_not_prolonged(recipe.train, steps, done)
    if reason is not None:
        _begin_anew(folder, found, wanted, f"; it cannot go on: {reason}")
        return
    moved = _where(earlier.move_out(folder, f"prolonged to {wanted.steps} steps", found, parts=("adapter",)))
    metrics.drop_end(folder, recipe.train, steps)
    _log.warning("train.steps is %s and was %s: the training goes on after step %d%s", wanted.steps, steps, done, moved)


def _begin_anew(folder: RunFolder, found: TrainingState | None, wanted: TrainingState, reason: str) -> None:
    """Move aside what lies in the place of a new training, and say why."""
    changed = "it is not known what it was trained with" if found is None else state.differences(found, wanted)
    moved = _move_out(folder, found, f"a training for which {changed}")
    if moved:
        _log.warning("a new training begins, since %s%s%s", changed, reason, moved)


def _move_out(folder: RunFolder, found: TrainingState | None, why: str) -> str:
    """Move train/ and adapter/ aside, and return where they are in words; nothing if there was neither."""
    if (folder / "train").is_dir() and not any((folder / "train").iterdir()):
        (folder / "train").rmdir()
    return _where(earlier.move_out(folder, f"replaced by {why}", found))


def _where(names: list[str]) -> str:
    return f". The one before is kept in {' and '.join(names)}" if names else ""


def _set_adapter_aside(folder: RunFolder, found: TrainingState) -> None:
    """Set aside an adapter that is not the one that the training wrote; it is written again from the last checkpoint."""
    note = checkpoints.newest(folder / "train" / "checkpoints")
    if found.adapter is None and note is not None and note.step == found.steps:
        return  # stopped between writing the adapter and saying so
    aside = set_aside(folder / "adapter")
    _log.warning("%s is not what the training wrote; it is now %s, and is written again", folder / "adapter", aside.name)


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


def _wanted(recipe: Recipe, folder: RunFolder, pairs: list[EncodedPair]) -> tuple[TrainingState, str]:
    """Return what `_describe` does, with the identity of the model that the training in the folder was made with, if any."""
    described = {model: _describe(recipe, pairs, model) for model in model_identities(_trained_model(recipe), folder)}
    found = state.read(folder, mend=False)
    made_from = None if found is None else found.fingerprint
    model = in_use(list(described), lambda model: made_from in (described[model][0].fingerprint, described[model][1]))
    return described[model]


def _describe(recipe: Recipe, pairs: list[EncodedPair], model: str) -> tuple[TrainingState, str]:
    """Return what decides the adapter: settings, pairs per step, weights with their dtype, and data.

    Args:
        recipe: The sections `train` and `model` are read.
        pairs: The pairs of the run.
        model: The identity of the model.

    Returns:
        The state of such a training before its first step, and the fingerprint that version 0.1 gave it.
    """
    data: list[tuple[object, ...]] = [(pair.winner.fingerprint, pair.loser.fingerprint) for pair in pairs]
    if recipe.train.pair_weighting != "none":
        data = [(*names, pair.weight) for names, pair in zip(data, pairs, strict=True)]
    config, start = recipe.train, _start(recipe.train)
    step = processes.world_size() * config.batch_size * config.gradient_accumulation_steps
    no_effect = {*_NO_EFFECT, "dtype", "initial_adapter", *(() if start else ("reference",))}
    settings = hashed(config, exclude=no_effect)
    before = fingerprint("train", (settings, recipe.model.expert), step, model, data)
    steps = settings.pop("steps")
    made_from = fingerprint("train", (settings, recipe.model.expert), step, model, data, *start.values())
    decided_by = {
        **state.flat(settings, "train"),
        "model.expert": recipe.model.expert,
        state.PAIRS_PER_STEP: step,
        state.MODEL: model,
        state.PAIRS: fingerprint(data),
        **start,
    }
    return TrainingState(fingerprint=made_from, steps=steps, decided_by=decided_by), before


def _start(config: TrainConfig) -> dict[str, str]:
    """Return the fingerprint of the adapter that training goes on from, if any, under its name in `decided_by`."""
    if config.initial_adapter is None:
        return {}
    from videogpa.models.adapters import adapter_fingerprint  # imported here because it imports peft

    return {state.START: adapter_fingerprint(config.initial_adapter)}
