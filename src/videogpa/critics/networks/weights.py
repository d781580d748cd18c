"""Published weights: located in a folder, a file or on the Hugging Face hub, and loaded with a check of every tensor."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from videogpa.bundled import TINY, bundled_folder
from videogpa.errors import InvalidInput, MissingInput, UserError, problems

USUAL_NAMES = ("model", "weights")  # of the file that is taken where a folder holds several
SHOWN = 8  # names of tensors in an error message

C = TypeVar("C", bound=BaseModel)


def find_weights(source: str | Path) -> Path:
    """Return the weights file of a folder, the file itself, or that of a bundled model (`tiny:vggt`) or of a hub id.

    Files that are only on the hub are downloaded into its cache.

    Raises:
        UserError: If there is none, or it cannot be downloaded.
    """
    if str(source).startswith(TINY):
        return _only_weights(bundled_folder(str(source)))
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        return _only_weights(path)
    parts = str(source).split("/")
    if len(parts) != 2 or not all(parts) or parts[0] in {".", "..", "~"}:
        raise MissingInput(
            f"no weights at {source}: expected a folder, a .safetensors or .pt file, or a hub id such as owner/name"
        )
    return _only_weights(_from_hub(str(source)))


def read_config(weights: Path, kind: type[C]) -> C:
    """Return the sizes of a network from the config.json beside its weights; sizes missing there have their defaults.

    Unknown settings are ignored: published files contain some of training. A misspelt size is still noticed, since no tensor
    would fit.

    Args:
        weights: Path of the weights file.
        kind: Class of the configuration.

    Raises:
        MissingInput: If there is no config.json, and the network has sizes without a default.
        InvalidInput: If the file is not JSON, a value is impossible, or one without a default is missing.
    """
    path = weights.with_name("config.json")
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else kind()
    except ValidationError as error:
        if not path.exists():
            raise MissingInput(f"there is no {path}: it tells the sizes of the network") from None
        found = "; ".join(problems(error, whole="the file"))
        raise InvalidInput(f"{path} cannot be used: {found}") from None


def load_weights(
    model: nn.Module, weights: Path, *, device: torch.device | str, prefix: str = "", skip: Sequence[str] = ()
) -> None:
    """Load the tensors of a file, in float32, into a model that was built on the meta device.

    Args:
        model: The model; it is changed in place.
        weights: Path of a .safetensors or .pt file.
        device: Device of the loaded tensors.
        prefix: Removed from the names of the tensors if all names in the file begin with it.
        skip: Tensors whose names then begin with one of these are left out; any other difference is an error.

    Raises:
        InvalidInput: If tensors are missing, unexpected or of another shape, by name, or the file cannot be read.
    """
    tensors = _read(weights)
    if all(name.startswith(prefix) for name in tensors):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    wanted = {name: tensor for name, tensor in tensors.items() if not name.startswith(tuple(skip))}
    wrong = differences({name: tuple(tensor.shape) for name, tensor in wanted.items()}, model)
    if wrong:
        raise InvalidInput(f"{weights} are not the weights of this network: " + "; ".join(wrong))
    # Tensors are copied on a CPU too: matrix products of unaligned tensors in the mapped file differ in the last bit.
    placed = {name: tensor.to(device, torch.float32, copy=True) for name, tensor in wanted.items()}
    model.load_state_dict(placed, assign=True)


def trunk_precision(device: torch.device) -> torch.dtype:
    """Return the precision on a device: float32 on a CPU, bfloat16 on a GPU that has it, else float16 (VGGT's examples)."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def reduce_precision(trunk: nn.Module, precision: torch.dtype) -> None:
    """Convert the weights of linear layers and convolutions to this precision, in place; norms and tokens keep theirs."""
    for module in trunk.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(precision)


def differences(shapes: Mapping[str, tuple[int, ...]], model: nn.Module) -> list[str]:
    """Return descriptions of how named shapes differ from the tensors of a model; an empty list if they are the same."""
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {
        "missing": [name for name in own if name not in shapes],
        "unexpected": [name for name in shapes if name not in own],
        "of another shape": [
            f"{name} ({list(shapes[name])}, expected {list(own[name])})"
            for name in own
            if name in shapes and shapes[name] != own[name]
        ],
    }
    return [f"{len(names)} {problem}: {_shortened(names)}" for problem, names in found.items() if names]


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f", and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _read(weights: Path) -> dict[str, Tensor]:
    try:
        if weights.suffix == ".safetensors":
            return load_file(weights)
        tensors = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise InvalidInput(f"{weights} cannot be read as weights: {error}") from None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InvalidInput(f"{weights} holds no table of tensors by name")
    return tensors


def _only_weights(folder: Path) -> Path:
    for ending in (".safetensors", ".pt"):
        found = sorted(folder.glob(f"*{ending}"))
        usual = [path for path in found if path.stem in USUAL_NAMES] or found
        if len(usual) == 1:
            return usual[0]
        if found:
            raise InvalidInput(f"{folder} holds several weights ({_shortened([path.name for path in found])}): name the file")
    raise MissingInput(f"{folder} holds no weights: expected one .safetensors or .pt file")


def in_hubs_cache(name: str) -> bool:
    """Return whether the weights of a hub id are in the local cache; the network is not used."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for ending in ("*.safetensors", "*.pt"):
        try:
            folder = Path(snapshot_download(name, allow_patterns=[ending], local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        if any(folder.glob(ending)):
            return True
    return False


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        # Safetensors first, alone: where a repository has both formats each is gigabytes.
        folder = Path(snapshot_download(name, allow_patterns=["config.json", "*.safetensors"]))
        if not list(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=["config.json", "*.pt"]))
    except GatedRepoError:
        raise UserError(
            f"{name} is gated: accept its licence at https://huggingface.co/{name}, then log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(f"{name} is neither a folder or file here nor a model on the hub (or one that needs a login)") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UserError(f"{name} could not be fetched from the hub ({error}); or give a folder with its files") from None
    return folder
