"""Recipes from files and command lines: YAML first, overrides second; old names are read for one version (`renames`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from videogpa.config.base import Config
from videogpa.config.settings import Recipe, ScoreConfig, WorkersConfig
from videogpa.errors import UserError
from videogpa.registry import CRITICS, load
from videogpa.renames import upgrade_recipe, upgrade_score_settings, upgrade_setting

C = TypeVar("C", bound=Config)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, with overrides laid over it.

    Args:
        path: A YAML file.
        overrides: Settings such as `train.steps=20`, their values in YAML.

    Raises:
        UserError: If the file is missing, is no mapping, or holds an unknown key or an impossible value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no recipe at {path}; `videogpa list recipes` shows those that come with the package") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a recipe: expected sections such as `model:` and `train:`")
    content.pop("provenance", None)  # of the run that wrote the file; this run writes its own
    content = upgrade_recipe(content, str(path))
    _override(content, overrides)
    return _validated(Recipe, upgrade_recipe(content, "--set"), str(path))


def score_config(**settings: Any) -> ScoreConfig:
    """Make the settings of scoring from those of a command or call.

    Raises:
        UserError: If one of them is impossible.
    """
    return _validated(ScoreConfig, upgrade_score_settings(settings, "the call"), "what was asked for")


def paper_protocol(critic: str) -> dict[str, Any]:
    """Return the settings of scoring with which the paper scored: 10 frames, LPIPS of VGG, and the critic's own options.

    Raises:
        UserError: If there is no such critic, or the paper did not use it.
    """
    options = getattr(load(CRITICS, score_config(critic=critic).critic), "PAPER", None)
    if options is None:
        raise UserError(
            f"the paper did not score with {critic!r}; see docs/how-to/choose-a-critic.md for the critics that it used"
        )
    return {"critic": critic, "frames": 10, "lpips_net": "vgg", "options": dict(options)}


def parse_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """Return settings such as `crop=centre` (values in YAML) as a mapping.

    Raises:
        UserError: If one is not of that form.
    """
    content: dict[str, Any] = {}
    for override in overrides:
        _set(content, *_split(override), override)
    return content


def workers_config(count: int, ray: str | None) -> WorkersConfig:
    """Make the settings of workers from a command line.

    Raises:
        UserError: If one of them is impossible.
    """
    return _validated(WorkersConfig, {"count": count, "ray": ray}, "the command line")


def _validated(kind: type[C], content: dict[str, Any], origin: str) -> C:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = [".".join(map(str, e["loc"])) + ": " + e["msg"].removeprefix("Value error, ") for e in error.errors()]
        listed = "\n".join(f"  {problem.removeprefix(': ')}" for problem in problems)
        raise UserError(f"{origin} cannot be used:\n{listed}") from None


def _override(content: dict[str, Any], overrides: Sequence[str]) -> None:
    """Lay overrides over a recipe; one given by its old and its new name is refused."""
    given: dict[str, str] = {}
    for override in overrides:
        name, value = _split(override)
        new = upgrade_setting(name)
        if given.setdefault(new, name) != name:
            raise UserError(f"--set gives both {given[new]} and {name}, which are the old and the new name of one setting")
        _set(content, new, value, override)


def _split(override: str) -> tuple[str, Any]:
    name, equals, value = override.partition("=")
    if not equals or not name:
        raise UserError(f"{override!r}: expected NAME=VALUE, such as train.steps=20")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"{override!r}: the value is not YAML: {error}") from None


def _set(content: dict[str, Any], name: str, value: Any, override: str) -> None:
    *sections, leaf = name.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise UserError(f"{override!r}: {section!r} is a value, not a section")
    content[leaf] = value
