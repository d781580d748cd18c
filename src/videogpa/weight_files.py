"""Files of weights from elsewhere: which kind of file lies at a path, and the safe reading of the one kind that is read.

Weights are read from safetensors files alone. What else people have under such a name is recognised by its first bytes and
refused in a sentence that says what it is and what to do. Nothing here opens a FIFO or a device, or runs what a file contains.
"""

import json
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from videogpa.errors import InvalidInput, MissingInput
from videogpa.text_files import cut, without_doubles

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal[
    "safetensors", "pickle", "git-lfs pointer", "HTML page", "JSON", "GGUF", "HDF5", "NumPy", "zip", "gzip", "tar",
    "empty", "text", "unknown", "folder", "not a file", "missing", "unreadable",
]  # fmt: skip
"""What lies at a path. `not a file`: a FIFO, a device or a socket."""

WHAT_TO_DO: dict[Kind, str] = {
    "safetensors": "is a safetensors file",
    "pickle": "is a pickle (.pt, .pth, .bin, .ckpt), which can run code as it is read: convert it to safetensors first, "
    "with `python -m videogpa.convert FILE`",
    "git-lfs pointer": "is a git-lfs pointer and not the file itself: run `git lfs pull` in its folder",
    "HTML page": "is an HTML page, which a download saved in the file's place: download it again, logged in if it needs that",
    "JSON": "is a JSON text and holds no weights: give the .safetensors file itself",
    "GGUF": "is a GGUF file, whose weights are quantised for other programs: give the original .safetensors file",
    "HDF5": "is an HDF5 file (.h5): give the .safetensors file that its publisher made for PyTorch",
    "NumPy": "holds NumPy arrays (.npy, .npz): give a .safetensors file",
    "zip": "is a zip archive: unpack it, and give the .safetensors file",
    "gzip": "is compressed with gzip: unpack it, and give the .safetensors file",
    "tar": "is a tar archive: unpack it, and give the .safetensors file",
    "empty": "is empty, as after a download that broke off: fetch it again",
    "text": "is a text and holds no weights: give a .safetensors file",
    "unknown": "is not a safetensors file: give one, or fetch the file again if a download broke off",
    "folder": "is a folder, where a file was expected",
    "not a file": "is a pipe, a device or a socket and not a file",
    "missing": "does not exist",
    "unreadable": "cannot be opened",
}
"""What a sentence says of a file of each kind, after its path."""

LARGEST_HEADER = 100_000_000  # bytes: the format's own limit
FLOATS = ("F64", "F32", "F16", "BF16")
"""The dtypes of weights that are loaded. Fewer bits or whole numbers are quantised, and mean nothing without their scales."""

_PEEK = 2048  # bytes that tell the kind
_PEEK_AT_END = 65536  # of a zip archive, whose list of names is there
_NAMED = 8  # tensors in a message

_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"version https://git-lfs", "git-lfs pointer"),
    (b"GGUF", "GGUF"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x93NUMPY", "NumPy"),
    (b"\x1f\x8b", "gzip"),
)


def kind_of_file(path: Path | str) -> Kind:
    """Return what lies at a path, by the first bytes and not by the name.

    Args:
        path: Any path. A FIFO, a device or a socket is not opened.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return "folder" if stat.S_ISDIR(mode) else "not a file"
        with path.open("rb") as file:
            start = file.read(_PEEK)
            file.seek(max(0, path.stat().st_size - _PEEK_AT_END))
            return _kind(start, file.read(_PEEK_AT_END))
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except (OSError, ValueError):  # no permission, a loop of links, a name that is too long or holds a NUL byte
        return "unreadable"


def _kind(start: bytes, end: bytes) -> Kind:
    if not start:
        return "empty"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LARGEST_HEADER:
        return "safetensors"
    for beginning, kind in _BEGINNINGS:
        if start.startswith(beginning):
            return kind
    if start[:2] == b"PK":
        return "pickle" if b"data.pkl" in start + end else "NumPy" if b".npy" in start else "zip"
    if start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5" and len(start) > 1:
        return "pickle"
    if start[257:262] == b"ustar":
        return "tar"
    return _kind_of_text(start)


def _kind_of_text(start: bytes) -> Kind:
    try:
        text = start.decode("utf-8-sig").strip().lower()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:  # else a character is cut in the middle
            return "unknown"
        text = start[: error.start].decode("utf-8-sig").strip().lower()
    if "\0" in text:
        return "unknown"
    if text.startswith(("<!doctype html", "<html", "<?xml")):
        return "HTML page"
    return "JSON" if text.startswith(("{", "[")) else "text"


class Entry(NamedTuple):
    """What the header of a safetensors file says of a tensor."""

    dtype: str
    """The format's name of it, such as F32 or BF16."""
    shape: tuple[int, ...]


def require_safetensors(path: Path | str, *, what: str = "") -> None:
    """Check that a path is a safetensors file, by its first bytes.

    Args:
        path: Path of the file.
        what: What the file should hold, such as "the adapter's weights"; said where there is no such file.

    Raises:
        MissingInput: If there is no file.
        InvalidInput: If it is another kind of file; the message says which, and what to do.
    """
    kind = kind_of_file(path)
    if kind == "missing":
        raise MissingInput(f"there is no file {cut(path)}" + (f", which should hold {what}" if what else ""))
    if kind != "safetensors":
        raise InvalidInput(f"{path} {WHAT_TO_DO[kind].replace('FILE', str(path))}")


def read_header(path: Path | str, *, what: str = "") -> dict[str, Entry]:
    """Return dtype and shape of every tensor in a safetensors file; no tensor is read.

    Args:
        path: Path of the file.
        what: See `require_safetensors`.

    Raises:
        MissingInput: If there is no file.
        InvalidInput: If it is no safetensors file, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    require_safetensors(path, what=what)
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return {name: Entry(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path} is damaged ({cut(error)}): fetch or copy it again") from None


def read_tensors(path: Path | str, *, what: str = "") -> "dict[str, Tensor]":
    """Return the tensors of a safetensors file of weights, on the CPU, in their dtypes.

    Args:
        path: Path of the file.
        what: See `require_safetensors`.

    Raises:
        MissingInput: If there is no file.
        InvalidInput: If it is no safetensors file, is damaged, or holds tensors that are no floating-point numbers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_floats(path, read_header(path, what=what))
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path} is damaged ({cut(error)}): fetch or copy it again") from None


def read_json(path: Path | str, *, largest: int = 10_000_000) -> dict[str, Any]:
    """Return the object in a JSON file from elsewhere, such as a config.json.

    Args:
        path: Path of the file.
        largest: The most bytes that it may have.

    Raises:
        MissingInput: If there is no file.
        InvalidInput: If it is no JSON object in UTF-8, names a key twice, is nested too deep, or is too large.
    """
    path = Path(path)
    kind = kind_of_file(path)
    if kind not in ("JSON", "text"):  # a text may be a torn object
        raise (MissingInput if kind == "missing" else InvalidInput)(f"{path} {_NO_JSON.get(kind, WHAT_TO_DO[kind])}")
    if path.stat().st_size > largest:
        raise InvalidInput(f"{path} has {path.stat().st_size:,} bytes, too many for such a file: fetch it again")
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=without_doubles)
    except (ValueError, RecursionError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read as JSON ({cut(error, 120)}): mend it or fetch it again") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} holds no JSON object, but a {type(found).__name__}: fetch it again")
    return found


_NO_JSON: dict[Kind, str] = {
    "unknown": "is no JSON text in UTF-8: save it as UTF-8, or fetch it again",
    "safetensors": "is a safetensors file, where a JSON text was expected",
}


def require_floats(path: Path | str, header: Mapping[str, Entry]) -> None:
    """Check that the tensors of a file are floating-point numbers of 16 bits or more.

    Raises:
        InvalidInput: If some are not, by name.
    """
    other = {name: entry.dtype for name, entry in header.items() if entry.dtype not in FLOATS}
    if other:
        name, dtype = next(iter(other.items()))
        raise InvalidInput(
            f"{path} holds {len(other)} tensors that are no floating-point numbers of 16 bits or more, such as {name} "
            f"({dtype}): quantised weights are not supported; give the original ones"
        )


def require_finite(path: Path | str, tensors: "Mapping[str, Tensor]") -> None:
    """Check that no tensor of a file holds NaN or Inf.

    Raises:
        InvalidInput: If one does, by name.
    """
    wrong = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if wrong:
        raise InvalidInput(f"{path} holds NaN or Inf in {len(wrong)} tensors ({shortened(wrong)}): fetch or make it again")


_LORA = ("lora_A", "lora_B", "lora_down", "lora_up", "lora.down", "lora.up", ".alpha", "lora_magnitude_vector")
_ORIGINS: tuple[tuple[str, bool, tuple[str, ...]], ...] = (  # what it is, whether a LoRA, and beginnings of names
    ("a kohya LoRA", True, ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_transformer_")),
    ("a PEFT adapter", True, ("base_model.model.",)),
    ("a ComfyUI LoRA", True, ("diffusion_model.",)),
    ("a diffusers LoRA", True, ("transformer.", "transformer_2.", "unet.", "text_encoder.")),
    ("a LoRA of another program", True, ("",)),
    ("a single-file model for ComfyUI", False, ("diffusion_model.", "model.diffusion_model.")),
    ("VGGT", False, ("aggregator.",)),
    ("Depth Anything 3", False, ("backbone.pretrained.", "model.backbone.pretrained.")),
    ("a diffusers file (a CogVideoX transformer)", False, ("transformer_blocks.0.norm1.linear.", "patch_embed.proj.")),
    ("a diffusers file (a Wan transformer)", False, ("condition_embedder.",)),
    ("a diffusers file (a VAE)", False, ("encoder.down_blocks.", "decoder.up_blocks.", "encoder.conv_in.")),
    ("a text encoder", False, ("encoder.block.0.layer.0.SelfAttention.",)),
    ("LPIPS", False, ("lin0.", "lin0_")),
)


def origin_of(names: Iterable[str]) -> str | None:
    """Return what a file of weights seems to be, by the names of its tensors, such as "a kohya LoRA"; None if unknown.

    Args:
        names: The names of the file's tensors.
    """
    known = list(names)
    lora = any(mark in name for mark in _LORA for name in known)
    for origin, of_lora, beginnings in _ORIGINS:
        if of_lora == lora and any(name.startswith(beginnings) for name in known):
            return origin
    return None


def differences(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return descriptions of how the named shapes of a file differ from those of a network; an empty list if they do not."""
    groups = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [cut(name, 80) for name in found if name not in expected],
        "of another shape": [
            f"{name} ({cut(list(found[name]), 40)}, expected {list(shape)})"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
    }
    return [f"{len(names)} {problem}: {shortened(names)}" for problem, names in groups.items() if names]


def shortened(names: Iterable[str], *, most: int = _NAMED) -> str:
    """Return the first of many names, and how many more there are."""
    listed = list(names)
    more = f", and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(cut(name) for name in listed[:most]) + more
