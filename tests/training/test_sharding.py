"""Sharded weights, as far as one process can show it; see tests/invariants/test_invariants_sharding.py for two."""

from pathlib import Path

import pytest
import torch

from toys import encoded_run, launcher_environment, toy_recipe
from videogpa.config import TimestepsConfig, TrainConfig
from videogpa.errors import UserError
from videogpa.models.adapters import new_adapter
from videogpa.models.loading import load_model
from videogpa.training import distributed
from videogpa.training.data import Batches, read_pairs
from videogpa.training.validation import Validation


def test_nothing_is_sharded_unless_it_is_asked_for() -> None:
    assert not distributed.sharding_requested()


def test_our_configuration_is_one_that_accelerate_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in launcher_environment().items():
        monkeypatch.setenv(name, value)
    assert distributed.sharding_requested()


@pytest.mark.parametrize(
    ("argument", "value", "advice"),
    [
        ("--fsdp_version", "1", "fsdp_version: 2"),
        ("--mixed_precision", "bf16", "train.dtype"),
        ("--fsdp_reshard_after_forward", "false", "true"),
        ("--fsdp_offload_params", "true", "false"),
        ("--fsdp_activation_checkpointing", "true", "train.gradient_checkpointing=true"),
    ],
)
def test_what_is_not_supported_is_refused(argument: str, value: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, setting in launcher_environment(argument, value).items():
        monkeypatch.setenv(name, setting)
    with pytest.raises(UserError, match=f"{argument.removeprefix('--')}.*{advice}"):
        distributed.sharding_requested()


@pytest.mark.slow
def test_every_process_runs_the_network_equally_often_in_validation(tmp_path: Path) -> None:
    """Two pairs at four timesteps, divided: together as one process, and each with as many forward passes."""
    recipe = toy_recipe(prompts={"world": {"train": 2, "held_out": 2, "frames": 9, "height": 32, "width": 32}})
    folder = encoded_run(tmp_path / "run", recipe)
    model = load_model(recipe.model, folder, parts=("transformer",))
    adapter = new_adapter(model.transformer, targets=model.lora_targets, rank=2, alpha=2, seed=0)
    batches = Batches(read_pairs(folder), folder, model, torch.device("cpu"), TimestepsConfig(), seed=0)
    calls: list[int] = []
    model.transformer.register_forward_hook(lambda *_: calls.append(1))
    settings = TrainConfig(loss="dpo", beta=500.0)
    whole = Validation(model, adapter, batches, settings).measure()
    assert len(whole) == 8
    for processes in (3, 5, 9):
        found, passes = [], set()
        for process in range(processes):
            validation = Validation(model, adapter, batches, settings, process, processes)
            for again in (False, True):  # the reference is asked once
                calls.clear()
                measured = validation.measure()
                passes.add((again, len(calls)))
            found.append(measured[: validation.own])
        assert len(passes) == 2
        assert sum(map(len, found)) == 8
        assert [found[place % processes][place // processes] for place in range(8)] == whole
