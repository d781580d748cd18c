"""The published file of VideoReward: a whole Qwen2-VL with PEFT's LoRA beside its matrices, and a head.

Names differ by the version of transformers that saved them: `model.layers.0` and `visual.blocks.0` up to 4.51,
`model.language_model.layers.0` and `model.visual.blocks.0` from 4.52 on, each behind PEFT's `base_model.model.`. All are
brought to those of `Qwen2VLModel` of transformers 5, `language_model.layers.0` and `visual.blocks.0`; tensor by tensor they
have to fit.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from videogpa.errors import InvalidInput, MissingInput, problems
from videogpa.weight_files import WHAT_TO_DO, kind_of_file, read_json

HEAD = "rm_head.weight"
_PREFIXES = (
    ("model.language_model.", "language_model."),
    ("model.visual.", "visual."),
    ("model.", "language_model."),
    ("language_model.model.", "language_model."),
)
_LORA = re.compile(r"(?P<layer>.+)\.lora_(?P<part>[AB])(?:\.\w+)?\.weight")


def own_name(name: str) -> str:
    """Return the name that transformers 5's class has for a tensor of the file, LoRA's and the head's with their endings."""
    bare = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
    return next((new + bare.removeprefix(old) for old, new in _PREFIXES if bare.startswith(old)), bare)


class Lora(BaseModel):
    """`peft_lora_config` of model_config.json, as far as it counts."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    lora_r: Annotated[int, Field(ge=1, le=8192)] = 64
    lora_alpha: Annotated[float, Field(gt=0, le=1e6)] = 128
    use_rslora: bool = False


class Data(BaseModel):
    """`data_config` of model_config.json, as far as it counts."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    fps: Annotated[float, Field(gt=0, le=1000)] = 2.0
    max_frame_pixels: Annotated[int, Field(ge=28 * 28, le=16384 * 28 * 28)] = 200_704
    prompt_template_type: str = "detailed_special"
    sample_type: str = "uniform"

    @model_validator(mode="after")
    def _known(self) -> "Data":
        if (self.prompt_template_type, self.sample_type) != ("detailed_special", "uniform"):
            raise ValueError(
                "only the template `detailed_special` and the sampling `uniform` of the published weights are known"
            )
        return self


class Norm(BaseModel):
    """`inference_config` of model_config.json: mean and standard deviation of the raw rewards, which have 0 and 1 after it."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    VQ_mean: float
    VQ_std: Annotated[float, Field(gt=0)]
    MQ_mean: float
    MQ_std: Annotated[float, Field(gt=0)]
    TA_mean: float
    TA_std: Annotated[float, Field(gt=0)]

    def of(self, raw: Mapping[str, float]) -> dict[str, float]:
        """Return VQ, MQ and TA in units of their standard deviation, and their sum, which is the overall reward."""
        found = {
            name: (raw[name] - getattr(self, f"{name}_mean")) / getattr(self, f"{name}_std") for name in ("VQ", "MQ", "TA")
        }
        return {**found, "Overall": sum(found.values())}


class Settings(BaseModel):
    """model_config.json, which lies beside the published weights."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data_config: Data = Data()
    peft_lora_config: Lora = Lora()
    inference_config: Norm


def read_settings(folder: Path) -> Settings:
    """Read model_config.json.

    Raises:
        MissingInput: If there is none.
        InvalidInput: If it cannot be used, or asks for what the published weights do not.
    """
    try:
        return Settings.model_validate(read_json(folder / "model_config.json"))
    except ValidationError as error:
        found = "; ".join(problems(error, whole="the file")[:4])
        raise InvalidInput(f"{folder / 'model_config.json'} cannot be used: {found}") from None


def weights_of(folder: Path) -> Path:
    """Return the file of weights in a folder, or in the newest of its folders named checkpoint-<number>.

    Raises:
        MissingInput: If there is none; the message says how to make it of what was published.
    """
    numbered = {int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*") if path.name[11:].isdecimal()}
    places = [folder, *(numbered[number] for number in sorted(numbered, reverse=True))]
    for place in places:
        if kind_of_file(place / "model.safetensors") != "missing":
            return place / "model.safetensors"
    published = next((place / "model.pth" for place in places if (place / "model.pth").exists()), None)
    if published is not None:
        raise MissingInput(f"{published} {WHAT_TO_DO['pickle'].replace('FILE', str(published))}")
    raise MissingInput(f"{folder} holds no model.safetensors, nor does a folder checkpoint-<number> in it")


class Parts(NamedTuple):
    """The tensors of the network, by its own names, and the head."""

    network: dict[str, Tensor]
    head: Float[Tensor, "outputs hidden"]


def merged(tensors: Mapping[str, Tensor], lora: Lora, file: Path, dtype: torch.dtype = torch.float32) -> Parts:
    """Bring the tensors of the file to the network's own names, with the LoRA added to its matrices.

    Args:
        tensors: What the file holds, by name.
        lora: How strong the LoRA is.
        file: The file, for messages.
        dtype: That of the matrices to which a LoRA was added; the sum is formed in float32.

    Raises:
        InvalidInput: If a LoRA has a half or no matrix to be added to, two names are one, or there is no head.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if named.setdefault(own_name(name), tensor) is not tensor:
            raise InvalidInput(f"{file} names one tensor twice, in two versions of transformers: {own_name(name)}")
    named = {name: tensor for name, tensor in named.items() if not name.endswith("lm_head.weight")}
    halves: dict[str, dict[str, Tensor]] = {}
    for name in [name for name in named if _LORA.fullmatch(name)]:
        match: Any = _LORA.fullmatch(name)
        halves.setdefault(match["layer"], {})[match["part"]] = named.pop(name)
    head = named.pop(HEAD, None)
    if head is None or head.ndim != 2 or len(head) not in (1, 3):
        raise InvalidInput(f"{file} holds no {HEAD} with one or three rows: it is not the file of VideoReward")
    strength = lora.lora_alpha / (math.sqrt(lora.lora_r) if lora.use_rslora else lora.lora_r)
    for layer, half in halves.items():
        _add(named, f"{layer}.weight", half, strength, lora.lora_r, file, dtype)
    return Parts(named, head.float())


def _add(
    named: dict[str, Tensor], name: str, half: Mapping[str, Tensor], strength: float, rank: int, file: Path, dtype: torch.dtype
) -> None:
    down, up, whole = half.get("A"), half.get("B"), named.get(name)
    if down is None or up is None or whole is None or any(part.ndim != 2 for part in (down, up, whole)):
        raise InvalidInput(f"{file}: the LoRA of {name} is not whole, or has no matrix to be added to")
    if (len(up), rank) != up.shape or (rank, down.shape[-1]) != down.shape or (len(up), down.shape[-1]) != whole.shape:
        raise InvalidInput(f"{file}: the LoRA of {name} does not fit it, with the rank {rank} of model_config.json")
    named[name] = (whole.float() + strength * (up.float() @ down.float())).to(dtype)
