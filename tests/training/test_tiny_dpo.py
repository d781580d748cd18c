"""Preference training of the small trained model that ships: held-out winners are denoised better than by the reference."""

import json
from pathlib import Path

import pytest

from videogpa.bundled import recipes_folder
from videogpa.config import load_recipe
from videogpa.stages import encode, generate, pair, prompts, score, train
from videogpa.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow

SETTINGS = [
    *("prompts.world.train=16", "prompts.world.held_out=2", "generate.candidates=2", "generate.num_inference_steps=4"),
    *("score={critic: oracle, frames: 9}", "pair.per_group=1", "train.held_out=0.25", "train.steps=30"),
    *("train.validate_every=30", "train.warmup_steps=5", "train.batch_size=4"),
]


def test_thirty_steps_raise_the_gain_on_winners_that_were_never_trained_on(tmp_path: Path) -> None:
    recipe, folder = load_recipe(recipes_folder() / "demo.yaml", SETTINGS), RunFolder(tmp_path)
    for stage in (prompts, generate, score, pair, encode, train):
        stage.run(recipe, folder)
    rows = [json.loads(line) for line in (folder / "train/metrics.jsonl").read_text().splitlines()]
    before, after = [row for row in rows if row["split"] == "held_out"]
    assert (before["step"], after["step"]) == (0, 30)
    assert before["winner_gain"] == before["loser_gain"] == 0  # the policy is the reference
    assert after["winner_gain"] > 0
    assert after["loss"] < before["loss"]
