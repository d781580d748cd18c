"""LoRA adapters in PEFT's format: this module creates, saves, loads and temporarily attaches them.

The method is that of Hu et al. 2021, https://arxiv.org/abs/2106.09685. An adapter is inserted into the transformer in place, so
that the pipeline that holds the transformer uses it too.
"""

import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer as PeftLayer
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Linear, Module, Parameter
from torch.nn.functional import linear

from videogpa.errors import InvalidInput, MissingInput
from videogpa.models.lora_files import CONFIG_FILE, WEIGHTS_FILE, open_adapter
from videogpa.models.lora_layers import LoraLayer, read_layers
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.weight_files import read_tensors

_NAMED = 4  # keys in an error message
_START = "start"  # the name of the frozen copy of the adapter that training started from

_log = logging.getLogger(__name__)


def new_adapter(transformer: Module, *, targets: Sequence[str], rank: int, alpha: int, seed: int) -> PeftModel:
    """Insert a new LoRA adapter into the transformer.

    The adapter does not change the transformer's output yet. Its weights are float32, and only they are trainable.

    Args:
        transformer: The network that gets the adapter, in place.
        targets: Name endings of the linear layers that are adapted.
        rank: The rank r of the low-rank matrices, at least 1.
        alpha: The numerator of the scale alpha / r.
        seed: The seed of the random weights.

    Returns:
        PEFT's model around the transformer.
    """
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=list(targets))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _put_on(transformer, config)


def continued_adapter(
    transformer: Module, path: Path, *, targets: Sequence[str], rank: int, alpha: int, keep_start: bool
) -> PeftModel:
    """Insert an adapter that trains on from one that is there: the same weights, in float32 and trainable.

    Args:
        transformer: The network that gets the adapter, in place.
        path: The adapter to go on from, a folder or a file in any of the formats of `lora_files`.
        targets: Name endings of the linear layers that are adapted; the adapter must adapt these and no others.
        rank: The rank that all of its matrices must have.
        alpha: The numerator of the scale alpha / r that it must have.
        keep_start: Whether a frozen copy of the start is kept, for `reference_of`.

    Returns:
        PEFT's model around the transformer.

    Raises:
        MissingInput: If the adapter is missing.
        InvalidInput: If it does not fit the transformer, or has other layers, ranks or strengths than are trained.
    """
    start = read_layers(open_adapter(path), transformer)
    adapter = new_adapter(transformer, targets=targets, rank=rank, alpha=alpha, seed=0)
    adapted_layers = {name: layer for name, layer in transformer.named_modules() if isinstance(layer, PeftLayer)}
    _check_continued(start, adapted_layers.keys(), path, rank=rank, alpha=alpha)
    for name, layer in adapted_layers.items():
        layer.lora_A["default"].weight.data.copy_(start[name].down)
        layer.lora_B["default"].weight.data.copy_(start[name].up)
    if keep_start:
        with torch.random.fork_rng():
            adapter.add_adapter(_START, adapter.peft_config["default"])
        for layer in adapted_layers.values():
            for halves in (layer.lora_A, layer.lora_B):
                halves[_START] = _in_dtype_of_input(halves["default"].weight.detach().clone())
    return adapter


@contextmanager
def reference_of(adapter: PeftModel) -> Iterator[None]:
    """Make the network the reference for the duration of the `with` block; nothing may be backpropagated through it.

    That is the model with the adapter that training started from, if `continued_adapter` kept it, else without any.
    """
    if _START not in adapter.peft_config:
        with adapter.disable_adapter():
            yield
        return
    adapter.base_model.set_adapter(_START, inference_mode=True)
    try:
        yield
    finally:
        adapter.base_model.set_adapter("default")


def save_adapter(adapter: PeftModel, folder: Path) -> None:
    """Write the adapter's two files into an existing folder. Equal adapters produce identical bytes."""
    adapter.peft_config["default"].save_pretrained(folder)
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])  # PEFT holds a set
    config["base_model_name_or_path"] = None  # PEFT writes a path on the machine that trained the adapter
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    weights = {name: tensor.contiguous().cpu() for name, tensor in get_peft_model_state_dict(adapter).items()}
    save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load_weights(adapter: PeftModel, folder: Path) -> None:
    """Load the weights in the folder into an adapter.

    Raises:
        InvalidInput: If a tensor is missing, unexpected, or of another shape; the message names them.
    """
    found = _read(folder)
    expected = get_peft_model_state_dict(adapter)
    problems = _mismatches(found, expected)
    if problems:
        raise InvalidInput(f"the adapter at {folder} does not fit the model: {'; '.join(problems)}")
    set_peft_model_state_dict(adapter, found)


@contextmanager
def adapted(transformer: Module, path: Path, *, scale: float = 1.0) -> Iterator[None]:
    """Attach an adapter to the transformer for the duration of the `with` block. It has no dropout, whatever its config says.

    Args:
        transformer: The network that the adapter was trained for.
        path: The adapter, a folder or a file in any of the formats of `lora_files`.
        scale: A factor on the adapter's trained strength: 1 is as trained, 0 is the base model.

    Raises:
        MissingInput: If the adapter is missing.
        InvalidInput: If the adapter does not fit the transformer; the message names the keys.
    """
    layers = read_layers(open_adapter(path), transformer)
    adapter = _attach(transformer, layers, scale)
    try:
        yield
    finally:
        adapter.unload()


def _attach(transformer: Module, layers: Mapping[str, LoraLayer], scale: float) -> PeftModel:
    """Insert a LoRA whose matrices are known, frozen and in float32."""
    exactly = "|".join(re.escape(name) for name in layers)  # PEFT matches a list by its endings, which may be ambiguous
    config = LoraConfig(r=1, lora_alpha=1, lora_dropout=0.0, target_modules=f"({exactly})")
    adapter = get_peft_model(transformer, config, low_cpu_mem_usage=True)  # the matrices follow
    for name, layer in layers.items():
        module = transformer.get_submodule(name)
        assert isinstance(module, PeftLayer)
        device = module.get_base_layer().weight.device
        module.cast_input_dtype_enabled = False
        module.lora_A["default"] = _in_dtype_of_input(layer.down.to(device))
        module.lora_B["default"] = _in_dtype_of_input(layer.up.to(device))
        module.r["default"] = len(layer.down)
        module.scaling["default"] = scale * layer.strength
    adapter.requires_grad_(False)
    return adapter.eval()


def check_folder(folder: Path) -> None:
    """Check that the folder contains both files of an adapter.

    Raises:
        MissingInput: If one of the files is missing.
    """
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if missing:
        raise MissingInput(f"no adapter at {folder}: {' and '.join(missing)} missing. `videogpa train` writes one.")


def adapter_fingerprint(path: Path) -> str:
    """Return a hash of the files that determine the adapter's effect.

    Raises:
        UserError: If the adapter is missing, or of a kind that cannot be read.
    """
    files = open_adapter(path)
    folder = files[0].path.parent
    if files[0].path.name == WEIGHTS_FILE and (folder / CONFIG_FILE).exists():
        return fingerprint("adapter", path_fingerprint(folder / CONFIG_FILE), path_fingerprint(folder / WEIGHTS_FILE))
    return fingerprint("adapter", *((file.component, path_fingerprint(file.path)) for file in files))


def warn_of_assumed_strength(path: Path) -> None:
    """Log a warning if the files of an adapter do not say how strong it is.

    Raises:
        UserError: If the adapter is missing, or of a kind that cannot be read.
    """
    if not all(file.says_strength() for file in open_adapter(path)):
        _log.warning(
            "adapter %s does not say its alpha: alpha = rank (strength 1) is assumed, as by diffusers and ComfyUI; set "
            "adapter_scale to alpha / rank if its authors give another",
            path,
        )


class _InDtypeOfInput(Linear):
    """A linear layer without a bias that multiplies in the dtype of its input, whatever the dtype of its weight."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the product. The weight's gradient has the dtype of the weight."""
        return linear(input, self.weight.to(input.dtype))


def _put_on(transformer: Module, config: LoraConfig) -> PeftModel:
    """Insert a float32 adapter into the transformer; its products are computed in the transformer's own dtype.

    PEFT would cast its input to float32 in every layer: of the activations that a block of CogVideoX-5B keeps in bfloat16, two
    fifths are those copies, and on a GPU products in float32 are a tenth as fast.
    """
    adapter = get_peft_model(transformer, config)
    for layer in adapter.modules():
        if isinstance(layer, PeftLayer):
            layer.cast_input_dtype_enabled = False
            for halves in (layer.lora_A, layer.lora_B):
                halves.update({name: _in_dtype_of_input(half.weight) for name, half in halves.items()})
    return adapter


def _in_dtype_of_input(weight: Tensor) -> Linear:
    """Return a layer with this weight that multiplies in the dtype of its input."""
    layer = _InDtypeOfInput(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = weight if isinstance(weight, Parameter) else Parameter(weight, requires_grad=False)
    return layer


def _check_continued(start: Mapping[str, LoraLayer], trained: Collection[str], path: Path, *, rank: int, alpha: int) -> None:
    """Refuse an adapter with other layers, ranks or strengths than those that are trained."""
    other = [*sorted(start.keys() - set(trained)), *sorted(set(trained) - start.keys())]
    if other:
        raise InvalidInput(
            f"training cannot go on from the adapter at {path}: {len(other)} layers are adapted by it and not trained, or "
            f"trained and not adapted by it ({_some(other)})"
        )
    ranks, strengths = ({f"{number:g}" for number in numbers} for numbers in _sizes(start))
    if ranks != {f"{rank:g}"} or strengths != {f"{alpha / rank:g}"}:
        raise InvalidInput(
            f"training cannot go on from the adapter at {path}: it has rank {', '.join(sorted(ranks))} and strength (alpha / "
            f"rank) {', '.join(sorted(strengths))}, where train.lora_rank is {rank} and train.lora_alpha is {alpha}, which is "
            f"strength {alpha / rank:g}"
        )


def _sizes(layers: Mapping[str, LoraLayer]) -> tuple[list[int], list[float]]:
    return [len(layer.down) for layer in layers.values()], [layer.strength for layer in layers.values()]


def _read(folder: Path) -> dict[str, Tensor]:
    check_folder(folder)
    return read_tensors(folder / WEIGHTS_FILE)


def _mismatches(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    other = [
        f"{name} is {tuple(found[name].shape)} and not {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & found.keys())
        if found[name].shape != expected[name].shape
    ]
    groups = (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
    return [f"{len(names)} {kind} ({_some(names)})" for kind, names in groups if names]


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
