"""Checkpoints: adapter and optimizer after a number of steps. All else follows from the step and the recipe.

A checkpoint is a folder that appears whole or not at all. It carries the digests of its files, so that one that the disk has
damaged since is noticed, and the one before it is used.
"""

import hashlib
import json
import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from videogpa.models.adapters import load_weights, save_adapter
from videogpa.storage.files import atomic_folder, remove_folder

_KEPT = 2  # the newest, and one to fall back on
_NOTE = "checkpoint.json"
_OPTIMIZER = "optimizer.pt"

_log = logging.getLogger(__name__)


def save(folder: Path, step: int, adapter: PeftModel, optimizer: torch.optim.Optimizer) -> None:
    """Write the checkpoint of `step` finished steps into `folder`, and remove all but the newest two."""
    with atomic_folder(folder / f"{step:08d}") as temporary:
        save_adapter(adapter, temporary)
        state = BytesIO()  # written to a file, torch hides a full disk behind an error about positions
        torch.save(optimizer.state_dict(), state)
        (temporary / _OPTIMIZER).write_bytes(state.getbuffer())
        note = {"step": step, "files": {file.name: _digest(file) for file in sorted(temporary.iterdir())}}
        (temporary / _NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    prune(folder)


def prune(folder: Path) -> None:
    """Remove all checkpoints but the newest two."""
    for old in _newest_first(folder)[_KEPT:]:
        remove_folder(old)


def restore(folder: Path, adapter: PeftModel, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest whole checkpoint into adapter and optimizer, and return its number of finished steps: 0 if there is none.

    A damaged checkpoint is passed over with a warning.
    """
    for path in _newest_first(folder):
        step = _step_of(path)
        if step is None:
            _log.warning("the checkpoint %s is damaged and passed over", path)
            continue
        load_weights(adapter, path)
        optimizer.load_state_dict(torch.load(path / _OPTIMIZER, map_location="cpu", weights_only=True))
        return step
    return 0


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.name.isdecimal()), reverse=True)


def _step_of(path: Path) -> int | None:
    """Return the step of a checkpoint whose files are what they were when it was written, else None."""
    try:
        note: dict[str, Any] = json.loads((path / _NOTE).read_text(encoding="utf-8"))
        whole = all(_digest(path / name) == digest for name, digest in note["files"].items())
        return int(note["step"]) if whole else None
    except (OSError, ValueError, KeyError):
        return None


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
