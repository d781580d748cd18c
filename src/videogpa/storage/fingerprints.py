"""Fingerprints: short hashes of settings and inputs. A result is made again if its fingerprint no longer matches.

A new version has new settings, and what an earlier one made must not be made again because of them. So the settings of the
first version (`FIRST`) are hashed with their values, and a later one (`LATER`) only where it differs from the default that it
came with, which meant what was done before. A default that changes is noticed in both cases, since a value is hashed and not
that it is the default.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from videogpa.errors import InvalidInput
from videogpa.renames import HASHED_AS
from videogpa.weight_files import WHAT_TO_DO, kind_of_file

_SAMPLE_BYTES = 1 << 20  # read at each end of a file: enough to distinguish checkpoints without reading gigabytes

FIRST = {
    "TrainConfig": "loss beta sft_weight static_weight timesteps steps batch_size gradient_accumulation_steps learning_rate "
    "lr_scheduler warmup_steps weight_decay max_grad_norm lora_rank lora_alpha dtype seed optimizer joint_forward "
    "gradient_checkpointing held_out validate_every checkpoint_every log_every trackers",
    "TimestepsConfig": "sampling logit_mean logit_std shift",
    "ScoreConfig": "critic options frames window overlap anchors lpips_net",
    "PairConfig": "measure min_gap winner_threshold motion min_motion keep_motion per_group",
    "ModelConfig": "name path revision device dtype offload tiling expert",
    "Sampling": "frames height width num_inference_steps guidance_scale",
    "Prompt": "fingerprint prompt text image scene split videos",
    "Scene": "seed camera frames height width style moving",
}
"""Class -> its settings that are hashed whatever their value. Nothing is added here."""

LATER: dict[str, dict[str, Any]] = {
    "ScoreConfig": {"scene": None, "overlays": "leave_out", "cuts": "decline"},  # rows of clips without either are the same
    "TrainConfig": {
        **{"sdpo_mu": 0.6, "dpop_lambda": 1.0, "linear_eta": 0.1, "pair_weighting": "none"},
        **{"initial_adapter": None, "reference": "previous"},
    },
    # min_sigma and min_reliability are without effect on rows of before, which have no such columns.
    "PairConfig": {"min_sigma": 1.0, "min_reliability": "low", "clips_once": True},
    "Prompt": {"reading": None},
    "TimestepsConfig": {"weighting": "none"},
    "Scene": {"hard": None},
    "Sampling": {"negative_prompt": "", "guidance_scale_2": None, "flow_shift": None},
}
"""Class -> setting that came later -> the default that it came with (as JSON), which is not hashed.

Every new setting of a class above is added here, with its first default, and stays when its default changes.
"""

CHANGED_OPTIONS: dict[str, dict[str, Any]] = {}
"""Critic -> option whose default has changed -> the new default, which is hashed where the option is not given.

Only the options that are given are hashed, so that a new option with a default that means what was done before needs nothing.
"""


def fingerprint(*parts: object) -> str:
    """Hash settings and inputs to 16 hex digits.

    Args:
        parts: Anything that JSON can hold, pydantic models, dataclasses and paths included. A renamed setting is hashed under
            its old name, so that a run folder of an earlier version is continued and not made again; of models and
            dataclasses the settings count that `hashed` returns.
    """
    named = json.loads(json.dumps(parts, default=_jsonable), object_hook=_with_hashed_names)
    canonical = json.dumps(named, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def hashed(settings: Any, *, exclude: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings that a fingerprint depends on, by name and as JSON.

    Those of `FIRST` are always among them, others if they differ from the default that they came with.

    Args:
        settings: A pydantic model, or a dataclass of what JSON can hold.
        exclude: Settings that have no effect on what is made.
    """
    found = {}
    for name, value in _values(settings).items():
        if name in exclude:
            continue
        found[name] = hashed(value) if _has_fields(value) else value
        if name not in _first(type(settings)) and found[name] == _unhashed(settings, name):
            del found[name]
    return found


def hashed_later(settings: Any) -> list[dict[str, Any]]:
    """Return the settings that came after the first version and differ from their default: in a list, empty if none does.

    For a fingerprint that names the settings of the first version one by one.
    """
    later = hashed(settings, exclude=_first(type(settings)))
    return [later] if later else []


def changed_options(critic: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return, in a list, the defaults of a critic's options that have changed and apply here; an empty list if none does."""
    applied = {name: value for name, value in CHANGED_OPTIONS.get(critic, {}).items() if name not in options}
    return [applied] if applied else []


def _values(settings: Any) -> dict[str, Any]:
    """Return the fields with what JSON can hold of them; models and dataclasses as they are."""
    if isinstance(settings, BaseModel):
        dumped = settings.model_dump(mode="json")
        return {name: value if _has_fields(value := getattr(settings, name)) else dumped[name] for name in dumped}
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def _has_fields(value: object) -> bool:
    return isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _first(kind: type) -> set[str]:
    return {name for parent in kind.__mro__ for name in FIRST.get(parent.__name__, "").split()}


def _unhashed(settings: Any, name: str) -> Any:
    """Return the value at which a setting is not hashed: its first default, or nothing that compares equal."""
    kind = type(settings)
    for parent in kind.__mro__:
        if name in LATER.get(parent.__name__, {}):
            return LATER[parent.__name__][name]
    default = _defaults(settings).get(name, dataclasses.MISSING)
    return hashed(default) if _has_fields(default) else default


def _defaults(settings: Any) -> dict[str, Any]:
    """Return the defaults of the fields as `_values` returns values; what has no default is left out or equals nothing."""
    if isinstance(settings, BaseModel):
        optional = {name: field for name, field in type(settings).model_fields.items() if not field.is_required()}
        given = vars(settings)
        defaults = {
            name: field.get_default(call_default_factory=True, validated_data=given) for name, field in optional.items()
        }
        return {name: value for name, value in _values(settings.model_copy(update=defaults)).items() if name in defaults}
    fields, missing = dataclasses.fields(settings), dataclasses.MISSING
    return {f.name: f.default if f.default_factory is missing else f.default_factory() for f in fields}


def _with_hashed_names(mapping: dict[str, Any]) -> dict[str, Any]:
    return {HASHED_AS.get(name, name): value for name, value in mapping.items()}


def _jsonable(value: object) -> Any:
    if _has_fields(value):
        return hashed(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot fingerprint a {type(value).__name__}")


def path_fingerprint(path: Path, counts: Callable[[Path], bool] = lambda file: True) -> str:
    """Hash a file, or every file below a folder.

    Args:
        path: The file or folder. Of each file the size and the first and last megabyte count, and below a folder its name too.
        counts: Tells of a path relative to the folder whether that file counts.

    Returns:
        16 hexadecimal digits.

    Raises:
        InvalidInput: If the path is a pipe, a device or a socket.
    """
    if kind_of_file(path) == "not a file":
        raise InvalidInput(f"{path} {WHAT_TO_DO['not a file']}")
    files = [path]
    if path.is_dir():  # in an order that does not depend on the system, as that of paths does
        counted = (file for file in path.rglob("*") if file.is_file() and counts(file.relative_to(path)))
        files = sorted(counted, key=lambda file: file.relative_to(path).parts)
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path).as_posix() if path.is_dir() else ''}:{size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLE_BYTES))
            if size > _SAMPLE_BYTES:
                stream.seek(max(_SAMPLE_BYTES, size - _SAMPLE_BYTES))
                digest.update(stream.read())
    return digest.hexdigest()[:16]
