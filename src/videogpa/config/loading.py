"""Recipes from files and command lines: YAML first, overrides second; old names are read for one version (`renames`)."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from videogpa.bundled import recipes_folder
from videogpa.config.base import Config
from videogpa.config.judging import JudgeConfig, checked
from videogpa.config.machines import CLUSTER, WorkersConfig
from videogpa.config.paths import SOURCES, with_absolute_paths, with_own_prompts
from videogpa.config.settings import EvaluateConfig, Recipe, ScoreConfig
from videogpa.config.values import check_values
from videogpa.config.yaml_text import read_yaml
from videogpa.defaults import Settings
from videogpa.errors import InvalidInput, MissingInput, problems
from videogpa.registry import CRITICS, load
from videogpa.renames import upgrade_recipe, upgrade_recipe_name, upgrade_score_settings, upgrade_setting
from videogpa.text_files import file_exists, printable, read_text, shown

C = TypeVar("C", bound=Config)

_log = logging.getLogger(__name__)

LARGEST_RECIPE = 1 << 20
"""Most bytes of a recipe, and most characters of a setting; those that ship have 3,000 at most."""

_SHOWN = 80  # characters of a setting in a message


def load_recipe(recipe: str | Path, settings: Settings = ()) -> Recipe:
    """Read a recipe.

    Args:
        recipe: A YAML file, or the name of a recipe that comes with the package (`videogpa list recipes`).
        settings: Settings to override: `{"train.steps": 20}`, or `["train.steps=20"]` with values in YAML.

    Returns:
        The recipe, validated, with the defaults of what it does not name.

    Raises:
        MissingInput: If there is no such recipe.
        InvalidInput: If it is not YAML, or holds an unknown key or an impossible value.

    Examples:
        >>> videogpa.load_recipe("smoke-test", {"train.steps": 20}).train.steps
        20
    """
    path = _recipe_file(recipe)
    base = Path() if path.parent == recipes_folder() else path.parent  # a recipe that ships is no place for a user's files
    return _validated(Recipe, _overridden(_read(path, base), settings), str(path))


def load_run_recipe(folder: Path, settings: Settings = ()) -> Recipe:
    """Read the recipe.yaml of a run folder.

    The run's prompts are its own copies, whatever file or folder the recipe names: only one that `settings` name is read
    outside the run folder. A run folder that was moved, or comes from somebody else, is so continued from what is in it.

    Args:
        folder: The run folder.
        settings: Settings to override, as for `load_recipe`.

    Raises:
        MissingInput: If the folder has no recipe.yaml.
        InvalidInput: If it cannot be used.
    """
    path = folder / "recipe.yaml"
    if not file_exists(path):
        raise MissingInput(f"{shown(folder)} is no run folder: it has no recipe.yaml")
    given = parse_settings(settings)
    content = with_own_prompts(_read(path, folder), folder)
    if any(given.get(f"prompts.{source}") is not None for source in SOURCES):
        content["prompts"] = {name: value for name, value in content["prompts"].items() if name not in SOURCES}
    _drop_cluster(content, path)
    return _validated(Recipe, _overridden(content, given), str(path))


def _drop_cluster(content: dict[str, Any], path: Path) -> None:
    """Leave out the cluster that the recipe.yaml of a run of version 0.1 names, and say so."""
    workers = content.get("workers")
    if isinstance(workers, dict) and (cluster := workers.pop("ray", None)) is not None:
        _log.warning("%s names the Ray cluster %r, which is not used: name it on the command line, with --ray", path, cluster)


def _read(path: Path, base: Path) -> dict[str, Any]:
    return with_absolute_paths(upgrade_recipe(read_recipe(path), str(path)), base)


def _overridden(content: dict[str, Any], settings: Settings) -> dict[str, Any]:
    _override(content, settings)
    _refuse_cluster(content)
    return upgrade_recipe(content, "--set")


def _refuse_cluster(content: Mapping[str, Any]) -> None:
    """Refuse a cluster in a recipe or among settings; `ray: null` of version 0.1 names none."""
    workers = content.get("workers")
    if isinstance(workers, dict) and workers.get("ray") is not None:
        raise InvalidInput(
            f"workers.ray: {printable(str(workers['ray']))[:_SHOWN]!r} is no setting of a recipe, which must not choose the "
            "machines that do the work: leave it out, and name the cluster on the command line with --ray ADDRESS"
        )


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the sections of a recipe as they stand in a file, without the provenance of the run that wrote it.

    Raises:
        MissingInput: If there is no such file.
        InvalidInput: If it is no text, no YAML, or no mapping.
    """
    if not file_exists(path):
        raise MissingInput(f"no recipe at {shown(path)}; `videogpa list recipes` shows those that come with the package")
    content = read_yaml(read_text(path, expected="a recipe", budget=LARGEST_RECIPE), str(path))
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} is not a recipe: expected sections such as `model:` and `train:`")
    check_values(content, str(path))
    content.pop("provenance", None)
    return content


def _recipe_file(recipe: str | Path) -> Path:
    """Return the file of a recipe: the one at this path, else the one of this name that ships."""
    path = Path(recipe)
    if file_exists(path) or path.name != str(recipe):
        return path
    shipped = recipes_folder() / f"{upgrade_recipe_name(str(recipe))}.yaml"
    return shipped if file_exists(shipped) else path


def with_settings(recipe: Recipe, settings: Settings) -> Recipe:
    """Return the recipe with some settings overridden; see `load_recipe`.

    Raises:
        InvalidInput: If there is no such setting, or its value is impossible.
    """
    made = _validated(Recipe, _overridden(recipe.model_dump(mode="json"), settings), f"recipe {recipe.name}")
    return with_cluster(made, recipe.workers.ray)


def with_cluster(recipe: Recipe, ray: str | None) -> Recipe:
    """Return the recipe with the Ray cluster that a command line names, or as it is for None.

    Raises:
        InvalidInput: If it is no address.
    """
    if ray is None:
        return recipe
    workers = workers_config(recipe.workers.count, ray, recipe.workers.gpus)
    return recipe.model_copy(update={"workers": workers})


def score_config(**settings: Any) -> ScoreConfig:
    """Make the settings of scoring from those of a command or call.

    Raises:
        InvalidInput: If one of them is impossible.
    """
    return _validated(ScoreConfig, upgrade_score_settings(settings, "the call"), "what was asked for")


def paper_protocol(critic: str) -> dict[str, Any]:
    """Return the settings of scoring with which the paper scored: 10 frames, LPIPS of VGG, and the critic's own options.

    Raises:
        InvalidInput: If there is no such critic, or the paper did not use it.
    """
    options = getattr(load(CRITICS, score_config(critic=critic).critic), "PAPER", None)
    if options is None:
        raise InvalidInput(
            f"the paper did not score with {critic!r}; see docs/how-to/choose-a-critic.md for the critics that it used"
        )
    return {"critic": critic, "frames": 10, "lpips_net": "vgg", "options": dict(options), "overlays": "keep", "cuts": "keep"}


def judge_configs(judges: Settings) -> tuple[JudgeConfig, ...]:
    """Return the judges that a command or a call names.

    Args:
        judges: `["dino=FOLDER", "dino.device=cpu"]`, or `{"dino": "FOLDER"}` or `{"dino": {"weights": "FOLDER"}}`.

    Raises:
        InvalidInput: If there is no such judge, no weights are named, or an option is impossible.
    """
    given: dict[str, Any]
    if isinstance(judges, Mapping):
        given = dict(judges)
    else:
        given = {flag: None for flag in judges if "=" not in flag}
        for name, value in parse_settings([flag for flag in judges if "=" in flag]).items():
            judge, _, option = name.partition(".")
            given[judge] = {**(given.get(judge) or {}), option or "weights": value}
    try:
        return checked(EvaluateConfig.model_validate({"judges": given}).judges)
    except ValidationError as error:
        raise InvalidInput(f"--judge: {'; '.join(problems(error))}") from None


def parse_settings(settings: Settings) -> dict[str, Any]:
    """Return settings such as `["crop=centre"]` (values in YAML) or `{"crop": "centre"}` as name -> value.

    Raises:
        InvalidInput: If one is not of that form.
    """
    given = dict(settings) if isinstance(settings, Mapping) else dict(_split(setting) for setting in settings)
    check_values(given, "settings")
    return given


def workers_config(count: int, ray: str | None, gpus: float | None = None) -> WorkersConfig:
    """Make the settings of workers from a command line.

    Raises:
        InvalidInput: If one of them is impossible.
    """
    if ray is not None and not re.fullmatch(CLUSTER, ray):
        raise InvalidInput(
            f"--ray {printable(ray)[:_SHOWN]!r} is no address of a Ray cluster: give HOST:PORT, or auto to find a running one; "
            "leave --ray out for workers on this machine"
        )
    return _validated(WorkersConfig, {"count": count, "ray": ray, "gpus": gpus}, "the command line")


def _validated(kind: type[C], content: dict[str, Any], origin: str) -> C:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        listed = "\n".join(f"  {problem}" for problem in problems(error))
        raise InvalidInput(f"{origin} cannot be used:\n{listed}") from None


def _override(content: dict[str, Any], settings: Settings) -> None:
    """Lay settings over the content of a recipe, in place; one given by its old and its new name is refused."""
    given: dict[str, str] = {}
    for name, value in parse_settings(settings).items():
        new = upgrade_setting(name)
        if given.setdefault(new, name) != name:
            raise InvalidInput(f"--set gives both {given[new]} and {name}, which are the old and the new name of one setting")
        alone: dict[str, Any] = {}
        _set(alone, new, value)
        _set(content, new, _get(with_absolute_paths(alone, Path()), new))


def _split(override: str) -> tuple[str, Any]:
    name, equals, value = override.partition("=")
    said = printable(override if len(override) <= _SHOWN else f"{override[:_SHOWN]}...")
    if not equals or not name:
        raise InvalidInput(f"{said!r}: expected NAME=VALUE, such as train.steps=20")
    if len(value) > LARGEST_RECIPE:
        raise InvalidInput(f"{said!r}: a value of {len(value):,} characters, where {LARGEST_RECIPE:,} are read")
    return name, read_yaml(value, f"--set {said}")


def _get(content: Any, name: str) -> Any:
    for section in name.split("."):
        content = content[section]
    return content


def _set(content: dict[str, Any], name: str, value: Any) -> None:
    *sections, leaf = name.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise InvalidInput(f"{name}: {section!r} is a value, not a section")
    content[leaf] = value
