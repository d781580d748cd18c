"""Several processes train as one: launched together over the loopback device, on the CPU."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from toys import encoded_run, toy_recipe
from videogpa.errors import UserError
from videogpa.pipeline import hold, run
from videogpa.stages import train
from videogpa.storage.provenance import write_recipe
from videogpa.storage.run_folder import RunFolder
from videogpa.training.distributed import average_gradients, average_numbers, new_accelerator, positions

RECIPE = toy_recipe(train={"steps": 4, "held_out": 0.4, "validate_every": 3})


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = encoded_run(tmp_path_factory.mktemp("processes") / "run", RECIPE)
    write_recipe(RECIPE, folder)
    return folder


def copy(folder: RunFolder, to: Path) -> RunFolder:
    shutil.copytree(folder.path, to)
    return RunFolder(to)


def launched(folder: RunFolder, *overrides: str) -> str:
    """Train in two processes, and return what they say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={port}"]
    settings = [part for name in overrides for part in ("--set", name)]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "videogpa.cli", "train", str(folder.path), *settings],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def rows(folder: RunFolder) -> list[dict[str, Any]]:
    clock = {"seconds", "pairs_per_second", "memory_gib"}
    lines = [json.loads(line) for line in (folder / "train/metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in clock and value is not None} for row in lines]


@pytest.mark.slow
def test_two_processes_train_as_one(encoded: RunFolder, tmp_path: Path) -> None:
    """Two processes with one pair each a step, against one with two: the same rows and the same adapter."""
    alone, together = copy(encoded, tmp_path / "alone"), copy(encoded, tmp_path / "together")
    train.run(RECIPE, alone)
    said = launched(together, "train.gradient_accumulation_steps=1")
    assert said.count("held out") == 1  # one of them speaks
    assert [(row["split"], row["step"]) for row in rows(together)] == [(row["split"], row["step"]) for row in rows(alone)]
    for ours, theirs in zip(rows(alone), rows(together), strict=True):
        assert ours.pop("split") == theirs.pop("split")
        assert ours.pop("fingerprint") == theirs.pop("fingerprint")  # so that one can go on where the other stopped
        assert theirs == pytest.approx(ours, rel=1e-3, abs=2e-6)
    weights = [load_file(folder / "adapter/adapter_model.safetensors") for folder in (alone, together)]
    assert max(float(tensor.abs().max()) for name, tensor in weights[0].items() if "lora_B" in name) > 1e-3
    for name in weights[0]:
        torch.testing.assert_close(weights[1][name], weights[0][name], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize(("processes", "batch", "accumulate"), [(1, 1, 12), (2, 1, 6), (3, 2, 2), (4, 3, 1)])
def test_the_positions_of_a_step_are_the_same_however_they_are_divided(processes: int, batch: int, accumulate: int) -> None:
    for step in (0, 5):
        seen = [
            position
            for part in range(accumulate)
            for process in range(processes)
            for position in positions(step, part, batch=batch, accumulate=accumulate, process=process, processes=processes)
        ]
        assert seen == list(range(12 * step, 12 * step + 12))


def test_means_are_over_what_was_measured() -> None:
    measured = [{"loss": 1.0, "other": 5.0}, {"loss": 2.0, "other": 6.0}]
    assert average_numbers(Accelerator(cpu=True), measured) == {"loss": 1.5, "other": 5.5}
    assert average_numbers(Accelerator(cpu=True), measured, counted=1) == measured[0]


def test_other_stages_are_refused(encoded: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were launched, but training alone"):
        run(RECIPE, encoded)


def test_the_main_process_holds_the_folder_for_its_siblings(encoded: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with encoded.lock():
        with pytest.raises(UserError, match="being worked on"), hold(RECIPE, encoded, several_processes=True):
            pass
        monkeypatch.setenv("RANK", "1")
        with hold(RECIPE, encoded, several_processes=True):
            pass


def test_deepspeed_is_refused_and_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UserError, match="DeepSpeed is not supported"):
        new_accelerator(torch.device("cpu"), (), Path("train"))


def test_what_no_sample_called_upon_has_a_gradient_of_zero() -> None:
    used, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    used.sum().backward()
    average_gradients(Accelerator(cpu=True), [used, unused])
    assert [parameter.grad.tolist() for parameter in (used, unused) if parameter.grad is not None] == [[1, 1], [0, 0]]
