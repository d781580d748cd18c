"""FSDP2: two processes with half the frozen weights each train as one that holds them all. On the CPU, over loopback."""

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
from safetensors.torch import load_file
from sharded import begin

from toys import encoded_run, launcher_environment, toy_recipe
from videogpa.config import load_recipe
from videogpa.stages import train
from videogpa.storage.provenance import write_recipe
from videogpa.storage.run_folder import RunFolder

COGVIDEOX = toy_recipe(train={"steps": 4, "held_out": 0.4, "validate_every": 3})
WAN = toy_recipe(  # two experts, with about as much to do for each
    model={"name": "wan-t2v", "path": "toy:wan2.2-t2v-a14b", "dtype": "bfloat16"},
    train={
        "steps": 4,
        "warmup_steps": 0,
        "held_out": 0.4,
        "validate_every": 3,
        "timesteps": {"sampling": "logit-normal", "logit_mean": 2.0},
        "joint_forward": False,
        "gradient_checkpointing": True,
    },
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs: trained by one process, by two, by two after a stop, by two after a stop of one."""
    place = tmp_path_factory.mktemp("sharding")
    for name, recipe in (("cogvideox", COGVIDEOX), ("wan", WAN)):
        folder = encoded_run(place / "encoded" / name, recipe)
        for kind in ("alone", "sharded", "stopped", "taken-over") if recipe is COGVIDEOX else ("alone", "sharded"):
            shutil.copytree(folder.path, place / f"{kind}-{name}")
            write_recipe(recipe, RunFolder(place / f"{kind}-{name}"))
        train.run(recipe, RunFolder(place / f"alone-{name}"))
    begin(place / "taken-over-cogvideox", after=5)  # in the middle of the third step, with a checkpoint of two
    for folder in place.glob("*-*"):
        recipe = load_recipe(folder / "recipe.yaml")
        shared = recipe.train.model_copy(update={"gradient_accumulation_steps": 1})  # of as many pairs a step
        write_recipe(recipe.model_copy(update={"train": shared}), RunFolder(folder))
    launch(place, "sharded-cogvideox", "stopped-cogvideox", "taken-over-cogvideox", "sharded-wan")
    return place


def launch(place: Path, *names: str) -> None:
    """Train in two processes, sharded as the configuration that we ship says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={port}"]
    program = [str(Path(__file__).with_name("sharded.py")), *(str(place / name) for name in names)]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *program],
        env={**os.environ, **launcher_environment(), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr


def rows(folder: Path) -> list[dict[str, Any]]:
    clock = {"seconds", "pairs_per_second", "memory_gib"}
    lines = [json.loads(line) for line in (folder / "train/metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in clock and value is not None} for row in lines]


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter/adapter_model.safetensors")


@pytest.mark.slow
def test_each_process_holds_half_of_the_weights(trained: Path) -> None:
    for rank in (0, 1):
        held = json.loads((trained / f"facts-{rank}.json").read_text())["held"]
        assert len(held) == 2
        assert held == pytest.approx(dict.fromkeys(held, 0.5), abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cogvideox", "wan"])
def test_two_processes_with_sharded_weights_train_as_one(name: str, trained: Path) -> None:
    alone, sharded = trained / f"alone-{name}", trained / f"sharded-{name}"
    assert [(row["split"], row["step"]) for row in rows(sharded)] == [(row["split"], row["step"]) for row in rows(alone)]
    for ours, theirs in zip(rows(alone), rows(sharded), strict=True):
        assert ours.pop("split") == theirs.pop("split")
        assert ours.pop("fingerprint") == theirs.pop("fingerprint")
        assert theirs == pytest.approx(ours, rel=1e-3, abs=2e-6)
    ours, theirs = adapter(alone), adapter(sharded)
    assert max(float(tensor.abs().max()) for key, tensor in ours.items() if "lora_B" in key) > 1e-3
    for key in ours:
        torch.testing.assert_close(theirs[key], ours[key], rtol=1e-3, atol=2e-5)


@pytest.mark.slow
def test_an_expert_that_one_process_needs_is_joined_by_the_other(trained: Path) -> None:
    """Else the test above has not shown what it is for."""
    assert sum(json.loads((trained / f"facts-{rank}.json").read_text())["joined"] for rank in (0, 1)) > 8
    assert {key.split(".")[2] for key, tensor in adapter(trained / "sharded-wan").items() if tensor.abs().max() > 0} == {
        "transformer",
        "transformer_2",
    }


@pytest.mark.slow
def test_resumed_is_uninterrupted_bit_for_bit(trained: Path) -> None:
    whole, stopped = trained / "sharded-cogvideox", trained / "stopped-cogvideox"
    assert rows(stopped) == rows(whole)
    for part in ("adapter/adapter_model.safetensors", "train/checkpoints/00000004/optimizer.safetensors"):
        assert (stopped / part).read_bytes() == (whole / part).read_bytes()


@pytest.mark.slow
def test_a_checkpoint_of_one_process_is_taken_over_by_two(trained: Path) -> None:
    ours, theirs = adapter(trained / "sharded-cogvideox"), adapter(trained / "taken-over-cogvideox")
    for key in ours:
        torch.testing.assert_close(theirs[key], ours[key], rtol=1e-3, atol=2e-5)
