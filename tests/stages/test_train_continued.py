"""train: from an adapter that is there, against it or against the model without one as the reference."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from toys import encoded_run, toy_recipe
from videogpa.config import Recipe
from videogpa.errors import MissingInput, UserError
from videogpa.stages import train
from videogpa.storage.run_folder import RunFolder
from videogpa.training.trainer import Trainer

pytestmark = pytest.mark.slow

WEIGHTS = "adapter_model.safetensors"
HELD_OUT: dict[str, Any] = {"held_out": 0.34, "validate_every": 100}  # one of three prompts


def recipe(start: Path | None = None, **settings: Any) -> Recipe:
    return toy_recipe(train={**HELD_OUT, **settings, "initial_adapter": None if start is None else str(start)})


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A first round, trained."""
    folder = encoded_run(tmp_path_factory.mktemp("continued") / "one", toy_recipe())
    train.run(recipe(), folder)
    return folder


@pytest.fixture
def second(first: RunFolder, tmp_path: Path) -> RunFolder:
    """The same pairs, and nothing trained on them."""
    shutil.copytree(first.path, tmp_path / "two", ignore=shutil.ignore_patterns("train", "adapter"))
    return RunFolder(tmp_path / "two")


def held_out(folder: RunFolder) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "train/metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["split"] == "held_out"]


GAINS = ("winner_gain", "loser_gain", "margin")


@pytest.mark.parametrize("joint", [True, False])
def test_against_the_policy_before_the_implicit_rewards_begin_at_zero(first: RunFolder, second: RunFolder, joint: bool) -> None:
    train.run(recipe(first / "adapter", joint_forward=joint), second)
    rows = [json.loads(line) for line in (second / "train/metrics.jsonl").read_text().splitlines()]
    begun, *_, ended = held_out(second)
    assert [begun[name] for name in GAINS] == [0, 0, 0]
    assert [ended[name] != 0 for name in GAINS] == [True, True, True]
    step = next(row for row in rows if row["split"] == "train")
    assert [step[name] for name in GAINS] == [0, 0, 0]
    assert step["loss"] == pytest.approx(0.6931472, abs=1e-6)


def test_against_the_base_they_begin_where_the_first_round_ended(first: RunFolder, second: RunFolder) -> None:
    train.run(recipe(first / "adapter", reference="base"), second)
    ended, begun = held_out(first)[-1], held_out(second)[0]
    assert (ended["step"], begun["step"]) == (6, 0)
    assert [begun[name] for name in (*GAINS, "loss")] == [ended[name] for name in (*GAINS, "loss")]
    assert ended["margin"] != 0


def test_the_reference_stays_the_first_policy_while_the_second_moves(
    first: RunFolder, second: RunFolder, tmp_path: Path
) -> None:
    """With both references, gain over base = gain of the second round + gain of the first, of one policy."""
    train.run(recipe(first / "adapter", learning_rate=3e-3), second)
    other = tmp_path / "three"
    shutil.copytree(second.path, other, ignore=shutil.ignore_patterns("train", "adapter"))
    train.run(recipe(second / "adapter", reference="base", steps=1, learning_rate=1e-9), RunFolder(other))
    over_first, over_base, of_first = held_out(second)[-1], held_out(RunFolder(other))[0], held_out(first)[-1]
    for name in GAINS:
        assert over_first[name] != 0
        assert over_base[name] == pytest.approx(over_first[name] + of_first[name], rel=1e-4, abs=1e-7)


def test_it_begins_with_the_very_weights_and_the_adapter_holds_both_rounds(first: RunFolder, second: RunFolder) -> None:
    train.run(recipe(first / "adapter", steps=1, warmup_steps=2), second)  # the first step of a warm-up has a rate of 0
    begun, given = (load_file(folder / "adapter" / WEIGHTS) for folder in (second, first))
    assert begun.keys() == given.keys()
    assert [name for name in given if not torch.equal(begun[name], given[name])] == []


def test_stopped_it_goes_on_as_if_it_had_not_been(
    first: RunFolder, second: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(second.path, whole)
    train.run(recipe(first / "adapter"), RunFolder(whole))
    step = Trainer.take_step

    def stops(self: Trainer, number: int) -> Any:
        if number == 4:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(Trainer, "take_step", stops)
    with pytest.raises(KeyboardInterrupt):
        train.run(recipe(first / "adapter"), second)
    monkeypatch.undo()
    train.run(recipe(first / "adapter"), second)
    assert (second / "adapter" / WEIGHTS).read_bytes() == (whole / "adapter" / WEIGHTS).read_bytes()
    clock = {"seconds", "pairs_per_second", "memory_gib"}
    files = [folder / "train/metrics.jsonl" for folder in (second.path, whole)]
    mine, theirs = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    assert [{k: v for k, v in row.items() if k not in clock} for row in mine] == [
        {k: v for k, v in row.items() if k not in clock} for row in theirs
    ]


def test_it_is_kept_until_the_adapter_before_it_changes(
    first: RunFolder, second: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, weights = tmp_path / "before", second / "adapter" / WEIGHTS
    shutil.copytree(first / "adapter", before)
    train.run(recipe(before, steps=2), second)
    made = weights.stat().st_mtime_ns
    shutil.move(before, tmp_path / "elsewhere")
    train.run(recipe(tmp_path / "elsewhere", steps=2), second)
    assert weights.stat().st_mtime_ns == made
    with caplog.at_level(logging.WARNING):
        train.run(recipe(_edited(tmp_path / "elsewhere"), steps=2), second)
    assert "the adapter that it goes on from has changed" in caplog.text
    assert weights.stat().st_mtime_ns != made


def _edited(adapter: Path) -> Path:
    tensors = load_file(adapter / WEIGHTS)
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, adapter / WEIGHTS, metadata={"format": "pt"})
    return adapter


def test_an_adapter_that_it_cannot_go_on_from_is_refused_with_what_to_set(first: RunFolder, second: RunFolder) -> None:
    with pytest.raises(MissingInput, match="nowhere"):
        train.run(recipe(second / "nowhere"), second)
    with pytest.raises(UserError, match=r"it has rank 4 and strength .* 2, where train.lora_rank is 8"):
        train.run(recipe(first / "adapter", lora_rank=8), second)
    with pytest.raises(UserError, match=r"train.lora_alpha is 4, which is strength 1"):
        train.run(recipe(first / "adapter", lora_alpha=4), second)
    assert not (second / "train").exists()
