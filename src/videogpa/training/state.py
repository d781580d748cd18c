"""train/state.json: which training lies in a run folder, what decides its result, and whether its adapter is written."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from videogpa.config import TrainConfig
from videogpa.config.base import NonNegative
from videogpa.storage.files import set_aside, write_text
from videogpa.storage.fingerprints import path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.training import checkpoints
from videogpa.training.trainer import learning_rate

_log = logging.getLogger(__name__)

MODEL, PAIRS, PAIRS_PER_STEP, START = "model", "pairs", "pairs per step", "initial adapter"
"""What decides a training besides its settings: hashes of weights and latents, a number, and a hash of where it begins."""


class TrainingState(BaseModel):
    """The content of state.json."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    """Of all that decides the adapter but the number of steps."""
    steps: NonNegative | None = None
    """Of the whole training. Version 0.1 hashed it with the rest."""
    decided_by: dict[str, JsonValue] = {}
    """What was hashed, for messages: a setting's name, or `MODEL`, `PAIRS`, ... -> value."""
    adapter: str | None = None
    """The fingerprint of the adapter that the training wrote; None as long as it is not finished."""

    def same(self, other: "TrainingState") -> bool:
        """Whether two trainings have the same result."""
        return (self.fingerprint, self.steps) == (other.fingerprint, other.steps)

    def is_finished(self, folder: RunFolder) -> bool:
        """Whether the training wrote the adapter that is in the folder."""
        adapter = folder / "adapter"
        return self.adapter is not None and adapter.is_dir() and path_fingerprint(adapter) == self.adapter


def read(folder: RunFolder, *, mend: bool) -> TrainingState | None:
    """Return the state of the training in the folder; None if there is none, or it cannot be told.

    Args:
        folder: The run folder.
        mend: Set a damaged state.json aside with a warning, and find out from the checkpoints what it said.

    Raises:
        OSError: If it cannot be read now, which says nothing of what it holds.
    """
    path = folder / "train" / "state.json"
    try:
        return TrainingState.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (IsADirectoryError, ValidationError):
        if mend:
            _log.warning("%s is damaged; it is now %s, and is written again", path, set_aside(path).name)
    note = checkpoints.newest(folder / "train" / "checkpoints") if mend else None
    return None if note is None or not note.fingerprint else TrainingState(fingerprint=note.fingerprint, steps=note.steps)


def write(folder: RunFolder, state: TrainingState) -> None:
    """Write state.json."""
    write_text(folder / "train" / "state.json", state.model_dump_json(indent=1) + "\n")


def differences(old: TrainingState, new: TrainingState) -> str:
    """Say in words what decides two trainings differently: "train.beta is 100.0 and was 500.0"."""
    if not old.decided_by:
        return "its settings, the weights or the pairs have changed"
    was, now = ({**state.decided_by, "train.steps": state.steps} for state in (old, new))
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return " and ".join(_difference(name, was.get(name), now.get(name)) for name in names) or "it is not known what has changed"


def _difference(name: str, was: JsonValue, now: JsonValue) -> str:
    if name == MODEL:
        return "the model, its dtype or its weights have changed"
    if name == PAIRS:
        return "the pairs or their latents have changed"
    if name == START:
        return "the adapter that it goes on from has changed"
    shown = (f"{json.dumps(value) if value is not None else 'the default'}" for value in (now, was))
    return "{} is {} and was {}".format(name, *shown)


def flat(settings: Mapping[str, Any], prefix: str) -> dict[str, JsonValue]:
    """Return nested settings as `prefix.name` -> value."""
    found: dict[str, JsonValue] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}.{name}") if isinstance(value, dict) else {f"{prefix}.{name}": value}
    return found


def why_not_prolonged(config: TrainConfig, steps: int, done: int) -> str | None:
    """Return why a training that was to have `steps` steps cannot go on to `config.steps`; None if it can.

    It can if all that it has done is what a training of `config.steps` steps would have done.
    """
    if done > config.steps:
        return f"{done} steps are done already"

    def rates(whole: int) -> list[float]:
        peak, warmup, schedule = config.learning_rate, config.warmup_steps, config.lr_scheduler
        return [learning_rate(step, peak=peak, warmup=warmup, steps=whole, schedule=schedule) for step in range(done)]

    if rates(steps) != rates(config.steps):
        return (
            f"the learning rate of the {done} steps that are done depends on their number (train.lr_scheduler "
            f"{config.lr_scheduler}); a constant one does not, and such a training can be prolonged"
        )
    return None
