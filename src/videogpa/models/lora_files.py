"""Files of LoRA adapters, from this and other programs, read into one form: two matrices and a strength per linear layer.

Read are PEFT's folders, with or without adapter_config.json; diffusers' `pytorch_lora_weights.safetensors`; ComfyUI's files
and those of kohya's trainers; each as a folder or as a single file. Layers may have diffusers' names or those of the model's
original code (`lora_names`). The files of two experts are told apart by `high` and `low` in their names, or by diffusers' own.
A pattern of a foreign config is never run as a regular expression.
"""

import math
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from videogpa.errors import InvalidInput, MissingInput, problems
from videogpa.models.lora_names import FIRST, SECOND, Key, expert_in_name, other_method, parse_key
from videogpa.text_files import shown
from videogpa.weight_files import WHAT_TO_DO, Entry, kind_of_file, read_header, require_floats, shortened

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"  # the name that `load_lora_weights(folder)` looks for

_LARGEST_CONFIG = 1 << 20  # bytes; PEFT writes one or two thousand
_METADATA = "lora_adapter_metadata"  # where diffusers keeps PEFT's config in a file's header
LARGEST_ALPHA = 1e6
_Alpha = Annotated[float, Field(gt=0, le=LARGEST_ALPHA, allow_inf_nan=False)]


class PeftConfig(BaseModel):
    """What an adapter_config.json says of strengths; all else that PEFT writes there is kept as it is."""

    model_config = ConfigDict(frozen=True, extra="allow")

    peft_type: str
    r: Annotated[int, Field(ge=1, le=1 << 16, strict=True)]
    lora_alpha: _Alpha
    use_rslora: bool = False
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: Annotated[dict[str, _Alpha], Field(max_length=4096)] | None = None
    target_modules: Any = None

    def strength(self, layer: str, rank: int) -> float:
        """Return the factor on the product of a layer's matrices: alpha / rank, or alpha / √rank with rsLoRA."""
        alpha = next((alpha for name, alpha in (self.alpha_pattern or {}).items() if _names(name, layer)), self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


@dataclass(frozen=True)
class LoraFile:
    """A file of a LoRA whose header is read and whose names are known to be those of a LoRA of linear layers."""

    path: Path
    header: Mapping[str, Entry]
    component: str | None = None
    """The transformer that the file is for, where its name or place says so."""
    config: PeftConfig | None = None
    """The adapter_config.json beside it, or its copy in a header of diffusers."""

    def keys(self) -> dict[str, Key]:
        """Return the parsed names of all tensors."""
        return {name: key for name in self.header if (key := parse_key(name)) is not None}

    def says_strength(self) -> bool:
        """Whether alpha is known of every layer; without it alpha is assumed to be the rank, and the strength 1."""
        layers: dict[str, set[tuple[str | None, str]]] = {"down": set(), "up": set(), "alpha": set()}
        for key in self.keys().values():
            layers[key.part].add((key.component, key.layer))
        return self.config is not None or layers["alpha"] >= layers["down"]


def open_adapter(path: Path) -> list[LoraFile]:
    """Find the files of an adapter and read their headers; no tensor is read, and no model needed.

    Args:
        path: A folder or a file; see the module.

    Raises:
        MissingInput: If there is no adapter.
        InvalidInput: If it is of another kind, damaged, or impossible; the message says what it is.
    """
    kind = kind_of_file(path)
    if kind == "missing":
        raise MissingInput(
            f"no adapter at {shown(path)}: there is neither a folder nor a file. A published one is downloaded "
            "first: `hf download OWNER/NAME --local-dir FOLDER`"
        )
    if kind in ("unreadable", "not a file"):
        raise InvalidInput(f"{shown(path)} {WHAT_TO_DO[kind]}")
    folder = path if kind == "folder" else path.parent
    of_peft = kind == "folder" or path.name == WEIGHTS_FILE
    if of_peft and _is_there(folder / CONFIG_FILE):
        return [_opened(folder / WEIGHTS_FILE, None, read_config(folder / CONFIG_FILE))]
    if kind != "folder":
        return [_opened(path, expert_in_name(path.name))]
    return [_opened(file, component) for file, component in _files_in(path).items()]


def _is_there(path: Path) -> bool:
    return kind_of_file(path) != "missing" or path.is_symlink()  # a link to what is gone is no config that was never there


def _files_in(folder: Path) -> dict[Path, str | None]:
    """Return the files of the adapter in a folder without adapter_config.json, with the transformers that they are for."""
    if _is_there(folder / DIFFUSERS_FILE):
        second = folder / SECOND / DIFFUSERS_FILE
        return {folder / DIFFUSERS_FILE: FIRST, **({second: SECOND} if _is_there(second) else {})}
    files = {file: expert_in_name(file.name) for file in sorted(folder.glob("*.safetensors")) if not file.name.startswith(".")}
    if not files:
        others = [file.name for file in sorted(folder.glob("*")) if file.suffix in (".bin", ".pt", ".ckpt", ".pth")]
        pickled = f"{others[0]} is a pickle, which can run code as it is read" if others else None
        raise MissingInput(
            f"no adapter at {folder}: {pickled or f'{CONFIG_FILE} and {WEIGHTS_FILE} missing'}. "
            "`videogpa train` writes one; LoRAs of other programs are .safetensors files."
        )
    if (len(files) > 1 and set(files.values()) != {FIRST, SECOND}) or len(files) > 2:
        raise InvalidInput(
            f"{folder} holds {len(files)} files ({shortened(file.name for file in files)}), and it is not clear which is the "
            "adapter: give the file itself, or, for a model with two experts, two files with `high` and `low` in their names"
        )
    return files


def _opened(path: Path, component: str | None, config: PeftConfig | None = None) -> LoraFile:
    header = read_header(path, what="the adapter's weights")
    method = other_method(header)
    if method is not None:
        raise InvalidInput(
            f"{path} is {method}, which cannot be read: give a LoRA of linear layers, or merge it into the model"
        )
    strangers = [name for name in header if parse_key(name) is None]
    if strangers:
        whole = "no LoRA: it holds whole weights" if len(strangers) == len(header) else "a LoRA with other tensors beside it"
        raise InvalidInput(f"{path} is {whole} ({shortened(strangers)})")
    if not header:
        raise InvalidInput(f"{path} holds no tensors: fetch or make it again")
    require_floats(path, header)
    return LoraFile(path, header, component, config or _config_in_header(path))


# Configs.

_UNREADABLE: dict[str, str] = {
    "use_dora": "DoRA",
    "lora_bias": "biases (lora_bias)",
    "modules_to_save": "whole layers beside the LoRA (modules_to_save)",
    "target_parameters": "a LoRA of parameters (target_parameters)",
    "layer_replication": "repeated layers (layer_replication)",
    "trainable_token_indices": "trained tokens (trainable_token_indices)",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "alora_invocation_tokens": "activated LoRA",
}
_CHANGES_THE_MODEL = ("pissa", "olora", "corda", "loftq", "lora_ga")  # as `init_lora_weights`: they subtract from the weights


def read_config(path: Path) -> PeftConfig:
    """Read an adapter_config.json.

    Raises:
        MissingInput: If there is no such file.
        InvalidInput: If it is damaged, impossible, or of another method than LoRA.
    """
    kind = kind_of_file(path)
    if kind == "missing":
        raise MissingInput(f"there is no file {path}")
    if kind in ("not a file", "folder", "unreadable", "git-lfs pointer", "HTML page", "empty"):
        raise InvalidInput(f"{path} {WHAT_TO_DO[kind]}")
    if path.stat().st_size > _LARGEST_CONFIG:
        raise InvalidInput(f"{path} is larger than any adapter's config: fetch it again")
    return _parsed(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), path)


def _parsed(text: bytes, path: Path) -> PeftConfig:
    try:
        config = PeftConfig.model_validate_json(text)
    except ValidationError as error:
        raise InvalidInput(f"{path} is no config of a LoRA: {'; '.join(problems(error, whole='the file')[:3])}") from None
    extra = config.model_extra or {}
    asked = [what for name, what in _UNREADABLE.items() if extra.get(name) not in (None, False, [], {}, "")]
    if extra.get("bias") not in (None, "none"):
        asked.append("trained biases (bias)")
    if str(extra.get("init_lora_weights")).lower().startswith(_CHANGES_THE_MODEL):
        asked.append(f"changed weights of the model (init_lora_weights: {extra['init_lora_weights']})"[:80])
    if config.peft_type != "LORA":
        raise InvalidInput(f"{path} is the config of another method, {config.peft_type[:40]!r}: give a LoRA")
    if asked:
        raise InvalidInput(
            f"{path} is a LoRA with {' and '.join(asked)}, which cannot be read: merge it into the model instead"
        )
    regexes = [name for name in (config.alpha_pattern or {}) if not _is_plain(name)]
    if regexes:
        raise InvalidInput(
            f"{path}: alpha_pattern has regular expressions ({shortened(regexes)}), which are not run: name the layers in full"
        )
    return config


def _config_in_header(path: Path) -> PeftConfig | None:
    """Return PEFT's config from the header of a file that diffusers saved, if it is there."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        text = (file.metadata() or {}).get(_METADATA)
    if text is None:
        return None
    try:
        flat = _Flat.model_validate_json(text).model_extra or {}
    except ValidationError as error:
        raise InvalidInput(f"{path}: {_METADATA} in its header: {'; '.join(problems(error)[:3])}") from None
    own = {name.removeprefix(f"{FIRST}."): value for name, value in flat.items() if name.startswith(f"{FIRST}.")}
    return _parsed(_Flat.model_validate({"peft_type": "LORA", **own}).model_dump_json().encode(), path) if own else None


class _Flat(BaseModel):
    model_config = ConfigDict(extra="allow")


def _is_plain(pattern: str) -> bool:
    return re.fullmatch(r"\^?(?:[\w-]|\\?\.)+\$?", pattern) is not None


def _names(pattern: str, layer: str) -> bool:
    """Whether a plain pattern of PEFT names a layer: its whole name, or the end of it where the pattern has no `^`."""
    plain = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
    return layer == plain or (layer.endswith(f".{plain}") and not pattern.startswith("^"))


def targets_of(config: PeftConfig | None) -> set[str]:
    """Return the endings of names that a config says are adapted in every block; empty where it does not say so plainly."""
    if config is None or not isinstance(config.target_modules, list):
        return set()
    extra = config.model_extra or {}
    if extra.get("layers_to_transform") is not None or extra.get("exclude_modules"):
        return set()
    return {target for target in config.target_modules if isinstance(target, str)}


def ends_with(layer: str, endings: Set[str]) -> bool:
    """Whether a layer has one of these names, or ends with one after a dot, which is how PEFT matches them."""
    parts = layer.split(".")
    return any(".".join(parts[start:]) in endings for start in range(len(parts)))
