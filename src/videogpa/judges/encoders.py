"""Image encoders of transformers from a folder, checked before and after: sizes, names, numbers. No code of a folder is run.

The config.json is read for its sizes alone, and the weights are handed to the class as tensors: transformers then reads nothing
of the folder itself, be it adapters or code. It maps the names of tensors of its earlier versions to those of its own.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from videogpa.critics.networks.weights import find_weights, read_config
from videogpa.errors import InvalidInput
from videogpa.models.folders import in_sentences
from videogpa.weight_files import read_tensors, require_finite, shortened

Size = Annotated[int, Field(ge=1, le=65_536)]
Layers = Annotated[int, Field(ge=1, le=256)]
Activation = Literal["gelu", "quick_gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"]


class EncoderSizes(BaseModel):
    """What counts of the config.json of an image encoder; the sizes of ViT-B are transformers' defaults."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    image_size: Annotated[int, Field(ge=1, le=4096)] = 224
    patch_size: Annotated[int, Field(ge=1, le=4096)]
    hidden_act: Activation
    layer_norm_eps: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _possible(self) -> "EncoderSizes":
        if self.hidden_size % self.num_attention_heads or self.image_size < self.patch_size:
            raise ValueError("hidden_size is a multiple of num_attention_heads, and image_size at least patch_size")
        return self


class VitSizes(EncoderSizes):
    """Those of a ViT; the defaults are those of transformers, and of DINO ViT-B/16."""

    patch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    hidden_act: Activation = "gelu"
    layer_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-12
    qkv_bias: bool = True


@dataclass(frozen=True)
class Loaded:
    """A network that is ready, and where it came from."""

    network: Any
    weights: Path
    digest: str
    """SHA-256 of the file of weights, in hexadecimal digits."""
    image_size: int
    """The side of the images that it was trained with, in pixels."""
    patch_size: int


def load_vit(weights: str | Path, device: torch.device) -> Loaded:
    """Load a ViT without its pooling layer, in float32.

    Args:
        weights: A folder with config.json and one .safetensors file, that file, or a hub id.
        device: Where it runs.

    Raises:
        UserError: If the weights cannot be found or do not fit.
    """
    from transformers import ViTConfig, ViTModel

    file = find_weights(weights)
    sizes = read_config(file, VitSizes)
    network = load_network(
        ViTModel, ViTConfig(**sizes.model_dump()), file, skip=("pooler.", "classifier."), add_pooling_layer=False
    )
    return Loaded(network.to(device), file, sha256(file), sizes.image_size, sizes.patch_size)


def load_network(kind: Any, config: Any, file: Path, *, skip: Sequence[str], **arguments: Any) -> Any:
    """Build a network of a class of transformers, in float32 and without dropout, and fill it with the tensors of a file.

    Args:
        kind: The class.
        config: Its configuration, with sizes that were checked.
        file: A .safetensors file.
        skip: Beginnings of the names of tensors that this class has no place for.
        arguments: Further arguments of the class.

    Raises:
        InvalidInput: If the tensors are not those of the network, or hold NaN.
    """
    tensors = {name: tensor for name, tensor in read_tensors(file).items() if not name.startswith(tuple(skip))}
    require_finite(file, tensors)
    require_as_large(least_parameters(config.hidden_size, config.intermediate_size, config.num_hidden_layers), tensors, file)
    with _quiet(), in_sentences(file, "network"):
        network, found = kind.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which are named below
            dtype=torch.float32,
            **arguments,
        )
    kinds = {"missing": "missing_keys", "unexpected": "unexpected_keys", "of another shape": "mismatched_keys"}
    names = {what: sorted(each[0] if isinstance(each, tuple) else each for each in found[key]) for what, key in kinds.items()}
    wrong = [f"{len(given)} {what}: {shortened(given)}" for what, given in names.items() if given]
    if wrong or found["error_msgs"]:
        raise InvalidInput(f"{file} are not the weights of this network ({kind.__name__}): {'; '.join(wrong)}")
    return network.eval().requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars and its own report of what does not fit from the terminal: an error says it in a sentence."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def least_parameters(hidden: int, inner: int, layers: int) -> int:
    """Return how many parameters the matrices of so many layers have: attention's four, and two or more of the perceptron."""
    return layers * (4 * hidden * hidden + 2 * hidden * inner)


def require_as_large(asked: int, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Refuse a config.json that asks for a far larger network than a file holds, before it is built.

    Args:
        asked: The least number of parameters of the network that it asks for.
        tensors: Those of the file.
        file: The file, for the message.

    Raises:
        InvalidInput: If the network would have more than twice as many parameters.
    """
    held = sum(tensor.numel() for tensor in tensors.values())
    if asked > 2 * held:
        raise InvalidInput(
            f"the config.json beside {file} asks for {asked:,} parameters, and the file has {held:,}: it is of another model"
        )


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, as the hub shows it."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while part := stream.read(1 << 22):
            digest.update(part)
    return digest.hexdigest()
