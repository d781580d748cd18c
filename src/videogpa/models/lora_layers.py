"""The layers of a LoRA, found in the transformer that they belong to: every name must fit, and every matrix."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor
from torch.nn import Module, ModuleDict

from videogpa.errors import InvalidInput
from videogpa.models.lora_files import LARGEST_ALPHA, LoraFile, ends_with, targets_of
from videogpa.models.lora_names import FIRST, Key, known_names, other_model, transformers_of
from videogpa.text_files import printable
from videogpa.weight_files import read_tensors, require_finite, shortened

_NAMED = 4  # names in a message

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoraLayer:
    """What a LoRA adds to the weight of a linear layer: `strength * up @ down`."""

    down: Float[Tensor, "rank in_features"]
    up: Float[Tensor, "out_features rank"]
    strength: float


@dataclass
class _Layer:
    """The names of a layer's tensors in its file."""

    file: LoraFile
    key: Key
    parts: dict[str, str] = field(default_factory=dict)

    def shape(self, part: str) -> tuple[int, ...]:
        return self.file.header[self.parts[part]].shape

    def stem(self) -> str:
        """What stands before `.lora_` in the names of the file."""
        return next(iter(self.parts.values())).partition(".lora")[0]


@dataclass
class _Problems:
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        groups = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.shapes,
            "there twice": self.doubled,
        }
        return "; ".join(
            f"{len(names)} {what} ({shortened(map(printable, names), most=_NAMED)})" for what, names in groups.items() if names
        )


def read_layers(files: Sequence[LoraFile], network: Module) -> dict[str, LoraLayer]:
    """Read the matrices of a LoRA for a network.

    Args:
        files: The LoRA's files, one per transformer where there are several.
        network: The transformer, or a `ModuleDict` of two experts under diffusers' names.

    Returns:
        The name of the linear layer in the network -> what is added to its weight.

    Raises:
        InvalidInput: If a tensor does not belong to the network, is missing, or is NaN; the message names it.
    """
    experts = isinstance(network, ModuleDict)
    if len(files) > 1 and not experts:
        raise InvalidInput(f"the adapter at {files[0].path.parent} has {len(files)} files, and the model one transformer")
    wrong = _Problems()
    layers: dict[str, _Layer] = {}
    for file in files:
        found = _layers_of(file, network, wrong)
        layers |= {f"{component}.{name}" if experts else name: layer for (component, name), layer in found.items()}
    if text := str(wrong):
        model = other_model(wrong.unexpected)
        hint = f". Its names look like those of {model}" if model is not None and not layers and not experts else ""
        raise InvalidInput(f"the adapter at {files[0].path} does not fit the model: {text}{hint}")
    read = _tensors(files, layers)
    _say(files, read)
    return read


def _layers_of(file: LoraFile, network: Module, wrong: _Problems) -> dict[tuple[str, str], _Layer]:
    """Return the layers of a file by transformer and name; add what does not fit to the problems."""
    transformers = transformers_of(network)
    names = {component: known_names(transformer) for component, transformer in transformers.items()}
    found: dict[tuple[str, str], _Layer] = {}
    for name, key in file.keys().items():
        component = key.component or (file.component if isinstance(network, ModuleDict) else FIRST)
        if component is None:
            raise InvalidInput(
                f"{file.path} is a LoRA of one transformer, and the model has two: rename the file so that it has `high` or "
                "`low` in its name, or give a folder with one file for each"
            )
        layer = names.get(component, {}).get(key.layer)
        if layer is None:
            wrong.unexpected.append(name)
            continue
        entry = found.setdefault((component, layer), _Layer(file, key))
        if key.part in entry.parts:
            wrong.doubled.append(name)
        entry.parts[key.part] = name
    for (component, layer), entry in found.items():
        _check_layer(entry, transformers[component].get_submodule(layer), wrong)
    _check_targets(file, found, names, wrong)
    return found


def _check_layer(layer: _Layer, module: Module, wrong: _Problems) -> None:
    halves = {"down": "lora_A.weight", "up": "lora_B.weight"}
    missing = [f"{layer.stem()}.{name}" for part, name in halves.items() if part not in layer.parts]
    wrong.missing.extend(missing)
    if missing:
        return
    rank = layer.shape("down")[0] if layer.shape("down") else 0
    expected = {"down": (rank, module.in_features), "up": (module.out_features, rank)}
    for part, shape in expected.items():
        if layer.shape(part) != shape or rank < 1:
            wrong.shapes.append(f"{layer.parts[part]} is {layer.shape(part)} and not {shape}")
    if "alpha" in layer.parts and layer.shape("alpha") not in ((), (1,)):
        wrong.shapes.append(f"{layer.parts['alpha']} is {layer.shape('alpha')} and not a number")
    config = layer.file.config
    if config is not None and rank != config.r and not config.rank_pattern and "alpha" not in layer.parts:
        wrong.shapes.append(f"{layer.parts['down']} has rank {rank}, and its config says r {config.r}")


def _check_targets(
    file: LoraFile, found: Mapping[tuple[str, str], _Layer], names: Mapping[str, Mapping[str, str]], wrong: _Problems
) -> None:
    """Add the layers without tensors that a PEFT config adapts, by the names of its file; and targets if none of them fits."""
    targets = targets_of(file.config)
    if targets and not any(ends_with(alias, targets) for aliases in names.values() for alias in aliases):
        wrong.unexpected.extend(f"target_modules: {target}" for target in sorted(targets))
    diffusers = all(entry.key.layer == layer for (_, layer), entry in found.items())
    for component in {component for component, _ in found}:
        of_style = {
            layer for alias, layer in names[component].items() if (alias == layer) == diffusers and ends_with(alias, targets)
        }
        wrong.missing.extend(sorted(layer for layer in of_style if (component, layer) not in found))


def _tensors(files: Sequence[LoraFile], layers: Mapping[str, _Layer]) -> dict[str, LoraLayer]:
    content = {}
    for file in files:
        content[file.path] = read_tensors(file.path)
        require_finite(file.path, content[file.path])
    read = {}
    for name, layer in layers.items():
        tensors = {part: content[layer.file.path][tensor] for part, tensor in layer.parts.items()}
        rank = len(tensors["down"])
        read[name] = LoraLayer(tensors["down"].float(), tensors["up"].float(), _strength(layer, rank, tensors.get("alpha")))
    return read


def _strength(layer: _Layer, rank: int, alpha: Tensor | None) -> float:
    if alpha is not None:
        number = float(alpha)
        if not 0 < number <= LARGEST_ALPHA:
            raise InvalidInput(f"{layer.file.path}: {layer.parts['alpha']} is {number:g}, where a number above 0 is expected")
        return number / rank
    if layer.file.config is not None:
        component = layer.key.component
        return layer.file.config.strength(layer.key.layer if component is None else f"{component}.{layer.key.layer}", rank)
    return 1.0


def _say(files: Sequence[LoraFile], read: Mapping[str, LoraLayer]) -> None:
    """Log what was read, and how strong it is."""
    ranks = _range(len(layer.down) for layer in read.values())
    strengths = _range(layer.strength for layer in read.values())
    _log.info("adapter %s: %d layers, rank %s, strength %s (alpha / rank)", files[0].path, len(read), ranks, strengths)


def _range(values: Iterable[float]) -> str:
    known = sorted(set(values))
    return f"{known[0]:g}" if len(known) == 1 else f"{known[0]:g} to {known[-1]:g}"
