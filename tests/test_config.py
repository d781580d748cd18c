from pathlib import Path

import pytest
import yaml

from videogpa.bundled import recipes_folder
from videogpa.config import load_recipe
from videogpa.errors import UserError
from videogpa.pipeline import open_run

MINI = recipes_folder() / "smoke-test.yaml"
SHIPPED = sorted(
    [
        *("smoke-test", "demo", "epipolar-dpo"),
        *("cogvideox-5b-i2v", "cogvideox-5b-t2v", "cogvideox1.5-5b", "wan2.1-1.3b", "wan2.2-ti2v-5b"),
        *("paper-cogvideox-5b-i2v", "paper-cogvideox-5b-t2v", "paper-cogvideox1.5-5b", "paper-wan2.2-ti2v-5b"),
    ]
)


def test_every_shipped_recipe_loads_and_opens_with_its_command() -> None:
    recipes = sorted(recipes_folder().glob("*.yaml"))
    assert [path.stem for path in recipes] == SHIPPED
    for path in recipes:
        assert load_recipe(path).name == path.stem
        assert f"videogpa run {path.stem}" in path.read_text().splitlines()[0]


def test_an_override_is_laid_over_the_recipe() -> None:
    recipe = load_recipe(MINI, ["train.steps=21", "evaluate.critics=[oracle, sfm]", "model.dtype=bfloat16"])
    assert (recipe.train.steps, recipe.evaluate.critics, recipe.model.dtype) == (21, ("oracle", "sfm"), "bfloat16")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("train.stepps=20", "train.stepps: Extra inputs are not permitted"),
        ("trane.steps=20", "trane: Extra inputs are not permitted"),
        ("train.steps=0", "train.steps: Input should be greater than or equal to 1"),
        ("train.steps=many", "train.steps: Input should be a valid integer"),
        ("train.learning_rate=.nan", "train.learning_rate: Input should be a finite number"),
        (
            "score.options={crop: centre}",
            "score: options of oracle (it takes: depth_noise, camera_noise, outlier_fraction, random_similarity): crop: Extra",
        ),
        ("evaluate.options={sfm: {}}", "evaluate: options of 'sfm', which is not among the critics"),
        ("score.critic=vgtt", "unknown name 'vgtt'; one of: da3, mixed, oracle, sfm, vggt"),
        ("pair.measure=motion", "no better direction"),
        ("pair.keep_motion=1.1", "less than or equal to 1"),
        ("prompts.file=x.jsonl", "give one of `file`, `images` and `world`"),
        ("prompts.held_out=2", "`world` writes its own texts"),
        ("prompts.camera={moves: [3, 2]}", "expected [fewest, most]"),
        ("prompts.camera={moves: [2, 5]}", "less than or equal to 4"),
        ("name=../up", "name: String should match pattern"),
        ("train.steps", "expected NAME=VALUE"),
        ("name.x=1", "is a value, not a section"),
        ("train.steps=[", "not YAML"),
    ],
)
def test_impossible_settings_are_refused_by_name(override: str, complaint: str) -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(MINI, [override])
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("content", "complaint"), [("- 1", "not a recipe"), ("a: [", "not YAML"), ("name: x", "prompts: Field")]
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=complaint):
        load_recipe(path)


def test_a_recipe_written_and_read_again_is_the_same(tmp_path: Path) -> None:
    recipe = load_recipe(MINI)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**recipe.model_dump(mode="json"), "provenance": {"commit": "x"}}))
    assert open_run(str(tmp_path), (), None)[0] == recipe


def test_a_target_is_a_folder_a_file_or_a_name(tmp_path: Path) -> None:
    assert open_run("smoke-test", (), None)[1].path == Path("runs/smoke-test")
    assert open_run(str(MINI), (), tmp_path)[1].path == tmp_path
    with pytest.raises(UserError, match="no recipe at nowhere"):
        open_run("nowhere", (), None)
    with pytest.raises(UserError, match="no run folder"):
        open_run(str(tmp_path), (), None)
