"""What a training says of itself: held-out pairs, warnings, trackers, memory."""

import importlib.util
import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import Linear, Module, Parameter

from toys import encoded_run, toy_recipe
from videogpa.config import TrainConfig
from videogpa.errors import UserError
from videogpa.models.base import Activations
from videogpa.stages import train
from videogpa.storage.run_folder import RunFolder
from videogpa.training import memory, monitor
from videogpa.training.data import Batch
from videogpa.training.metrics import MetricsRow
from videogpa.training.monitor import TrainingMonitor, require_number

GIB = 2**30


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return encoded_run(tmp_path_factory.mktemp("metrics") / "run", toy_recipe())


@pytest.fixture
def folder(made: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(made.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def rows(folder: RunFolder, split: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "train/metrics.jsonl").read_text().splitlines()]
    return [row for row in lines if row["split"] == split]


def test_held_out_pairs_are_measured_alike_each_time(folder: RunFolder) -> None:
    recipe = toy_recipe(train={"held_out": 0.4, "validate_every": 2, "steps": 4, "warmup_steps": 0, "learning_rate": 5e-3})
    train.run(recipe, folder)
    measured = rows(folder, "held_out")
    assert [row["step"] for row in measured] == [0, 2, 4]
    assert measured[0]["loss"] == pytest.approx(0.6931472, abs=1e-6)
    assert measured[0]["winner_gain"] == measured[0]["loser_gain"] == 0
    assert measured[-1]["winner_gain"] != 0
    trained = rows(folder, "train")
    assert all(row["pairs_per_second"] * row["seconds"] == pytest.approx(2) for row in trained)
    assert all(0.05 < row["memory_gib"] < 64 for row in trained)


def test_fine_tuning_knows_its_gain_on_held_out_pairs(folder: RunFolder) -> None:
    recipe = toy_recipe(
        train={"loss": "sft", "held_out": 0.4, "validate_every": 8, "steps": 8, "warmup_steps": 0, "learning_rate": 5e-3}
    )
    train.run(recipe, folder)
    assert rows(folder, "train")[0]["winner_gain"] is None
    before, after = rows(folder, "held_out")
    assert after["winner_gain"] == pytest.approx(before["loss"] - after["loss"], abs=1e-5) != 0


def seen(watch: TrainingMonitor, step: int, **numbers: float) -> None:
    watch.update(MetricsRow(step=step, seconds=1.0, **{"loss": 0.69, **numbers}))


def test_a_negative_winner_gain_is_said_once_a_stretch(caplog: pytest.LogCaptureFixture) -> None:
    watch = TrainingMonitor()
    with caplog.at_level(logging.WARNING):
        for step in range(99):
            seen(watch, step, winner_gain=-1e-3, loser_gain=-2e-3)
        assert not caplog.records
        for step in range(99, 300):
            seen(watch, step, winner_gain=-1e-3, loser_gain=-2e-3)
        assert len(caplog.records) == 1
        assert "Both get worse, the losers faster: accuracy may rise" in caplog.text
        for step in range(300, 500):
            seen(watch, step, winner_gain=1e-3, loser_gain=2e-3)
        for step in range(500, 700):
            seen(watch, step, winner_gain=-2e-3, loser_gain=1e-3)
        for step in range(700, 900):
            seen(watch, step, winner_gain=1e-3, loser_gain=0.0)
        for step in range(900, 1100):  # from the first of these on, by the means over the window
            seen(watch, step, winner_gain=-0.2, loser_gain=-0.1)
    assert len(caplog.records) == 3
    assert "winners worse: the policy moves against the preference" in caplog.records[1].message
    assert "the winners no slower than the losers" in caplog.records[2].message
    assert "accuracy" not in caplog.records[2].message


def test_a_single_wild_step_is_no_explosion_and_five_of_ten_are() -> None:
    watch = TrainingMonitor()
    for step in range(30):
        seen(watch, step)
    seen(watch, 30, loss=500.0)
    for step in range(31, 51):
        seen(watch, step)
    for step in range(51, 55):
        seen(watch, step, loss=50.0)
    with pytest.raises(UserError, match=r"exploded.*to step 55.*learning_rate"):
        seen(watch, 55, loss=50.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stops(value: float) -> None:
    with pytest.raises(UserError, match=r"gradient is (nan|inf) at step 3"):
        require_number("gradient", value, 3, torch.float32)


def test_a_missing_tracker_is_named_with_its_command(folder: RunFolder) -> None:
    if importlib.util.find_spec("trackio"):
        pytest.skip("trackio is installed")
    with pytest.raises(UserError, match="pip install trackio"):
        train.run(toy_recipe(train={"trackers": ["trackio"]}), folder)


def test_tensorboard_gets_the_rows(folder: RunFolder) -> None:
    train.run(toy_recipe(train={"trackers": ["tensorboard"], "steps": 2, "held_out": 0.4}), folder)
    (events,) = [file for file in (folder / "train").rglob("events.*") if file.parent.name == "videogpa"]
    assert b"held_out/winner_gain" in events.read_bytes()


def test_tensorboard_is_used_where_it_is_installed() -> None:
    installed = importlib.util.find_spec("tensorboard") is not None
    assert monitor.choose_trackers(TrainConfig()) == (["tensorboard"] if installed else [])
    assert monitor.choose_trackers(TrainConfig(trackers=())) == []


class Network(Module):
    """Three layers of 8 channels, with patches of one by two by two."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_layers=3, num_attention_heads=2, attention_head_dim=4, patch_size=(1, 2, 2))
        self.table = Parameter(torch.zeros(3), requires_grad=False)
        self.linear = Linear(8, 8, bias=False).to(torch.bfloat16).requires_grad_(False)
        self.adapter = Parameter(torch.zeros(10))


def batch(pairs: int) -> Batch:
    latents = torch.zeros(pairs, 2, 16, 4, 6)
    return Batch(latents, latents, latents, torch.zeros(pairs, dtype=torch.long), {"text": torch.zeros(pairs, 5, 32)})


@pytest.mark.parametrize(
    ("settings", "numbers", "clips"),
    [
        ({}, 3 * 24, 4),  # two pairs, both sides, three layers
        ({"joint_forward": False}, 3 * 24, 1),  # one clip at a time
        ({"loss": "sft"}, 3 * 24, 2),
        ({"gradient_checkpointing": True}, 3 + 24 + 8, 4),
    ],
)
def test_the_estimate_by_hand(settings: dict[str, Any], numbers: int, clips: int) -> None:
    """Of a network whose first parameter is float32, as Wan's is, and most of whose numbers are bfloat16."""
    network = Network()
    found = memory.estimate(network, [network.adapter], batch(2), TrainConfig(**settings), Activations(24, of_a_token=5))
    tokens = 2 * 2 * 3 + 5
    activations = clips * tokens * 8 * (2 * numbers + 5)
    assert found == memory.Estimate(weights=64 * 2 + 3 * 4, adapter=10 * (4 + 4 + 8), activations=activations)


def test_what_cannot_fit_is_refused_and_what_may_not_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    ways = memory.remedies(TrainConfig(batch_size=2, gradient_accumulation_steps=8, joint_forward=False), "float32")
    assert [str(way) for way in ways[:3]] == [
        "train.gradient_checkpointing=true (keeps the training)",
        "train.batch_size=1 with train.gradient_accumulation_steps=16 (keeps the training)",
        "train.dtype=bfloat16 (restarts the training)",
    ]
    assert not any("joint_forward" in way.settings for way in ways)
    needed = memory.Estimate(weights=10 * GIB, adapter=2 * GIB, activations=9 * GIB)
    with pytest.raises(UserError, match=r"not fit.*Try, in this order:\n  train.gradient_checkpointing=true \(keeps"):
        memory.check_fits(needed, GIB, ways)
    with caplog.at_level(logging.WARNING):
        memory.check_fits(needed, 8 * GIB, ways)
        assert "may not fit" in caplog.text
        caplog.clear()
        memory.check_fits(needed, 12 * GIB, ways)
    assert not caplog.records


@pytest.mark.parametrize("kept", [True, False])
def test_a_full_gpu_is_explained(kept: bool) -> None:
    """Training goes on where it was with a setting that keeps it, and the message says so with such a setting only."""
    ways = [memory.Remedy("b=1", "restarts"), *([memory.Remedy("a=1", "keeps")] if kept else [])]
    expected = r"GPU out of memory \(CUDA out of memory\)\. Try, in this order:\n  b=1"
    with pytest.raises(UserError, match=expected) as caught, memory.explain_oom(ways):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert ("training goes on where it was" in str(caught.value)) == kept


def test_eight_bits_are_refused_where_they_cannot_be_had(folder: RunFolder) -> None:
    expected = "needs a GPU" if importlib.util.find_spec("bitsandbytes") else r"pip install 'videogpa\[bitsandbytes\]'"
    with pytest.raises(UserError, match=expected):
        train.run(toy_recipe(train={"optimizer": "adamw8bit"}), folder)
