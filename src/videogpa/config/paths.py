"""Paths in recipes: relative to the recipe's file, those of `--set` to the working folder; `~` is the home."""

import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from videogpa.config.settings import CameraPrompts
from videogpa.errors import InvalidInput
from videogpa.text_files import file_exists

_Place = tuple[str, ...]  # the keys on the way to a setting; `*` for any

ALWAYS: tuple[_Place, ...] = (
    *(("prompts", "file"), ("prompts", "images"), ("prompts", "run")),
    *(("generate", "adapter"), ("train", "initial_adapter"), ("evaluate", "adapter")),
)
"""Settings that are paths."""

_OPTIONS: tuple[_Place, ...] = (("score", "options"), ("evaluate", "options", "*"))
_OF_PARTS: tuple[_Place, ...] = ((), ("depth_options",), ("cameras_options",))  # of `mixed`: the options of two other critics
SOURCES = ("file", "images", "world", "run")
"""Settings of `prompts`, one of which says where the prompts come from."""

PERHAPS: tuple[_Place, ...] = (
    ("model", "path"),
    *((*place, *part, "weights") for place in _OPTIONS for part in _OF_PARTS),
    *(("evaluate", "judges", "*"), ("evaluate", "judges", "*", "weights"), ("evaluate", "judges", "*", "head")),
)
"""Settings that are a local path or a name elsewhere, such as a hub id: a path is one that exists or begins like one."""


def with_absolute_paths(content: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return the content of a recipe with absolute paths.

    Args:
        content: Sections of a recipe, which need not be valid.
        base: The folder that relative paths are relative to.

    Raises:
        InvalidInput: If a path begins with `~`, and there is no such home.
    """
    changed: Any = dict(content)
    for place in ALWAYS:
        changed = _mapped(changed, place, lambda path: _absolute(path, base))
    for place in PERHAPS:
        changed = _mapped(changed, place, lambda path: _absolute(path, base) if _is_local(path, base) else path)
    return dict(changed)


def with_paths_inside(content: Mapping[str, Any], folder: Path, whole: Path) -> dict[str, Any]:
    """Return the content of a recipe with the paths that are inside the run relative to its folder, so that it can be moved.

    Args:
        content: Sections of a recipe.
        folder: The folder that the paths are to be relative to.
        whole: The folder of the whole run, of which the other may be a round.
    """
    changed: Any = dict(content)
    for place in (*ALWAYS, *PERHAPS):
        changed = _mapped(changed, place, lambda path: _relative(path, folder.absolute(), whole.absolute()))
    return dict(changed)


def with_own_prompts(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the content of a run's recipe with the run's copy of its prompts in place of the file or folder they came from.

    Scenes of the miniature world come from no file, and stay. The camera moves that a folder of images has by default are
    written out, since the copies no longer show that they were images alone.
    """
    prompts = content.get("prompts")
    if not isinstance(prompts, dict) or prompts.get("world") is not None:
        return {**content, "prompts": prompts if isinstance(prompts, dict) else {}}
    kept = {name: value for name, value in prompts.items() if name not in SOURCES}
    if prompts.get("images") is not None and kept.get("camera") is None:
        kept["camera"] = CameraPrompts().model_dump(mode="json")
    return {**content, "prompts": {"run": str(folder.absolute()), **kept}}


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path, once links are followed, is in a folder or the folder itself."""
    return path.resolve().is_relative_to(folder.resolve())


def _mapped(node: Any, place: _Place, change: Any) -> Any:
    if not place:
        return change(node) if isinstance(node, str) else node
    if not isinstance(node, dict):
        return node
    here, *rest = place
    return {key: _mapped(value, tuple(rest), change) if here in ("*", key) else value for key, value in node.items()}


def _absolute(path: str, base: Path) -> str:
    try:
        return str((base / Path(path).expanduser()).absolute())
    except RuntimeError:
        raise InvalidInput(f"{path}: there is no home folder for its `~`; write the whole path") from None


def _is_local(path: str, base: Path) -> bool:
    begins = path.startswith(("/", "~", "./", "../")) or Path(path).is_absolute()
    return begins or (bool(path) and file_exists(base / path))


def _relative(path: str, folder: PurePath, whole: PurePath) -> str:
    """Return a path inside `whole` relative to a folder, written as on POSIX, which every system reads; any other as it is."""
    if not (Path(path).is_absolute() and Path(path).is_relative_to(whole)):
        return path
    return Path(os.path.relpath(path, folder)).as_posix()
