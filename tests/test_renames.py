"""Names of version 0.1 are still read: in recipes, overrides, rows and commands."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from videogpa import renames
from videogpa.bundled import recipes_folder
from videogpa.config import load_recipe, score_config
from videogpa.errors import UserError
from videogpa.pipeline import open_run
from videogpa.records import Score
from videogpa.renames import RENAMES, Rename, upgrade_columns, upgrade_flags, upgrade_recipe, upgrade_recipe_name
from videogpa.storage.fingerprints import fingerprint
from videogpa.storage.manifests import Manifest

SMOKE = recipes_folder() / "smoke-test.yaml"
KEYS = [rename for rename in RENAMES if rename.kind == "key" and rename.file != "command"]


@pytest.fixture(autouse=True)
def _every_test_is_warned_anew() -> None:
    renames._warn_once.cache_clear()


def nested(path: list[str], leaf: Any) -> Any:
    for name in reversed(path):
        leaf = {name if name != "*" else "any": leaf}
    return leaf


def upgraded(rename: Rename, leaf: Any, path: list[str]) -> Any:
    """What becomes of a file that holds `leaf` where the rename looks."""
    if rename.file == "options":
        critic, *rest = ["oracle" if name == "*" else name for name in path]
        content = {"score": {"critic": critic, "options": nested(rest, leaf)}}
        return upgrade_recipe(content, "x")["score"]["options"], nested(rest, leaf)
    content = nested(path, leaf)
    change = upgrade_recipe if rename.file == "recipe" else lambda c, o: upgrade_columns(rename.file, c, o)
    return change(content, "x"), content


@pytest.mark.parametrize("rename", RENAMES, ids=lambda rename: f"{rename.file} {rename.where} {rename.old}")
def test_every_old_name_is_read_as_the_new_one(rename: Rename, caplog: pytest.LogCaptureFixture) -> None:
    path = rename.where.split(".") if rename.where else []
    with caplog.at_level(logging.WARNING):
        if rename.where == "flag":
            assert upgrade_flags([f"{rename.old}=vgg", rename.old, "vgg"]) == [f"{rename.new}=vgg", rename.new, "vgg"]
        elif rename.file == "command":
            assert upgrade_recipe_name(rename.old) == rename.new
        elif rename.kind == "key":
            found, _ = upgraded(rename, {rename.old: 1}, path)
            assert found == upgraded(rename, {rename.new: 1}, path)[1]
        else:
            rest = "x" if rename.kind == "prefix" else ""
            found, _ = upgraded(rename, rename.old + rest, path)
            assert found == upgraded(rename, rename.new + rest, path)[1]
    assert rename.old in caplog.text
    assert rename.new in caplog.text


@pytest.mark.parametrize("rename", KEYS, ids=lambda rename: f"{rename.file} {rename.where} {rename.old}")
def test_an_old_and_a_new_name_together_are_refused(rename: Rename) -> None:
    with pytest.raises(UserError, match=f"both `{rename.old}` and `{rename.new}`"):
        upgraded(rename, {rename.old: 1, rename.new: 2}, rename.where.split(".") if rename.where else [])


def test_a_recipe_of_the_old_version_means_the_same_and_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = yaml.safe_load(SMOKE.read_text())
    content["train"]["batch"] = content["train"].pop("batch_size")
    content["generate"]["guidance"] = content["generate"].pop("guidance_scale")
    old = tmp_path / "old.yaml"
    old.write_text(yaml.safe_dump(content))
    with caplog.at_level(logging.WARNING):
        assert load_recipe(old) == load_recipe(old) == load_recipe(SMOKE)
    [line] = caplog.messages
    assert "train.batch → train.batch_size" in line
    assert "generate.guidance → generate.guidance_scale" in line


def test_an_override_by_its_old_name_wins_over_the_recipe_and_not_over_its_new_name() -> None:
    assert load_recipe(SMOKE, ["train.batch=3", "pair.measure=consistency"]).train.batch_size == 3
    assert load_recipe(SMOKE, ["pair.measure=consistency"]).pair.measure == "error_3dcs"
    with pytest.raises(UserError, match=r"both train\.batch and train\.batch_size"):
        load_recipe(SMOKE, ["train.batch=3", "train.batch_size=4"])


def test_options_of_the_critics_in_mixed_are_read_too() -> None:
    options = {"depth": "oracle", "depth_options": {"wrong": 0.1}, "drop": 0.2}
    found = score_config(critic="mixed", options=options).options
    assert found == {"depth": "oracle", "depth_options": {"outlier_fraction": 0.1}, "drop_fraction": 0.2}


def test_rows_with_old_columns_are_read_and_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    row = {"fingerprint": "f", "clip": "a/0", "critic": "sfm", "status": "ok"}
    path.write_text(json.dumps({**row, "loo_score": 0.1, "consistency": 0.5, "perceptual": "alex"}) + "\n")
    rows = Manifest(path, Score, "critic clip")
    expected = Score(**row, loo_error=0.1, error_3dcs=0.5, lpips_net="alex")
    assert rows.rows() == [expected]
    rows.drop_stale({"sfm a/0": "f"})
    assert Score.model_validate_json(path.read_text()) == expected


def test_the_old_name_of_a_recipe_still_opens_it() -> None:
    assert open_run("mini", (), None)[0].name == "smoke-test"


def test_a_renamed_setting_keeps_the_fingerprint_of_what_was_made() -> None:
    assert fingerprint({"num_inference_steps": 2, "guidance_scale": 6.0}) == fingerprint({"steps": 2, "guidance": 6.0})
    assert fingerprint([{"lora_rank": 4}]) == fingerprint([{"rank": 4}]) != fingerprint([{"rank": 5}])
