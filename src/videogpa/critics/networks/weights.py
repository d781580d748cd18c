"""Published weights: located in a folder, a file or on the Hugging Face hub, and loaded with a check of every tensor."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from videogpa import hub, weight_files
from videogpa.convert import read_checkpoint
from videogpa.critics.cards import CARDS
from videogpa.critics.networks.sources import local_source
from videogpa.errors import InvalidInput, MissingInput, problems
from videogpa.weight_files import (
    WHAT_TO_DO,
    kind_of_file,
    origin_of,
    read_header,
    read_json,
    read_tensors,
    require_finite,
    require_floats,
    shortened,
)

USUAL_NAMES = ("model", "weights")  # of the file that is taken where a folder holds several
SHOWN = 8  # names of tensors in an error message

C = TypeVar("C", bound=BaseModel)


def find_weights(source: str | Path) -> Path:
    """Return the weights file of a folder, the file itself, or that of a bundled model (`tiny:vggt`) or of a hub id.

    Files that are only on the hub are downloaded into its cache.

    Raises:
        UserError: If there is none, or it cannot be downloaded.
    """
    path = local_source(source)
    if path is None:
        return _only_weights(_from_hub(str(source)), published=is_published(source))
    return _only_weights(path) if path.is_dir() else path


def is_published(source: str | Path) -> bool:
    """Return whether a hub id is one of the critics' own cards. Some of those repositories hold a .pt file alone."""
    return any(str(source) == card.weights for cards in CARDS.values() for card in cards)


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
    absent = kind_of_file(path) == "missing"
    try:
        return kind() if absent else kind.model_validate(read_json(path))
    except ValidationError as error:
        if absent:
            raise MissingInput(f"there is no {path}: it tells the sizes of the network") from None
        found = problems(error, whole="the file")
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise InvalidInput(f"{path} cannot be used: {'; '.join(found[:SHOWN])}{more}") from None


def load_weights(
    model: nn.Module,
    weights: Path,
    *,
    device: torch.device | str,
    prefix: str = "",
    skip: Sequence[str] = (),
    published: bool = False,
) -> None:
    """Load the tensors of a file, in float32, into a model that was built on the meta device.

    Names and shapes are compared before a tensor is read.

    Args:
        model: The model; it is changed in place.
        weights: Path of a .safetensors file.
        device: Device of the loaded tensors.
        prefix: Removed from the names of the tensors if all names in the file begin with it.
        skip: Tensors whose names then begin with one of these are left out; any other difference is an error.
        published: Whether the file comes from a repository for which `is_published` holds. It may then be a .pt file, which
            is read by PyTorch's reader for weights, and runs no code.

    Raises:
        InvalidInput: If tensors are missing, unexpected, of another shape, not floating-point numbers, or NaN, by name, or the
            file cannot be read.
    """
    if published and kind_of_file(weights) == "pickle":
        tensors = read_checkpoint(weights)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    else:
        header = read_header(weights, what="the network's weights")
        require_floats(weights, header)
        shapes = {name: entry.shape for name, entry in header.items()}
    cut = len(prefix) if all(name.startswith(prefix) for name in shapes) else 0
    own_names = {name: name[cut:] for name in shapes if not name[cut:].startswith(tuple(skip))}
    wrong = differences({own: shapes[name] for name, own in own_names.items()}, model)
    if wrong:
        origin = origin_of(shapes)
        seems = f" (they seem to be {origin})" if origin else ""
        raise InvalidInput(f"{weights} are not the weights of this network{seems}: " + "; ".join(wrong))
    if not (published and kind_of_file(weights) == "pickle"):
        tensors = read_tensors(weights)
    wanted = {own: tensors[name] for name, own in own_names.items()}
    require_finite(weights, wanted)
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
    return weight_files.differences(shapes, {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()})


def _only_weights(folder: Path, *, published: bool = False) -> Path:
    for ending in (".safetensors", ".pt") if published else (".safetensors",):
        found = sorted(folder.glob(f"*{ending}"))
        usual = [path for path in found if path.stem in USUAL_NAMES] or found
        if len(usual) == 1:
            return usual[0]
        if found:
            raise InvalidInput(f"{folder} holds several weights ({shortened([path.name for path in found])}): name the file")
    pickles = sorted(path for path in folder.glob("*") if kind_of_file(path) == "pickle")
    if pickles:
        raise InvalidInput(f"{pickles[0]} {WHAT_TO_DO['pickle'].replace('FILE', str(pickles[0]))}")
    if (folder / "model_index.json").exists():
        raise InvalidInput(f"{folder} is a diffusers folder, of a video model; a critic needs a folder with its own weights")
    raise MissingInput(f"{folder} holds no weights: expected one .safetensors file")


def in_hubs_cache(name: str) -> bool:
    """Return whether the weights of a hub id are in the local cache; the network is not used."""
    folder = hub.cached(name, patterns=("*.safetensors", "*.pt")) if hub.is_hub_id(name) else None
    return folder is not None and _holds(folder, (".safetensors", ".pt"))


def _from_hub(name: str) -> Path:
    """Return a folder of the hub's cache with weights: what is there already, else what the repository has."""
    endings = (".safetensors", ".pt") if is_published(name) else (".safetensors",)
    here = hub.cached(name, patterns=("config.json", *(f"*{ending}" for ending in endings)))
    if here is not None and _holds(here, endings):
        return here
    for ending in endings:  # safetensors first, alone: where a repository has both formats each is gigabytes
        folder = hub.fetch(name, patterns=("config.json", f"*{ending}"), setting="weights", complete=lambda _: False)
        if _holds(folder, (ending,)):
            break
    return folder


def _holds(folder: Path, endings: Sequence[str]) -> bool:
    return any(path.exists() for ending in endings for path in folder.glob(f"*{ending}"))
