"""Estimates of the memory of a training: near what was measured, and what recipes say that they need."""

import re

import pytest
from docs.memory import PUBLISHED, WAYS

from videogpa.bundled import recipes_folder
from videogpa.config import load_recipe
from videogpa.registry import MODELS, load
from videogpa.training.memory import GIB

pytestmark = pytest.mark.slow

RECIPES = sorted(path.stem for path in recipes_folder().glob("*.yaml") if "gpu_gib" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [name for name, network in PUBLISHED.items() if network.measured is not None])
def test_the_estimate_is_within_a_tenth_of_what_was_measured(name: str) -> None:
    """In the two ways that fit a GPU; without checkpointing it is at most a quarter too high, and never low."""
    network = PUBLISHED[name]
    assert network.measured is not None
    found = [(network.estimate(network.clip, way).activations or 0) / GIB for way in WAYS]
    assert found[1:] == pytest.approx(network.measured[1:], rel=0.1)
    assert 1 <= found[0] / network.measured[0] < 1.25


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_needs_what_its_training_and_its_model_take(name: str) -> None:
    """Its GPU holds the training, and all parts of the model at once, with a little to spare, and is not twice as large."""
    recipe = load_recipe(name)
    network = PUBLISHED[recipe.model.path]
    clip = (recipe.generate.frames, recipe.generate.height, recipe.generate.width)
    training = network.estimate(clip, recipe.train)
    assert training.activations is not None
    assert (recipe.train.dtype or recipe.model.dtype) == "bfloat16"
    in_training = (training.weights + training.adapter + training.activations) / GIB
    [card] = [card for card in load(MODELS, recipe.model.name).published if card.hub_id == recipe.model.path]
    in_generation = float(re.findall(r"[\d.]+", card.memory)[0]) * 1e9 / GIB
    needed = 1.05 * max(in_training, in_generation) + 1
    assert needed <= recipe.needs.gpu_gib < 2 * needed
