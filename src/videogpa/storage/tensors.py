"""Tensors in safetensors files, written atomically, with the fingerprint of what made them and a digest of what they hold."""

import hashlib
import json
import logging
import stat
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.storage.files import atomic_path, set_aside

_LONGEST = 200  # characters of what a library says of a damaged file

_log = logging.getLogger(__name__)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, *, fingerprint: str) -> None:
    """Write tensors to a file, in their dtypes.

    Args:
        tensors: Name -> tensor.
        path: The file to write.
        fingerprint: Stored in the file's metadata, for `read_fingerprint`. It holds no space.

    Raises:
        UserError: If a tensor contains NaN or Inf.
    """
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"the {name} of {path.parent.name}/{path.stem} contain NaN or Inf. Try model.dtype bfloat16 or float32."
            )
    content = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        # One entry for both: safetensors writes several in any order, and equal tensors must give equal bytes.
        save_file(content, temporary, metadata={"fingerprint": f"{fingerprint} {_digest(content)}"})


def read_fingerprint(path: Path) -> str | None:
    """Return the fingerprint stored in a file; None if the file is missing or damaged.

    Raises:
        OSError: If it cannot be read now, which says nothing of what it holds.
    """
    try:
        return _stored(_read(path)[1])[0]
    except (MissingInput, InvalidInput):
        return None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file, on the CPU.

    Raises:
        MissingInput: If there is no such file.
        InvalidInput: If it is damaged: no safetensors file, or no longer what was written. A file that was written without a
            digest, as those of version 0.1 are, is not compared with one.
        OSError: If it cannot be read now, which says nothing of what it holds.
    """
    return _read(path)[0]


def damage(path: Path) -> str | None:
    """Return what is wrong with a file that `save_tensors` has written; None if nothing is, or there is none.

    Raises:
        OSError: If it cannot be read now, which says nothing of what it holds.
    """
    try:
        tensors, metadata = _read(path)
    except MissingInput:
        return None
    except InvalidInput as error:
        return str(error).removeprefix(f"{path} is damaged: ")
    if _stored(metadata)[0] is None:
        return "another program wrote it"
    numbers = {name: tensor.float() for name, tensor in tensors.items() if tensor.is_floating_point()}
    broken = [name for name, tensor in numbers.items() if not bool(torch.isfinite(tensor).all())]
    return f"{', '.join(broken)} of it holds NaN or Inf" if broken else None


def set_aside_if_damaged(path: Path) -> bool:
    """Rename a damaged file to `<name>.damaged` with a warning, so that it is made again, and return whether it was damaged.

    Raises:
        OSError: If it cannot be read now, which says nothing of what it holds: it then stays where it is.
    """
    why = damage(path)
    if why is not None:
        _log.warning("%s is damaged (%s); it is now %s", path, why, set_aside(path).name)
    return why is not None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    """Return tensors and metadata of a file.

    The file is read whole and not mapped into memory: where a disk fails, a mapped file ends the process without a word.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidInput(f"{path} is damaged: it is no file")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingInput(f"{path} is missing") from None
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        raise InvalidInput(f"{path} is damaged: {str(error)[:_LONGEST]}") from None
    metadata = header.get("__metadata__")
    digest = _stored(metadata)[1]
    if digest and digest != _digest(tensors):
        raise InvalidInput(f"{path} is damaged: it is no longer what was written")
    return tensors, metadata


def _stored(metadata: Mapping[str, str] | None) -> tuple[str | None, str]:
    """Return fingerprint and digest of a file's metadata; an empty digest where it holds none."""
    if metadata is None or "fingerprint" not in metadata:
        return None, ""
    fingerprint, _, digest = metadata["fingerprint"].partition(" ")
    return fingerprint, digest


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash names, dtypes, shapes and numbers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
