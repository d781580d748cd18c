"""train: what it writes, when it starts over, when it stops."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from toys import encoded_run, toy_recipe
from videogpa.errors import UserError
from videogpa.models.toys import cogvideox as toy_cogvideox
from videogpa.records import Pair
from videogpa.stages import train
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.training import data
from videogpa.training.data import pair_index

pytestmark = pytest.mark.slow

RECIPE = toy_recipe()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return encoded_run(tmp_path_factory.mktemp("train") / "run", RECIPE)


@pytest.fixture
def folder(made: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(made.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def metrics(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train/metrics.jsonl").read_text().splitlines()]


def test_what_a_training_leaves(folder: RunFolder) -> None:
    adapter = train.run(RECIPE, folder)
    assert adapter == folder / "adapter"
    files = sorted(str(path.relative_to(adapter)) for path in adapter.rglob("*") if path.is_file())
    exports = ["comfyui/transformer.safetensors", "diffusers/pytorch_lora_weights.safetensors"]
    assert files == ["adapter_config.json", "adapter_model.safetensors", *exports]
    loaded = PeftModel.from_pretrained(toy_cogvideox.image_to_video().transformer, adapter)
    moved = [float(parameter.abs().max()) for name, parameter in loaded.named_parameters() if "lora_B" in name]
    assert min(moved) > 0
    rows = metrics(folder)
    assert [row["step"] for row in rows] == list(range(6))
    assert rows[0]["loss"] == pytest.approx(0.6931472, abs=1e-6)
    assert rows[0]["accuracy"] == 0.5
    assert rows[0]["winner_gain"] == rows[0]["loser_gain"] == rows[0]["margin"] == 0
    assert all(row["gradient_norm"] > 0 and row["seconds"] > 0 for row in rows)
    assert [row["learning_rate"] for row in rows[:3]] == [0, 5e-4, 1e-3]
    assert sorted(path.name for path in (folder / "train/checkpoints").iterdir()) == ["00000004", "00000006"]


def test_it_learns_to_prefer_the_winners(folder: RunFolder) -> None:
    train.run(
        toy_recipe(train={"steps": 25, "gradient_accumulation_steps": 3, "checkpoint_every": 100, "log_every": 5}), folder
    )
    rows = metrics(folder)
    assert [row["step"] for row in rows] == [0, 5, 10, 15, 20, 24]
    assert rows[-1]["loss"] < 0.66
    assert rows[-1]["accuracy"] > 0.9


def changes_of(folder: RunFolder, **changes: object) -> bool:
    """Whether a run with these changes trains."""
    file = folder / "adapter/adapter_model.safetensors"
    before = file.stat().st_mtime_ns
    train.run(toy_recipe(**changes), folder)
    return file.stat().st_mtime_ns != before


def test_a_finished_training_is_kept_until_what_it_depends_on_changes(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.run(RECIPE, folder)
    with monkeypatch.context() as patch:
        patch.setattr("videogpa.stages.train.load_model", lambda *_, **__: pytest.fail("loaded for nothing"))
        train.run(RECIPE, folder)
        train.run(toy_recipe(train={"checkpoint_every": 3, "log_every": 2}, generate={"candidates": 7}), folder)
    assert changes_of(folder, train={"beta": 100})
    assert metrics(folder)[-1]["step"] == 5
    assert changes_of(folder)
    pairs = manifests.pairs(folder)
    rows = pairs.rows()
    pairs.path.unlink()
    for row in rows[1:]:
        pairs.append(row)
    assert changes_of(folder)
    assert not changes_of(folder)


def test_a_lost_or_edited_adapter_is_written_again_from_the_last_checkpoint(folder: RunFolder) -> None:
    weights = train.run(RECIPE, folder) / "adapter_model.safetensors"
    content, rows = weights.read_bytes(), metrics(folder)
    weights.write_bytes(content[:-1])
    train.run(RECIPE, folder)
    assert weights.read_bytes() == content
    shutil.rmtree(folder / "adapter")
    train.run(RECIPE, folder)
    assert weights.read_bytes() == content
    assert metrics(folder) == rows  # no step was taken


def test_no_pair_is_an_error_that_says_why(folder: RunFolder) -> None:
    pairs = manifests.pairs(folder)
    pairs.path.unlink()
    for name in ("a", "b"):
        pairs.append(Pair(prompt=name, dropped="the gap is too small"))
    pairs.append(Pair(prompt="c", dropped="fewer than two candidates move enough"))
    with pytest.raises(UserError, match=r"2 x the gap is too small; 1 x fewer than two .*Lower pair.min_gap, pair.min_sigma"):
        train.run(RECIPE, folder)
    pairs.path.unlink()
    with pytest.raises(UserError, match="no group at all"):
        train.run(RECIPE, folder)


def test_pairs_that_are_not_encoded_are_named(folder: RunFolder) -> None:
    (folder / "latents.jsonl").unlink()
    with pytest.raises(UserError, match=r"not encoded: train-0000/0.*videogpa encode"):
        train.run(RECIPE, folder)


def test_broken_latents_are_named(folder: RunFolder) -> None:
    (folder / "clips/train-0001/0.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"clips/train-0001/0.safetensors \(.*`videogpa run` makes them again"):
        train.run(RECIPE, folder)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = toy_recipe(train={"gradient_accumulation_steps": 1, "steps": 12, "checkpoint_every": 1})
    order = [pair_index(position, 3, seed=0) for position in range(3)]
    victim = folder / f"clips/train-{order[2]:04d}/0.safetensors"  # first seen at step 2
    read = data.read_tensors

    def overflown(path: Path) -> dict[str, Tensor]:
        tensors = read(path)
        return {name: torch.full_like(tensor, float("nan")) for name, tensor in tensors.items()} if path == victim else tensors

    monkeypatch.setattr(data, "read_tensors", overflown)
    with pytest.raises(UserError, match=r"the loss is nan at step 2.*learning_rate"):
        train.run(recipe, folder)
    monkeypatch.undo()
    assert sorted(path.name for path in (folder / "train/checkpoints").iterdir()) == ["00000001", "00000002"]
    assert [row["step"] for row in metrics(folder)] == [0, 1]
    assert not (folder / "adapter").exists()
    train.run(recipe, folder)  # mended, it goes on where it was
    assert [row["step"] for row in metrics(folder)] == list(range(12))


def test_bfloat16_trains_a_float32_adapter(tmp_path: Path) -> None:
    recipe = toy_recipe(model={"dtype": "bfloat16"}, train={"steps": 3})
    folder = encoded_run(tmp_path / "run", recipe)
    weights = load_file(train.run(recipe, folder) / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert metrics(folder)[0]["loss"] == pytest.approx(0.6931472, abs=1e-6)
