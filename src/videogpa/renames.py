"""Names of version 0.1 that files and commands may still use: one table, read for this version alone, with a warning.

Settings and columns were renamed in 0.2 to the field's names. Recipes, `--set`, the recipe.yaml of a run folder, rows of
manifests and evaluation.json are read with either name; what is written has the new ones. This file goes in 0.3, but for
`HASHED_AS`, on which every fingerprint depends.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from videogpa.errors import InvalidInput

_log = logging.getLogger(__name__)

File = Literal["recipe", "options", "scores.jsonl", "evaluation.json", "command"]


@dataclass(frozen=True)
class Rename:
    """An old name and its new one.

    `file` is where the name stands; `where` the dotted path in it, with `*` for any key. Of a key it is the path of the mapping
    that holds the key; of a value, or of the beginning of a value (`prefix`), that of the value. In `options`, it begins with
    the critic's name.
    """

    file: File
    where: str
    old: str
    new: str
    kind: Literal["key", "value", "prefix"] = "key"

    @property
    def shown(self) -> str:
        """The rename in words, as the warning has it."""
        place = f"{self.where}." if self.file == "recipe" and self.kind == "key" else ""
        return f"{place}{self.old} → {place}{self.new}"


def _keys(file: File, where: str, **names: str) -> tuple[Rename, ...]:
    return tuple(Rename(file, where, old, new) for old, new in names.items())


_MEASURES = {"loo_score": "loo_error", "consistency": "error_3dcs"}

RENAMES: tuple[Rename, ...] = (
    *_keys("recipe", "generate", steps="num_inference_steps", guidance="guidance_scale"),
    *_keys("recipe", "score", perceptual="lpips_net"),
    *_keys("recipe", "train", batch="batch_size", accumulate="gradient_accumulation_steps", clip_norm="max_grad_norm"),
    *_keys("recipe", "train", warmup="warmup_steps", schedule="lr_scheduler", rank="lora_rank", alpha="lora_alpha"),
    *_keys("recipe", "train", together="joint_forward", checkpoint_gradients="gradient_checkpointing"),
    *_keys("recipe", "train.timesteps", mean="logit_mean", std="logit_std"),
    *(Rename("recipe", "pair.measure", old, new, "value") for old, new in _MEASURES.items()),
    Rename("recipe", "model.path", "mini:", "tiny:", "prefix"),
    *_keys("options", "oracle", wrong="outlier_fraction", own_world="random_similarity"),
    *_keys("options", "mixed", drop="drop_fraction"),
    Rename("options", "*.weights", "mini:", "tiny:", "prefix"),
    *_keys("scores.jsonl", "", **_MEASURES, perceptual="lpips_net"),
    *_keys("evaluation.json", "critics.*", taught="chose_pairs"),
    *_keys("evaluation.json", "critics.*.outcome", taught="chose_pairs"),
    *_keys("evaluation.json", "critics.*.changes", **_MEASURES),
    *(Rename("evaluation.json", "critics.*.outcome.measure", old, new, "value") for old, new in _MEASURES.items()),
    Rename("evaluation.json", "critics.*.outcome.verdict", "bought with motion", "explained by less motion", "value"),
    Rename("command", "flag", "--perceptual", "--lpips-net"),
    Rename("command", "recipe", "mini", "smoke-test", "value"),
)
"""Every renamed setting, option, column, flag and recipe."""

HASHED_AS = {r.new: r.old for r in RENAMES if r.file in ("recipe", "options") and r.kind == "key"}
"""New name -> the name under which fingerprints hash a setting: a run folder of 0.1 is continued, not made again."""


def upgrade_recipe(content: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return a recipe with the new names.

    Args:
        content: What the recipe's YAML holds.
        origin: Where it comes from, for messages: a path, or `--set`.

    Raises:
        InvalidInput: If a setting is given by its old and its new name.
    """
    used: list[Rename] = []
    upgraded = _apply("recipe", content, origin, used)
    score, evaluate = (_section(upgraded, name) for name in ("score", "evaluate"))
    if isinstance(score.get("options"), dict):
        options = _options(str(score.get("critic", "sfm")), score["options"], origin, used)
        upgraded["score"] = {**score, "options": options}
    if isinstance(evaluate.get("options"), dict):
        by_critic = {critic: _options(critic, options, origin, used) for critic, options in evaluate["options"].items()}
        upgraded["evaluate"] = {**evaluate, "options": by_critic}
    _warn(origin, used)
    return upgraded


def upgrade_score_settings(settings: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return the settings of scoring with the new names, options of the critic included."""
    score: dict[str, Any] = upgrade_recipe({"score": dict(settings)}, origin)["score"]
    return score


def upgrade_setting(name: str) -> str:
    """Return the new name of a setting such as `train.batch`; a name that was not changed is returned as it is."""
    for rename in RENAMES:
        if (rename.file, rename.kind) == ("recipe", "key") and name == f"{rename.where}.{rename.old}":
            _warn("--set", [rename])
            return f"{rename.where}.{rename.new}"
    return name


def upgrade_columns(file: str, content: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return what a file of a run folder holds with the new names.

    Args:
        file: Name of the file, such as `scores.jsonl`.
        content: One of its rows, or all of evaluation.json.
        origin: Its path, for messages.

    Raises:
        InvalidInput: If a column stands under its old and its new name.
    """
    used: list[Rename] = []
    upgraded = _apply(file, content, origin, used)
    _warn(origin, used)
    return upgraded


def upgrade_flags(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with the new names of flags."""
    upgraded = list(arguments)
    for rename in (r for r in RENAMES if (r.file, r.where) == ("command", "flag")):
        for i, argument in enumerate(arguments):
            flag, equals, value = argument.partition("=")
            if flag == rename.old:
                upgraded[i] = f"{rename.new}{equals}{value}"
                _warn("the command line", [rename])
    return upgraded


def upgrade_recipe_name(name: str) -> str:
    """Return the new name of a recipe that comes with the package."""
    for rename in (r for r in RENAMES if (r.file, r.where) == ("command", "recipe")):
        if name == rename.old:
            _warn("the command line", [rename])
            return rename.new
    return name


def _section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = content.get(name)
    return section if isinstance(section, dict) else {}


def _options(critic: str, options: Any, origin: str, used: list[Rename]) -> Any:
    """The options of a critic, and of the two critics of `mixed`."""
    if not isinstance(options, dict):
        return options
    upgraded: dict[str, Any] = _apply("options", {critic: options}, origin, used)[critic]
    if critic == "mixed":
        for part in ("depth", "cameras"):
            if isinstance(upgraded.get(f"{part}_options"), dict):
                inner = _options(str(upgraded.get(part, "oracle")), upgraded[f"{part}_options"], origin, used)
                upgraded[f"{part}_options"] = inner
    return upgraded


def _apply(file: str, content: Mapping[Any, Any], origin: str, used: list[Rename]) -> dict[Any, Any]:
    upgraded: Any = content
    for rename in (r for r in RENAMES if r.file == file):
        upgraded = _renamed(upgraded, rename.where.split(".") if rename.where else [], rename, origin, used)
    return dict(upgraded)


def _renamed(node: Any, path: Sequence[str], rename: Rename, origin: str, used: list[Rename]) -> Any:
    if path:
        if not isinstance(node, dict):
            return node
        here, rest = path[0], path[1:]
        return {k: _renamed(v, rest, rename, origin, used) if here in ("*", k) else v for k, v in node.items()}
    if rename.kind == "key":
        return _renamed_key(node, rename, origin, used)
    if not isinstance(node, str) or not (node.startswith(rename.old) if rename.kind == "prefix" else node == rename.old):
        return node
    used.append(rename)
    return rename.new + node.removeprefix(rename.old)


def _renamed_key(node: Any, rename: Rename, origin: str, used: list[Rename]) -> Any:
    if not isinstance(node, dict) or rename.old not in node:
        return node
    if rename.new in node:
        raise InvalidInput(f"{origin} gives both `{rename.old}` and `{rename.new}`, its new name: remove the old one")
    used.append(rename)
    return {rename.new if key == rename.old else key: value for key, value in node.items()}


def _warn(origin: str, used: Sequence[Rename]) -> None:
    if used:
        _warn_once(origin, ", ".join(dict.fromkeys(rename.shown for rename in used)))


@cache
def _warn_once(origin: str, renames: str) -> None:
    """Warn once per process: manifests are read several times in a run."""
    _log.warning("%s uses old names, which the next version will refuse: %s", origin, renames)
