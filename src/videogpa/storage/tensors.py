"""Tensors in safetensors files, written atomically, with the fingerprint of what made them and a digest of what they hold."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.storage.files import atomic_path


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
    """Return the fingerprint stored in a file; None if the file is missing or its header is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return _stored(file.metadata())[0]
    except (OSError, SafetensorError):
        return None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file, on the CPU.

    Raises:
        MissingInput: If there is no such file.
        InvalidInput: If it is damaged: no safetensors file, or no longer what was written. A file that was written without a
            digest, as those of version 0.1 are, is not compared with one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            digest = _stored(file.metadata())[1]
    except FileNotFoundError:
        raise MissingInput(f"{path} is missing") from None
    except (OSError, SafetensorError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None
    if digest and digest != _digest(tensors):
        raise InvalidInput(f"{path} cannot be read: it is no longer what was written")
    return tensors


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
