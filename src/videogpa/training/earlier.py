"""Earlier trainings of a run folder: train/ and adapter/ are moved to train.1/ and adapter.1/, and brought back.

Each move is one rename, and every state between two of them is put in order by `recover`: a training that is moved out carries
a note with its number, train/ goes first, and an adapter with a note belongs to the train.N/ of that number.
"""

import logging
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, NonNegativeInt, ValidationError

from videogpa.storage.files import sync, write_text
from videogpa.storage.run_folder import RunFolder
from videogpa.training.state import TrainingState

_NOTE = "replaced.json"
_PARTS = ("train", "adapter")  # in this order: see `recover`

_log = logging.getLogger(__name__)


class Replaced(BaseModel):
    """The content of replaced.json, in train.N/ and adapter.N/."""

    number: NonNegativeInt
    """The N of the folders' names."""
    why: str
    """What took the training's place, or what was wrong with it."""
    when: str
    """When it was moved, in UTC."""
    training: TrainingState | None
    """What decided the training; None if it is not known."""


def recover(folder: RunFolder) -> None:
    """Finish or undo a move that was interrupted."""
    note = _read(folder / "adapter")
    if note is not None and not (folder / "train").exists() and (folder / f"train.{note.number}").exists():
        _rename(folder / "adapter", folder / f"adapter.{note.number}")
    for part in _PARTS:
        _remove_note(folder / part)


def move_out(folder: RunFolder, why: str, training: TrainingState | None, *, parts: tuple[str, ...] = _PARTS) -> list[str]:
    """Move the training to the next free number, and return the names of the folders that it now has.

    Args:
        folder: The run folder.
        why: A sentence for the note.
        training: What decided the training; None if it is not known.
        parts: `train` and `adapter`, or one of them.
    """
    number = 1
    while any((folder / f"{part}.{number}").exists() for part in _PARTS):
        number += 1
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    note = Replaced(number=number, why=why, when=now, training=training).model_dump_json(indent=1) + "\n"
    present = [part for part in parts if (folder / part).exists()]
    for part in present:
        if (folder / part).is_dir():
            write_text(folder / part / _NOTE, note)
    for part in present:
        _rename(folder / part, folder / f"{part}.{number}")
    return [f"{part}.{number}" for part in present]


def find(folder: RunFolder, training: TrainingState) -> int | None:
    """Return the number of an earlier training with the same result; None if there is none."""
    for path in sorted(folder.path.glob("train.*")):
        note = _read(path)
        known = None if note is None or path.name != f"train.{note.number}" else note.training
        if note is not None and known is not None and known.same(training):
            return note.number
    return None


def bring_back(folder: RunFolder, number: int) -> None:
    """Make an earlier training that of the folder again. No other may be in its place."""
    for part in reversed(_PARTS):
        if (folder / f"{part}.{number}").exists():
            _rename(folder / f"{part}.{number}", folder / part)
    for part in _PARTS:
        _remove_note(folder / part)


def _read(path: Path) -> Replaced | None:
    try:
        return Replaced.model_validate_json((path / _NOTE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValidationError):
        return None


def _remove_note(path: Path) -> None:
    if path.is_dir():
        (path / _NOTE).unlink(missing_ok=True)


def _rename(old: Path, new: Path) -> None:
    old.rename(new)
    sync(new.parent)
