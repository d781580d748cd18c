"""Plug-ins by name. A plug-in is imported only when it is asked for.

To add one, write its file and one line here: docs/adding-a-critic.md, docs/adding-a-model.md.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model

CRITICS = {
    "sfm": "videogpa.critics.sfm:SfmCritic",  # COLMAP cameras, plane-sweep depth; no weights, runs on a CPU
    "vggt": "videogpa.critics.vggt:VggtCritic",  # VGGT-1B: the paper's critic
    "da3": "videogpa.critics.depth_anything:DepthAnythingCritic",  # cameras and depth in one pass; published weights
    "oracle": "videogpa.critics.oracle:OracleCritic",  # the exact geometry of a scene of the miniature world
    "mixed": "videogpa.critics.mixed:MixedCritic",  # depth of one, cameras of another: for ablations
}

MODELS = {
    "cogvideox-t2v": "videogpa.models.cogvideox:CogVideoXTextToVideo",  # CogVideoX-2B, -5B, CogVideoX1.5-5B
    "cogvideox-i2v": "videogpa.models.cogvideox:CogVideoXImageToVideo",  # CogVideoX-5B-I2V, CogVideoX1.5-5B-I2V
    "wan-t2v": "videogpa.models.wan:WanTextToVideo",  # Wan2.1-T2V 1.3B and 14B, Wan2.2-T2V-A14B
    "wan-i2v": "videogpa.models.wan:WanImageToVideo",  # Wan2.1-I2V-14B, Wan2.2-I2V-A14B
    "wan-ti2v": "videogpa.models.wan:WanTextImageToVideo",  # Wan2.2 TI2V-5B, with a first frame or without
}


def load(table: dict[str, str], name: str) -> Any:
    """Return the class registered under `name`.

    Raises:
        KeyError: If nothing is registered under that name; the message lists what is.
    """
    try:
        module, attribute = table[name].split(":")
    except KeyError:
        raise KeyError(f"unknown name {name!r}; registered: {', '.join(sorted(table))}") from None
    return getattr(import_module(module), attribute)


def build(table: dict[str, str], name: str, options: Mapping[str, Any]) -> Any:
    """Build the plug-in registered under `name`. What its constructor takes are its options, and their types are checked.

    Raises:
        KeyError: If nothing is registered under that name.
        ValueError: If an option is unknown or impossible; the message names it.
    """
    return load(table, name)(**check_options(table, name, options))


def check_options(table: dict[str, str], name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as the plug-in's constructor wants them, defaults filled in; nothing is built.

    Raises:
        KeyError: If nothing is registered under that name.
        ValueError: If an option is unknown or impossible; the message names it.
    """
    taken = inspect.signature(load(table, name)).parameters.values()
    fields: dict[str, Any] = {
        option.name: (option.annotation, ... if option.default is option.empty else option.default) for option in taken
    }
    try:
        return dict(create_model("Options", __config__=ConfigDict(extra="forbid"), **fields).model_validate(dict(options)))
    except ValidationError as error:
        known = ", ".join(fields) or "none"
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"options of {name} (it takes: {known}): {problems}") from None
