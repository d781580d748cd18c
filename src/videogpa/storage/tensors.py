"""Tensors in safetensors files, written atomically and with the fingerprint of what made them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videogpa.errors import UserError
from videogpa.storage.files import atomic_path


def save_tensors(tensors: Mapping[str, Tensor], path: Path, *, fingerprint: str) -> None:
    """Write tensors to a file, in their dtypes.

    Args:
        tensors: Name -> tensor.
        path: The file to write.
        fingerprint: Stored in the file's metadata, for `read_fingerprint`.

    Raises:
        UserError: If a tensor contains NaN or Inf.
    """
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"the {name} of {path.parent.name}/{path.stem} contain NaN or Inf. Try model.dtype bfloat16 or float32."
            )
    with atomic_path(path) as temporary:
        content = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        save_file(content, temporary, metadata={"fingerprint": fingerprint})


def read_fingerprint(path: Path) -> str | None:
    """Return the fingerprint stored in a file; None if the file is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (FileNotFoundError, SafetensorError):
        return None
    return metadata.get("fingerprint")
