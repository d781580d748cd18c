"""What the held-out pairs say of a training, and how sure that is."""

import math
from pathlib import Path
from statistics import stdev

import pytest
import torch

from toys import encoded_run, toy_recipe
from videogpa.models.adapters import new_adapter
from videogpa.models.loading import load_model
from videogpa.training.data import Batches, read_pairs
from videogpa.training.metrics import MetricsRow
from videogpa.training.validation import Validation
from videogpa.training.verdict import verdict

RECIPE = toy_recipe()


def row(step: int, accuracy: float, gain: float, errors: tuple[float, float] | None = (0.05, 0.001)) -> MetricsRow:
    accuracy_se, gain_se = errors or (None, None)
    numbers = {"accuracy": accuracy, "winner_gain": gain, "accuracy_se": accuracy_se, "winner_gain_se": gain_se}
    return MetricsRow.model_validate({"step": step, "split": "held_out", "loss": 0.7, "seconds": 1.0, **numbers})


def test_a_training_is_said_to_have_learned_what_its_held_out_pairs_show() -> None:
    trained = MetricsRow(step=9, loss=0.1, accuracy=1.0, winner_gain=0.5, seconds=1.0)
    begun = row(0, 0.5, 0.0)
    assert verdict([begun, trained, row(10, 0.71, 0.003)]) == (
        "it learned beyond its pairs: accuracy 0.71 ± 0.05, winner gain +0.003 ± 0.001 on held-out pairs"
    )
    assert verdict([begun, row(5, 0.7, 0.004), row(10, 0.71, 0.003)]).endswith(
        "; their winners were denoised best after step 5 (+0.004)"
    )
    assert verdict([begun, row(10, 0.59, 0.003)]).startswith("no preference beyond its pairs is to be seen: accuracy 0.59")
    assert verdict([begun, row(10, 0.71, -0.003)]).startswith(
        "it learned beyond its pairs, and denoises winners worse than before"
    )
    assert verdict([begun, row(10, 1.0, 0.003, None)]).startswith("too few held-out pairs to tell")
    assert verdict([begun, row(10, 0.45, 0.003, (0.2, 0.001))]).startswith("too few held-out pairs to tell")
    assert verdict([trained]).startswith("no pair is held out")


def test_the_standard_error_is_that_over_prompts(tmp_path: Path) -> None:
    folder = encoded_run(tmp_path / "run", RECIPE)
    model = load_model(RECIPE.model, folder, parts=("transformer",))
    adapter = new_adapter(model.transformer, targets=model.lora_targets, rank=4, alpha=8, seed=0)
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    pairs = read_pairs(folder)
    batches = Batches(pairs, folder, model, torch.device("cpu"), RECIPE.train.timesteps, seed=0)
    alone, *two = (Validation(model, adapter, batches, RECIPE.train, *of) for of in ((0, 1), (0, 2), (1, 2)))
    measured = alone.measure()
    gains = alone.by_pair(measured, "winner_gain")
    by_hand = [sum(numbers["winner_gain"] for numbers in measured[4 * i : 4 * i + 4]) / 4 for i in range(len(pairs))]
    assert gains.tolist() == pytest.approx(by_hand)
    halves = [part.by_pair(part.measure(), "winner_gain") for part in two]
    assert (halves[0] + halves[1]).tolist() == pytest.approx(by_hand)
    assert len({pair.winner.prompt for pair in pairs}) == len(pairs) > 2
    assert alone.standard_error(gains) == pytest.approx(stdev(by_hand) / math.sqrt(len(by_hand)))
    twice = Validation(
        model, adapter, Batches([pairs[0]] * 2, folder, model, torch.device("cpu"), RECIPE.train.timesteps, 0), RECIPE.train
    )
    assert twice.standard_error(torch.tensor([0.0, 1.0])) is None
