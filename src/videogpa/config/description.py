"""Every setting of a recipe as a table: for `videogpa list settings` and docs/reference/settings.md."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from videogpa.config.base import Config
from videogpa.config.settings import EvaluateConfig, PairConfig, Recipe

BY_OTHERS = {(PairConfig, "min_gap"): "by the measure", (EvaluateConfig, "critics"): "by score.critic"}
"""Settings whose default depends on another setting."""

_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


@dataclass(frozen=True)
class Setting:
    """One setting of a recipe."""

    name: str
    """Its dotted name, such as `train.beta`."""
    values: str
    """The values it takes: type and range, or the choices."""
    default: str
    """Its default in YAML; `required` if there is none."""
    meaning: str
    """What it does, with its unit and the source of the default."""


def settings() -> list[Setting]:
    """Return every setting of a recipe, in the order of the stages."""
    return list(_settings_of(Recipe, ""))


def section_meaning(name: str) -> str:
    """Return the first sentence about a section such as `train` or `prompts.world`."""
    section: type[Config] | None = Recipe
    for part in name.split("."):
        section = None if section is None else _section(section.model_fields[part].annotation)
    return "" if section is None else (section.__doc__ or "").partition("\n")[0]


def _settings_of(section: type[Config], prefix: str) -> Iterator[Setting]:
    """The settings of a section, then those of the sections in it."""
    sections = []
    for name, field in section.model_fields.items():
        if field.exclude:  # it is no setting of a recipe
            continue
        inner = _section(field.annotation)
        if inner is not None:
            sections.append((inner, f"{prefix}{name}."))
            continue
        default = BY_OTHERS.get((section, name)) or _default(field)
        yield Setting(f"{prefix}{name}", _values(field), default, " ".join((field.description or "").split()))
    for inner, within in sections:
        yield from _settings_of(inner, within)


def _section(annotation: Any) -> type[Config] | None:
    """The class of a setting that is a section, also of an optional one."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Config):
            return kind
    return None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, float) and 0 < value < 1e-3:
        return f"{value:g}"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{words} {_number(getattr(rule, sign))}"
        for rule in field.metadata
        for sign, words in _BOUNDS.items()
        if hasattr(rule, sign)
    ]
    return ", ".join([_kind(field.annotation), *bounds])


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


_NAMES: dict[Any, str] = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path", Any: "any"}


def _kind(annotation: Any) -> str:
    """A type in words."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, inside))
    if origin is Annotated:
        return _values(FieldInfo.from_annotation(annotation))
    if origin in (Union, UnionType):
        return " | ".join("null" if kind is NoneType else _kind(kind) for kind in inside)
    if origin is tuple:
        return f"list of ({_kind(inside[0])})" if inside[-1] is Ellipsis else f"[{', '.join(map(_kind, inside))}]"
    if origin is dict:
        return "mapping"
    return _NAMES[annotation]
