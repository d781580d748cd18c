"""Conversion of PyTorch's own files (.pt, .pth, .bin, .ckpt) to safetensors: `python -m videogpa.convert FILE_OR_FOLDER`.

Those files are pickles, which can run code as they are read. They are read here by PyTorch's reader for weights, which accepts
nothing but tensors and plain containers, and only on the user's word.
"""

import json
import re
import struct
import sys
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import save_file
from torch import Tensor

from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.storage.files import atomic_path
from videogpa.weight_files import WHAT_TO_DO, kind_of_file

ENDINGS = (".pt", ".pth", ".bin", ".ckpt")


def convert(path: Path) -> list[Path]:
    """Write the tensors of a file, or of every such file below a folder, to safetensors files beside them.

    The names are those that diffusers and transformers look for, and lists of shards are written too.

    Args:
        path: A .pt, .pth, .bin or .ckpt file, or a folder. What it holds is not changed.

    Returns:
        The files that were written.

    Raises:
        MissingInput: If there is no such file, or none below the folder.
        InvalidInput: If a file is no such file, or holds anything but tensors.
    """
    found = sorted(file for ending in ENDINGS for file in path.rglob(f"*{ending}")) if path.is_dir() else [path]
    if not found:
        raise MissingInput(f"{path} holds no {', '.join(ENDINGS)} file")
    written = []
    for file in found:
        tensors = read_checkpoint(file)
        target = file.with_name(_renamed(file.name))
        with atomic_path(target) as temporary:
            # Copies, since safetensors refuses tensors that share memory, as tied weights do.
            save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, temporary, {"format": "pt"})
        written.append(target)
    return [*written, *(_convert_index(index) for index in sorted(path.rglob("*.bin.index.json")))]


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that PyTorch wrote, by name.

    Args:
        path: A .pt, .pth, .bin or .ckpt file. Its archive may not be compressed, as PyTorch's never is.

    Raises:
        MissingInput: If there is no such file.
        InvalidInput: If it is another kind of file, or holds anything but tensors by name.
    """
    kind = kind_of_file(path)
    if kind != "pickle":
        raise (MissingInput if kind == "missing" else InvalidInput)(f"{path} {WHAT_TO_DO[kind]}")
    try:
        unpacked = _unpacked_size(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on the file's age
            tensors = torch.load(path, map_location="cpu", weights_only=True) if unpacked <= path.stat().st_size else None
    except UnpicklingError:
        raise InvalidInput(f"{path} holds more than tensors, and is not read: that could run its code") from None
    except _BROKEN as error:
        raise InvalidInput(f"{path} is damaged ({type(error).__name__}): fetch or copy it again") from None
    if unpacked > path.stat().st_size:
        raise InvalidInput(f"{path} would unpack to {unpacked:,} bytes, more than it has: PyTorch writes no such file")
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InvalidInput(f"{path} holds no table of tensors by name")
    return {str(name): tensor for name, tensor in tensors.items()}


_BROKEN = (
    *(RuntimeError, ValueError, EOFError, OSError, KeyError, TypeError, AttributeError, IndexError, AssertionError),
    *(zipfile.BadZipFile, struct.error),
)
"""What PyTorch's reader raises for a damaged file."""


def _unpacked_size(path: Path) -> int:
    """Return the bytes of everything in an archive; 0 for a file in PyTorch's older format, which is none."""
    if not zipfile.is_zipfile(path):
        return 0
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def _renamed(name: str) -> str:
    stem = re.sub(r"^pytorch_model", "model", name[: name.rindex(".")])  # transformers' two names; diffusers has one
    return f"{stem}.safetensors"


def _convert_index(index: Path) -> Path:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        content["weight_map"] = {name: _renamed(shard) for name, shard in content["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput(f"{index} is no list of shards: fetch it again") from None
    target = index.with_name(re.sub(r"^pytorch_model", "model", index.name.replace(".bin.index", ".safetensors.index")))
    with atomic_path(target) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return target


def main() -> None:
    """Convert what the command line names."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m videogpa.convert FILE_OR_FOLDER")
    try:
        for file in convert(Path(sys.argv[1]).expanduser()):
            sys.stdout.write(f"{file}\n")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
