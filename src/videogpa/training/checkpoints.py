"""Checkpoints: adapter and optimizer after a number of steps. All else follows from the step and the recipe.

A checkpoint is a folder that appears whole or not at all. It carries the digests of its files, so that one that the disk has
damaged since is noticed, and the one before it is used.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videogpa.config.base import NonNegative
from videogpa.errors import UserError
from videogpa.models.adapters import load_weights, save_adapter
from videogpa.models.lora_files import CONFIG_FILE, WEIGHTS_FILE
from videogpa.storage.files import atomic_folder, remove_folder, set_aside

_KEPT = 2  # the newest, and one to fall back on
_NOTE = "checkpoint.json"
_OPTIMIZER = "optimizer.safetensors"
_FILES = {CONFIG_FILE, WEIGHTS_FILE, _OPTIMIZER}

_log = logging.getLogger(__name__)


class Note(BaseModel):
    """The content of checkpoint.json."""

    step: NonNegative
    """Finished steps."""
    files: dict[str, str]
    """File name -> digest."""
    fingerprint: str = ""
    """Of the training, without its number of steps."""
    steps: NonNegative | None = None
    """How many steps the training was to have when the checkpoint was written."""


def save(
    folder: Path,
    step: int,
    adapter: PeftModel,
    optimizer: torch.optim.Optimizer,
    *,
    fingerprint: str = "",
    steps: int | None = None,
) -> None:
    """Write the checkpoint of `step` finished steps into `folder`, and remove all but the newest two.

    Args:
        folder: The folder of the checkpoints.
        step: How many steps are finished.
        adapter: The adapter.
        optimizer: Its optimizer.
        fingerprint: That of the training.
        steps: How many steps the training is to have.
    """
    with atomic_folder(folder / f"{step:08d}") as temporary:
        save_adapter(adapter, temporary)
        _save_optimizer(optimizer, temporary / _OPTIMIZER)
        digests = {file.name: _digest(file) for file in sorted(temporary.iterdir())}
        note = Note(step=step, files=digests, fingerprint=fingerprint, steps=steps)
        (temporary / _NOTE).write_text(note.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for old in _newest_first(folder)[_KEPT:]:
        remove_folder(old)


def clean(folder: Path) -> None:
    """Set damaged checkpoints aside with a warning, and remove all but the newest two of the others."""
    for old in [path for path, _ in _whole(folder)][_KEPT:]:
        remove_folder(old)


def newest(folder: Path) -> Note | None:
    """Return what the newest whole checkpoint says of itself; None if there is none. A damaged one is set aside."""
    return next((note for _, note in _whole(folder)), None)


def restore(folder: Path, adapter: PeftModel, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest whole checkpoint into adapter and optimizer, and return its number of finished steps: 0 if there is none.

    A damaged checkpoint is set aside with a warning.
    """
    for path, note in _whole(folder):
        try:
            state = _read_optimizer(path / _OPTIMIZER, optimizer)
            load_weights(adapter, path)
        except (UserError, SafetensorError, ValueError) as error:
            _give_up(path, str(error))
            continue
        optimizer.load_state_dict(state)
        return note.step
    return 0


def _whole(folder: Path) -> Iterator[tuple[Path, Note]]:
    """Yield the checkpoints whose files are what they were when they were written, the newest first; set the others aside.

    Raises:
        OSError: If a file cannot be read now, which says nothing of what it holds.
    """
    for path in _newest_first(folder):
        try:
            yield path, _checked(path)
        except ValueError as error:
            _give_up(path, str(error))


def _give_up(path: Path, why: str) -> None:
    try:
        aside = set_aside(path)
    except FileNotFoundError:  # another process was first
        return
    _log.warning("the checkpoint %s is damaged (%s) and is not used; it is now %s", path, why, aside.name)


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if re.fullmatch(r"[0-9]{8,}", path.name)]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def _checked(path: Path) -> Note:
    """Return the note of a checkpoint whose files are what they were when it was written.

    Raises:
        OSError: If a file cannot be read now.
        ValueError: If one is damaged or missing.
    """
    try:
        note = Note.model_validate_json((path / _NOTE).read_bytes())
    except (ValidationError, FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ValueError(f"{_NOTE} is not readable") from None
    if "optimizer.pt" in note.files:
        raise ValueError("version 0.1 wrote it, whose optimizer.pt is a pickle")
    if set(note.files) != _FILES or note.step != int(path.name):
        raise ValueError(f"{_NOTE} is not of this checkpoint")
    for name, digest in note.files.items():
        if not (path / name).is_file() or _digest(path / name) != digest:
            raise ValueError(f"{name} is missing or no longer what was written")
    return note


# The optimizer's state, in safetensors: {parameter: {name: tensor or number, or a further table}}.


def _save_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Write the state of the parameters. The groups and their settings follow from the recipe."""
    state = dict(_flat(optimizer.state_dict()["state"]))
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items() if isinstance(value, Tensor)}
    others = {name: value for name, value in state.items() if name not in tensors}
    save_file(tensors, path, metadata={"others": json.dumps(others)})


def _flat(table: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _read_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return what `load_state_dict` of this optimizer takes.

    Raises:
        SafetensorError: If the file is no safetensors file.
        ValueError: If it is not the state of such an optimizer.
    """
    current = optimizer.state_dict()
    with safe_open(path, framework="pt") as file:
        found: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        found |= json.loads((file.metadata() or {}).get("others", "{}"))
    state: dict[int, Any] = {}
    for name, value in found.items():
        parameter, *tables, last = name.split("/")
        table = state.setdefault(int(parameter), {})
        for key in tables:
            table = table.setdefault(key, {})
        table[last] = value
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    if state and sorted(state) != list(range(len(shapes))):
        raise ValueError(f"{path.name} is of {len(state)} tensors, where the adapter has {len(shapes)}")
    for index, of in state.items():
        moments = [of[name] for name in ("exp_avg", "exp_avg_sq") if name in of]
        if any(not isinstance(moment, Tensor) or moment.shape != shapes[index] for moment in moments):
            raise ValueError(f"{path.name} is of tensors of another shape")
    return {**current, "state": state}


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
