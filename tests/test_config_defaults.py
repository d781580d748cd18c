"""Defaults follow our own advice, and no shipped recipe depends on one that changed."""

import logging
from pathlib import Path

import pytest
import yaml

from videogpa.bundled import recipes_folder
from videogpa.config import Recipe, load_recipe
from videogpa.errors import UserError
from videogpa.pipeline import run
from videogpa.storage.run_folder import RunFolder

PAPER = (0.05, "dpo", ("vggt",))
OURS = (0.02, "dpo+sft", ("sfm", "da3"))
RECIPES = {
    **dict.fromkeys(
        ("cogvideox-2b", "cogvideox-5b-i2v", "cogvideox-5b-t2v", "cogvideox1.5-5b", "wan2.1-1.3b", "wan2.2-ti2v-5b"), OURS
    ),
    **{f"paper-{name}": PAPER for name in ("cogvideox-5b-i2v", "cogvideox-5b-t2v", "cogvideox1.5-5b", "wan2.2-ti2v-5b")},
    "demo": (0.0, "dpo+sft", ("oracle",)),
    "epipolar-dpo": (0.0, "dpo", ("sfm", "da3")),
    "smoke-test": (0.0, "dpo", ("oracle",)),
}
"""Gap, loss and critics of `evaluate` with which every recipe ran under the defaults of version 0.1."""


def recipe(**sections: object) -> Recipe:
    return Recipe.model_validate(
        {"name": "x", "prompts": {"file": "p.jsonl"}, "model": {"name": "wan-t2v", "path": "x"}, **sections}
    )


@pytest.mark.parametrize("path", sorted(recipes_folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_means_what_it_meant_under_the_old_defaults(path: Path) -> None:
    now = load_recipe(path)
    assert (now.pair.min_gap, now.train.loss, now.evaluate.critics) == RECIPES[path.stem]
    content = yaml.safe_load(path.read_text())
    assert "min_gap" in content["pair"]
    assert "loss" in content["train"]
    assert "critics" in content["evaluate"]


@pytest.mark.parametrize(("measure", "gap"), [("loo_error", 0.02), ("error_3dcs", 0.05), ("epipolar", 0.0), ("psnr", 0.0)])
def test_the_default_gap_fits_the_measure(measure: str, gap: float) -> None:
    assert recipe(pair={"measure": measure}).pair.min_gap == gap
    assert recipe(pair={"measure": measure, "min_gap": 0.3}).pair.min_gap == 0.3


@pytest.mark.parametrize(("critic", "judge"), [("sfm", "da3"), ("da3", "sfm"), ("vggt", "sfm"), ("oracle", "sfm")])
def test_the_default_critic_of_evaluate_did_not_choose_the_pairs(critic: str, judge: str) -> None:
    assert recipe(score={"critic": critic}).evaluate.critics == (judge,)
    assert recipe(score={"critic": critic}, evaluate={"seeds": 3}).evaluate.critics == (judge,)
    assert recipe(score={"critic": critic}, evaluate={"critics": [critic]}).evaluate.critics == (critic,)


def test_options_of_a_critic_that_does_not_evaluate_are_refused_under_the_default_too() -> None:
    with pytest.raises(ValueError, match="which is not among the critics"):
        recipe(evaluate={"options": {"oracle": {}}})


def test_the_default_loss_holds_the_winner() -> None:
    assert recipe().train.loss == "dpo+sft"


def test_an_unknown_measure_is_named_and_its_gap_does_not_hide_it(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: x\npair: {measure: nonsense}\n")
    with pytest.raises(UserError, match=r"pair\.measure: unknown name 'nonsense'"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, ["evaluate fetches the weights of critic da3 (depth-anything/DA3-BASE, 0.54 GB) on first use"]),
        ({"evaluate": {"critics": ["sfm"]}}, ["critic sfm of evaluate also chose the training pairs"]),
        ({"score": {"critic": "oracle"}}, []),
    ],
)
def test_a_run_says_before_it_starts_what_its_evaluation_fetches_and_is_worth(
    sections: dict[str, object],
    said: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    planned = recipe(**sections, prompts={"file": str(tmp_path / "nowhere.jsonl")})
    with caplog.at_level(logging.INFO), pytest.raises(UserError, match="no prompts at"):  # the first stage already fails
        run(planned, RunFolder(tmp_path / "run"))
    assert [message.partition("; ")[0].partition(": ")[0] for message in caplog.messages] == said
