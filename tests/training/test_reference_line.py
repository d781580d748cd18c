"""The report's dotted line under the loss: the loss of a policy that equals its reference, for each loss."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from toys import encoded_run, toy_recipe
from videogpa.config import Recipe, TrainConfig
from videogpa.models.loading import load_model
from videogpa.stages import train
from videogpa.stages.report import training_panels
from videogpa.storage.run_folder import RunFolder
from videogpa.training.data import Batches, hold_out, read_pairs
from videogpa.training.losses import PREFERENCES, loss_at_reference


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return encoded_run(tmp_path_factory.mktemp("line") / "run", toy_recipe())


@pytest.fixture
def folder(made: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(made.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def recipe_of(**settings: Any) -> Recipe:
    return toy_recipe(train={"steps": 2, "warmup_steps": 0, "held_out": 0.4, **settings})


def line(recipe: Recipe, folder: RunFolder) -> float | None:
    """Train, and return where the report draws the line."""
    train.run(recipe, folder)
    [panel] = [panel for panel in training_panels(folder / "train/metrics.jsonl", recipe.train) if panel.title == "loss"]
    return panel.reference


def error_of_the_base_model(recipe: Recipe, folder: RunFolder) -> float:
    """Of the model without any adapter, on the held-out winners at the four timesteps."""
    model = load_model(recipe.model, folder, parts=("transformer",))
    _, held_out = hold_out(read_pairs(folder), recipe.train.held_out, recipe.train.seed)
    batches = Batches(held_out, folder, model, torch.device("cpu"), recipe.train.timesteps, recipe.train.seed)
    errors = []
    for index in range(len(held_out)):
        for quantile in (0.125, 0.375, 0.625, 0.875):
            batch = batches.fixed(index, quantile)
            with torch.no_grad():
                found = model.prediction_and_target(batch.winner, batch.noise, batch.timesteps, batch.conditions)
            errors.append(float((found[0] - found[1]).square().mean()))
    return sum(errors) / len(errors)


@pytest.mark.parametrize("loss", ["dpo", "sft", "dpo+sft", "sdpo+sft", "linear"])
def test_the_line_is_the_loss_of_the_base_model(loss: str, folder: RunFolder) -> None:
    recipe = recipe_of(loss=loss, sft_weight=3.0)
    error = error_of_the_base_model(recipe, folder)
    expected = error if loss == "sft" else math.log(2) + (3 * error if loss.endswith("+sft") else 0)
    assert line(recipe, folder) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("loss", "expected"), [("dpo", math.log(2)), ("sft", None), ("dpo+sft", None)])
def test_without_held_out_pairs_there_is_a_line_only_where_the_loss_alone_gives_it(
    loss: str, expected: float | None, folder: RunFolder
) -> None:
    assert line(recipe_of(loss=loss, held_out=0.0), folder) == (expected and pytest.approx(expected))


@pytest.mark.parametrize("loss", PREFERENCES)
def test_every_preference_begins_at_log_2(loss: str) -> None:
    assert loss_at_reference(TrainConfig.model_validate({"loss": loss})) == pytest.approx(math.log(2))
    assert loss_at_reference(TrainConfig.model_validate({"loss": f"{loss}+sft"})) is None


def test_the_static_penalty_depends_on_the_data() -> None:
    assert loss_at_reference(TrainConfig(loss="dpo", beta=5000.0)) == pytest.approx(math.log(2))
    assert loss_at_reference(TrainConfig(loss="dpo", static_weight=0.1)) is None
    assert loss_at_reference(TrainConfig(loss="dpo", timesteps={"weighting": "bell"})) is None
    assert loss_at_reference(TrainConfig(loss="dpo", pair_weighting="confidence")) is None
