"""Model folders in diffusers' format: what a family expects of one, and the check of everything before anything is loaded.

The check reads configurations and the headers of the weights. It needs no memory for tensors, and runs no code of the folder.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from videogpa import hub
from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.models.folder_values import check_values
from videogpa.text_files import cut
from videogpa.weight_files import (
    WHAT_TO_DO,
    differences,
    kind_of_file,
    read_header,
    read_json,
    require_finite,
    require_floats,
    shortened,
)

INDEX = "model_index.json"
_CONFIG = {"scheduler": "scheduler_config.json", "image_processor": "preprocessor_config.json", "tokenizer": None}
_STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
_VOCABULARIES = ("tokenizer.json", "spiece.model")
_LARGEST_VOCABULARY = 200_000_000  # bytes
READ = ("*.json", "*.safetensors", "*.model", "*.txt")
"""What is read of a component's folder: no .bin, no code."""
_VARIANTS = ("*.fp16*", "*.bf16*", "*.non_ema*")


@dataclass(frozen=True)
class Family:
    """What model folders of a family hold."""

    name: str
    """For messages, such as CogVideoX."""
    example: str
    """A hub id of the family."""
    classes: Mapping[str, tuple[str, str]]
    """Component -> library, and a shell pattern of the names of its class there."""
    optional: Collection[str] = ()
    """Components that some members of the family lack."""


class in_sentences:  # noqa: N801 - used as a statement, like contextlib.suppress
    """What a library raises about a component of a folder becomes a sentence that names both.

    Args:
        origin: The folder or hub id.
        component: The part of it that is being read.
    """

    def __init__(self, origin: object, component: str) -> None:
        self._said = f"{origin}: its {component}"

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Raise an `InvalidInput` in place of an error of loading; leave every other one, and our own, as it is.

        Raises:
            InvalidInput: In place of such an error.
        """
        # The tokenizers library raises `Exception` itself, and none of its subclasses.
        if (isinstance(error, _LOADING) and not isinstance(error, UserError)) or kind is Exception:
            assert kind is not None
            why = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", str(error))
            raise InvalidInput(f"{self._said} cannot be loaded ({kind.__name__}: {cut(why)}): fetch it again") from None


_LOADING = (
    *(OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError, ImportError, ArithmeticError, AssertionError),
    *(SafetensorError, StrictDataclassError),
)
"""What diffusers and transformers raise for folders that they cannot load."""


def local_folder(path: Path | str, family: Family, *, revision: str | None, components: Collection[str] | None = None) -> Path:
    """Return the local folder of a model: the path itself, or that of a hub id, fetched into the hub's cache if need be.

    Args:
        path: A folder in diffusers' format, or a hub id.
        family: What it should hold.
        revision: The revision of the hub id, or None for the default one.
        components: The components whose weights are needed; None for the configurations alone.

    Raises:
        UserError: If there is none, or it cannot be fetched.
    """
    if isinstance(path, Path) or Path(path).is_dir():
        return Path(path)
    wanted = family.classes if components is None else components
    readable = ("*.json",) if components is None else READ
    patterns = [INDEX, *(f"{component}/{pattern}" for component in wanted for pattern in readable)]

    def complete(folder: Path) -> bool:
        try:
            check_folder(folder, family, components=components)
        except MissingInput:
            return False
        except InvalidInput:
            pass  # it is here, and damaged, which is said when it is read
        return True

    return hub.fetch(path, patterns=patterns, without=_VARIANTS, setting="model.path", revision=revision, complete=complete)


def check_folder(folder: Path, family: Family, *, components: Collection[str] | None = None) -> dict[str, type]:
    """Check that a folder holds a family's model, whole.

    Args:
        folder: The folder.
        family: What it should hold.
        components: The components whose weights are checked; None for the configurations of all alone.

    Returns:
        The class of every component of the folder.

    Raises:
        MissingInput: If a file is missing.
        InvalidInput: If one is damaged, of another kind, or describes what is not supported.
    """
    classes = _classes(read_index(folder, family), family, folder)
    for component, kind in classes.items():
        _refuse_odd_files(folder / component)
        if component == "tokenizer":
            if components is None or component in components:
                _check_tokenizer(folder)
            continue
        config = read_config(folder, component, kind)
        if components is not None and component in components and component in _networks(family):
            check_network(folder, component, kind, config)
    return classes


def _refuse_odd_files(own: Path) -> None:
    """Refuse what would block or fill the memory of a reader: libraries open files of a component that are checked nowhere."""
    for file in own.glob("*"):
        if kind_of_file(file) == "not a file":
            raise InvalidInput(f"{file} {WHAT_TO_DO['not a file']}: remove it, or fetch the folder again")
        if file.suffix in (".json", ".txt", ".model") and file.exists() and file.stat().st_size > _LARGEST_VOCABULARY:
            raise InvalidInput(f"{file} has {file.stat().st_size:,} bytes, too many for such a file: fetch it again")


def read_index(folder: Path, family: Family) -> dict[str, Any]:
    """Return the content of model_index.json.

    Raises:
        MissingInput: If there is none; the message says what was expected.
        InvalidInput: If it is damaged.
    """
    if kind_of_file(folder / INDEX) == "missing":
        raise MissingInput(
            f"no {family.name} model in diffusers' format at {folder}: there is no {INDEX}, the list of its parts. "
            f"Give model.path the whole folder of a model, or a hub id such as {family.example}."
        )
    return read_json(folder / INDEX)


def check_weights(path: Path | str, family: Family) -> None:
    """Check all weights of a local folder by their headers. Those of a hub id are checked once they are fetched.

    Raises:
        UserError: See `check_folder`.
    """
    if isinstance(path, Path):
        check_folder(path, family, components=tuple(family.classes))


def _classes(index: Mapping[str, Any], family: Family, origin: object) -> dict[str, type]:
    if not isinstance(index.get("_class_name", ""), str):
        raise InvalidInput(f"{origin}: its {INDEX} names a pipeline of the folder's own, whose code is not run")
    pipeline = cut(index.get("_class_name"), 60)
    found: dict[str, type] = {}
    for component, (library, pattern) in family.classes.items():
        entry = index.get(component)
        if entry is None or entry == [None, None]:
            if component not in family.optional:
                raise InvalidInput(
                    f"{origin} is no {family.name} model: its {INDEX} (of a {pipeline}) names no {component}. "
                    f"Give model.path a whole folder, or a hub id such as {family.example}."
                )
            continue
        if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)):
            raise InvalidInput(
                f"{origin}: its {INDEX} gives {component} as {cut(json.dumps(entry), 80)}, and not as a library and a class; "
                "code of its own is not run"
            )
        if entry[0] != library or not fnmatch(entry[1], pattern):
            raise InvalidInput(
                f"{origin} is no {family.name} model: its {component} is a {cut(' '.join(entry), 80)} and not a "
                f"{library} {pattern} (its pipeline: {pipeline}). Set model.name to the family of the folder; other classes "
                "and code of a folder's own are not run."
            )
        kind = getattr(import_module(library), entry[1], None)
        if not isinstance(kind, type):
            raise InvalidInput(f"{origin}: the installed {library} has no {cut(entry[1], 80)}, which is its {component}")
        found[component] = kind
    return found


def _networks(family: Family) -> set[str]:
    return {component for component in family.classes if component not in _CONFIG}


def read_config(folder: Path, component: str, kind: type) -> dict[str, Any]:
    """Return the configuration of a component, with the defaults of its class where it is silent. Its values are bounded.

    Raises:
        MissingInput: If there is none.
        InvalidInput: If it is damaged, or a value is impossible or asks for what is not supported.
    """
    path = folder / component / (_CONFIG.get(component) or "config.json")
    config = read_json(path)
    for forbidden, why in _FORBIDDEN.items():
        if config.get(forbidden) is not None:
            raise InvalidInput(f"{path} has {forbidden}: {why}")
    named = config.get("_class_name", kind.__name__)
    if named != kind.__name__ and component not in _CONFIG:  # schedulers read each other's configurations
        raise InvalidInput(f"{path} is of a {cut(named, 80)}, where {INDEX} names a {kind.__name__}; that is not supported")
    parameters = signature(kind).parameters if _library(kind) == "diffusers" else {}
    defaults = {name: given.default for name, given in parameters.items() if given.default is not given.empty}
    check_values(path, config, defaults)
    return {**defaults, **config}


def _library(kind: type) -> str:
    return kind.__module__.partition(".")[0]


_FORBIDDEN = {
    "auto_map": "code of a folder's own is not run",
    "custom_pipelines": "code of a folder's own is not run",
    "quantization_config": "quantised weights are not supported; give the original ones",
}


def check_network(folder: Path, component: str, kind: type, config: Mapping[str, Any]) -> None:
    """Check the weights of a network by the headers of its files.

    Raises:
        MissingInput: If a file is missing.
        InvalidInput: If one is damaged or of another kind, or tensors are missing, unexpected or of another shape.
    """
    library = _library(kind)
    shapes = weight_shapes(folder / component, _STEMS[library])
    if library == "transformers":  # it renames tensors and ties them while it loads: the loading tells what was wrong
        return
    with in_sentences(folder, f"{component}, as its config.json describes it,"), init_empty_weights():
        model = kind.from_config(dict(config))  # type: ignore[attr-defined]
    ignored = re.compile("|".join(getattr(kind, "_keys_to_ignore_on_load_unexpected", None) or ["(?!)"]))
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: shape for name, shape in shapes.items() if name in expected or not ignored.search(name)}
    refuse(differences(found, expected), folder, component)


def load_component(folder: Path, component: str, kind: Any, dtype: torch.dtype) -> Any:
    """Load a component of a folder that was checked. Networks are on the CPU, and in evaluation mode.

    Raises:
        InvalidInput: If it cannot be loaded, or its weights are not those of its configuration, or not numbers.
    """
    own = folder / component
    with in_sentences(folder, component):
        if not issubclass(kind, torch.nn.Module):
            return kind.from_pretrained(own, local_files_only=True)
        named = {"dtype" if _library(kind) == "transformers" else "torch_dtype": dtype}
        network, info = kind.from_pretrained(
            own, use_safetensors=True, local_files_only=True, output_loading_info=True, **named
        )
    groups = (("missing", "missing_keys"), ("unexpected", "unexpected_keys"), ("of another shape", "mismatched_keys"))
    # Encoders are also cut out of whole T5 models, whose head stays behind.
    info["unexpected_keys"] = [name for name in info["unexpected_keys"] if not name.startswith("lm_head.")]
    wrong = [f"{len(info[key])} {what}: {shortened(sorted(map(str, info[key])))}" for what, key in groups if info[key]]
    refuse(wrong, folder, component)
    require_finite(own, network.state_dict())
    return network


def check_vocabulary(folder: Path, tokenizer: Any, text_encoder: Any) -> None:
    """Check that a text encoder has an embedding for every token of a tokenizer, if both are loaded.

    Raises:
        InvalidInput: If it has not.
    """
    if tokenizer is not None and text_encoder is not None and len(tokenizer) > text_encoder.config.vocab_size:
        raise InvalidInput(
            f"{folder}: its tokenizer has {len(tokenizer)} tokens and its text_encoder {text_encoder.config.vocab_size}: "
            "they do not belong together. Fetch the folder again, whole."
        )


def refuse(wrong: Collection[str], origin: object, component: str) -> None:
    """Raise an error that lists how the weights of a component differ from what its config.json describes, if they do.

    Raises:
        InvalidInput: If there are differences.
    """
    if wrong:
        raise InvalidInput(
            f"{origin}: the weights of its {component} are not those of its config.json: {'; '.join(wrong)}. "
            "Fetch the component again, whole."
        )


def weight_shapes(folder: Path, stem: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a component, from the headers of its file or of its shards.

    Args:
        folder: The component's folder.
        stem: The beginning of the names of its files.

    Raises:
        MissingInput: If there is no such file.
        InvalidInput: If one is damaged, of another kind or quantised, or the list of shards is wrong.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in _files(folder, stem):
        header = read_header(file)
        require_floats(file, {name: entry for name, entry in header.items() if not name.endswith("position_ids")})
        shapes |= {name: entry.shape for name, entry in header.items()}
    return shapes


def _files(folder: Path, stem: str) -> Iterator[Path]:
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if kind_of_file(index) == "missing" or (stem == "model" and kind_of_file(single) != "missing"):
        if kind_of_file(single) == "missing":
            _explain_missing(folder, single)
        yield single
        return
    content = read_json(index)
    names = content.get("weight_map")
    if not isinstance(names, dict) or not names or not isinstance(content.get("metadata"), dict):
        raise InvalidInput(f"{index} is no list of shards: fetch it again")
    shards: dict[str, set[str]] = {}
    for tensor, shard in names.items():
        if not isinstance(shard, str) or not re.fullmatch(r"[\w][\w.-]*\.safetensors", shard):
            raise InvalidInput(f"{index} names the shard {cut(shard, 80)!r}: expected a plain name of a .safetensors file")
        shards.setdefault(shard, set()).add(tensor)
    for shard, tensors in shards.items():
        yield folder / shard
        lost = tensors ^ read_header(folder / shard).keys()
        if lost:
            raise InvalidInput(f"{folder / shard} and {index.name} differ in {len(lost)} tensors ({cut(min(lost), 80)}, ...)")


def _explain_missing(folder: Path, single: Path) -> None:
    there = sorted(folder.glob("*")) if folder.is_dir() else []
    for file in there:
        if kind_of_file(file) == "pickle":
            raise InvalidInput(f"{file} {WHAT_TO_DO['pickle'].replace('FILE', str(file))}")
    variants = [file.name for file in there if file.suffix == ".safetensors"]
    more = f" (it holds {cut(', '.join(variants))}: rename the file, or fetch the usual one)" if variants else ""
    raise MissingInput(f"there is no {single}{more}: fetch the model's folder again, whole")


def _check_tokenizer(folder: Path) -> None:
    own = folder / "tokenizer"
    here = [own / name for name in _VOCABULARIES if kind_of_file(own / name) != "missing"]
    if not here:
        raise MissingInput(
            f"{own} holds no tokenizer ({' or '.join(_VOCABULARIES)}): prompts would be read as other words. Fetch it again."
        )
    for file in here:
        if file.suffix == ".json":
            content = read_json(file, largest=_LARGEST_VOCABULARY)
            if not isinstance(content.get("model"), dict) or not content["model"].get("vocab"):
                raise InvalidInput(f"{file} holds no vocabulary: fetch it again")
        elif kind_of_file(file) not in ("unknown", "text"):
            raise InvalidInput(f"{file} {WHAT_TO_DO[kind_of_file(file)].partition(':')[0]}: fetch it again")
    if kind_of_file(own / "tokenizer_config.json") != "missing":
        read_json(own / "tokenizer_config.json")
