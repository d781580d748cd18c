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
        *("cogvideox-2b", "cogvideox-5b-i2v", "cogvideox-5b-t2v", "cogvideox1.5-5b", "wan2.1-1.3b", "wan2.2-ti2v-5b"),
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


def _written(folder: Path, content: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    return folder / "my.yaml"


def test_paths_in_a_recipe_are_relative_to_it_and_those_of_settings_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = load_recipe(MINI).model_dump(mode="json", exclude_none=True)
    content["prompts"] = {"file": "words/p.jsonl"}
    content["generate"]["adapter"] = "../other/adapter"
    content["score"] = {"critic": "vggt", "options": {"weights": "weights"}}
    content["evaluate"] = {
        "critics": ["da3", "vggt"],
        "options": {"da3": {"weights": "owner/name"}, "vggt": {"weights": "~/w"}},
    }
    content["model"]["path"] = "model"
    recipe = _written(tmp_path / "recipes", content)
    (tmp_path / "recipes/weights").mkdir()
    (tmp_path / "recipes/model").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = load_recipe(recipe)
    assert found.prompts.file == tmp_path / "recipes/words/p.jsonl"
    assert str(found.generate.adapter) == str(tmp_path / "recipes/../other/adapter")
    assert (found.score.options["weights"], found.model.path) == (
        str(tmp_path / "recipes/weights"),
        str(tmp_path / "recipes/model"),
    )
    assert found.evaluate.options == {"da3": {"weights": "owner/name"}, "vggt": {"weights": str(tmp_path / "home/w")}}
    settings = ["prompts.file=p.csv", "model.path=./m", "score.options={weights: ~/v}", "generate.adapter=~/a"]
    found = load_recipe(recipe, settings)
    assert (found.prompts.file, found.model.path) == (tmp_path / "work/p.csv", str(tmp_path / "work/m"))
    assert (found.score.options["weights"], found.generate.adapter) == (str(tmp_path / "home/v"), tmp_path / "home/a")
    assert (
        load_recipe("epipolar-dpo").prompts.file == tmp_path / "work/prompts.jsonl"
    )  # a recipe that ships is no place for files


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("generate.fps=!!int 8", "a tag"),
        ("generate.fps=&a [*a]", "an alias"),
        ("model={name: wan-t2v, name: wan-i2v}", "the key 'name' is given twice"),
        ("train.seed=0123", "base 8 or 60"),
        ("train.seed=" + "9" * 30, "64 bits"),
        ("train.seed=9223372036854775807", "train.seed: Input should be less than or equal to 1000000000000000000"),
        ("generate.fps=1001", "generate.fps: Input should be less than or equal to 1000"),
        ("prompts.world.train=1000000000", "prompts.world.train: Input should be less than or equal to 100000"),
        ("prompts.world={frames: 99, height: 9999, width: 9999}", "pixels, and 268,435,456 is the most"),
        ("model.device=meta", "model.device: String should match pattern"),
        ('prompts.file="a\\0b"', "holds the character U+0000"),
        ("score.options.depth_noise=.nan", "depth_noise: Input should be a finite number"),
    ],
)
def test_yaml_that_is_not_read_and_values_out_of_bounds_are_refused_by_name(override: str, complaint: str) -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(MINI, [override])
    assert complaint in str(refused.value)


def test_a_date_is_a_text_and_the_number_of_a_text_is_read() -> None:
    assert load_recipe(MINI, ["name=2024-13-45", "train.learning_rate=1e-4"]).name == "2024-13-45"
    assert load_recipe(MINI, ["train.learning_rate=1e-4"]).train.learning_rate == 1e-4
