"""What holds for every training: resumed = uninterrupted, and accumulated = batched. (Kills: tests/abuse/test_kills.py.)"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from toys import encoded_run, toy_recipe
from videogpa.stages import train
from videogpa.storage.run_folder import RunFolder
from videogpa.training import backward

pytestmark = pytest.mark.slow

RECIPE = toy_recipe(train={"held_out": 0.4, "validate_every": 2})  # one of three prompts
CLOCK = {"seconds", "pairs_per_second", "memory_gib"}  # what a row tells of the machine


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return encoded_run(tmp_path_factory.mktemp("invariants") / "run", RECIPE)


def copy(folder: RunFolder, to: Path) -> RunFolder:
    shutil.copytree(folder.path, to)
    return RunFolder(to)


def metrics(folder: RunFolder) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "train/metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in CLOCK and value is not None} for row in rows]


def contents(folder: RunFolder) -> dict[str, object]:
    """Every file of a run; of the metrics, all but how long a step took. What a kill leaves half-made is not part of it."""
    files = [file for file in folder.path.rglob("*") if file.is_file() and ".tmp" not in str(file)]
    read: dict[str, object] = {str(file.relative_to(folder.path)): file.read_bytes() for file in files}
    read["train/metrics.jsonl"] = metrics(folder)
    return read


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_resumed_is_uninterrupted_bit_for_bit(
    stop: int, encoded: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of step `stop`, with checkpoints after every second."""
    whole, resumed = copy(encoded, tmp_path / "whole"), copy(encoded, tmp_path / "resumed")
    train.run(RECIPE, whole)

    real, calls = backward.joint, iter(range(100))

    def stopping(*arguments: Any) -> Any:
        if next(calls) == RECIPE.train.gradient_accumulation_steps * stop + 1:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(backward, "joint", stopping)
        with pytest.raises(KeyboardInterrupt):
            train.run(RECIPE, resumed)
    torch.manual_seed(99)  # of no account
    train.run(RECIPE, resumed)
    assert contents(resumed) == contents(whole)
    assert [row["step"] for row in metrics(resumed) if row["split"] == "train"] == list(range(6))
    assert [row["step"] for row in metrics(resumed) if row["split"] == "held_out"] == [0, 2, 4, 6]


def test_accumulated_is_batched(encoded: RunFolder, tmp_path: Path) -> None:
    one_by_one, at_once = copy(encoded, tmp_path / "1x4"), copy(encoded, tmp_path / "4x1")
    train.run(toy_recipe(train={"batch_size": 1, "gradient_accumulation_steps": 4}), one_by_one)
    train.run(toy_recipe(train={"batch_size": 4, "gradient_accumulation_steps": 1}), at_once)
    for a, b in zip(metrics(one_by_one), metrics(at_once), strict=True):
        assert (a.pop("fingerprint"), a.pop("split")) == (b.pop("fingerprint"), b.pop("split"))
        assert a == pytest.approx(b, rel=1e-3, abs=2e-6)
    a, b = (load_file(folder / "adapter/adapter_model.safetensors") for folder in (one_by_one, at_once))
    for name in a:
        # Adam divides by the gradient's own size: where that is rounding only, so is its step.
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=2e-5)
