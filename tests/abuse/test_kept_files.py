"""Files that a run keeps, after damage: each is named, set aside and made again, the others stay; what cannot be read stays."""

import errno
import json
import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attempts
import pytest
import torch
from attempts import attempt
from safetensors.torch import save_file

from toys import encoded_run, toy_recipe
from videogpa.config import Recipe
from videogpa.stages import encode, generate, train
from videogpa.stages.report import training_panels
from videogpa.storage.run_folder import RunFolder
from videogpa.storage.tensors import damage

pytestmark = pytest.mark.slow

KIND = "run folder: kept files"
ROUNDS = 12 if attempts.TABLE else 2
KEEPING = toy_recipe(train={"steps": 4})
ENCODING = toy_recipe(generate={"keep_latents": False}, train={"steps": 4})
"""Whose clips are encoded, as clips of one's own are."""


def tensors_of(**tensors: torch.Tensor) -> Callable[[Path, random.Random], None]:
    """Damage: a whole file of safetensors that is not the one that was written."""
    return lambda path, _: save_file(tensors, path)


def torn(path: Path, choose: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: choose.randrange(len(content))])


def overwritten(path: Path, choose: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = choose.randrange(len(content))
    noise = bytes(byte ^ choose.randrange(1, 256) for byte in content[start : start + 40])
    path.write_bytes(bytes(content[:start]) + noise + bytes(content[start + 40 :]))


DAMAGES: dict[str, Callable[[Path, random.Random], object]] = {
    "torn": torn,
    "overwritten": overwritten,
    "empty": lambda path, _: path.write_bytes(b""),
    "noise": lambda path, choose: path.write_bytes(choose.randbytes(300)),
    "a NUL tail": lambda path, _: path.write_bytes(path.read_bytes() + bytes(64)),
    "a mark in front": lambda path, _: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()),
    "nested": lambda path, _: path.write_bytes((100_000).to_bytes(8, "little") + b'{"a":' * 20_000),
    "another shape": tensors_of(latents=torch.zeros(2, 16, 2, 2)),
    "another key": tensors_of(latent=torch.zeros(3, 16, 4, 4)),
    "another dtype": tensors_of(latents=torch.zeros(3, 16, 4, 4, dtype=torch.int64)),
    "not numbers": tensors_of(latents=torch.full((3, 16, 4, 4), float("nan"))),
}


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that were set aside."""
    files = [file for file in folder.rglob("*") if file.is_file() and ".damaged" not in str(file.relative_to(folder))]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def copied(run: RunFolder, to: Path) -> RunFolder:
    shutil.copytree(run.path, to)
    return RunFolder(to)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Recipe, RunFolder]]:
    root = tmp_path_factory.mktemp("kept")
    made = [(recipe, encoded_run(root / name, recipe)) for name, recipe in (("keeping", KEEPING), ("encoding", ENCODING))]
    train.run(*made[0])
    return made


@pytest.mark.parametrize("number", range(ROUNDS))
def test_damaged_videos_and_latents_are_set_aside_and_made_again(
    number: int, runs: list[tuple[Recipe, RunFolder]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe, run = runs[number % 2]
    folder, choose = copied(run, tmp_path / "run"), random.Random(number)
    before = contents(folder.path)
    kept = [name for name in before if name.startswith(("clips/", "latents/"))]
    damaged = {name: choose.choice(list(DAMAGES)) for name in sorted(kept) if choose.random() < 0.4}
    for name, how in damaged.items():
        DAMAGES[how](folder / name, choose)
    with caplog.at_level(logging.WARNING):
        generate.run(recipe, folder)
        encode.run(recipe, folder)
    for name in damaged:
        check = {"made again": before[name], "named": True, "set aside": True}
        attempt(
            KIND,
            lambda name=name: {
                "made again": (folder / name).read_bytes(),
                "named": f"{folder / name} is damaged" in caplog.text,
                "set aside": (folder / f"{name}.damaged").exists(),
            },
            expect="right result",
            check=check.__eq__,
        )
    assert contents(folder.path) == before


def test_training_names_damaged_latents_before_it_begins(runs: list[tuple[Recipe, RunFolder]], tmp_path: Path) -> None:
    recipe, run = runs[1]
    for how, hurt in DAMAGES.items():
        folder = copied(run, tmp_path / how)
        hurt(folder / "latents/train-0001/0.safetensors", random.Random(how))
        attempt(
            KIND, lambda at=folder: train.run(recipe, at), expect="clear sentence", names="latents/train-0001/0.safetensors"
        )
        assert not (folder / "train").exists()


def test_kept_latents_that_are_damaged_are_not_replaced_by_others_in_silence(
    runs: list[tuple[Recipe, RunFolder]], tmp_path: Path
) -> None:
    recipe, run = runs[0]
    for how, hurt in DAMAGES.items():
        folder = copied(run, tmp_path / how)
        hurt(folder / "clips/train-0001/0.safetensors", random.Random(how))
        attempt(KIND, lambda at=folder: encode.run(recipe, at), expect="clear sentence", names="`videogpa generate`")


OF_TRAINING = [
    *("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "train/state.json", "train/metrics.jsonl"),
    *(f"train/checkpoints/00000004/{n}" for n in ("checkpoint.json", "adapter_model.safetensors", "optimizer.safetensors")),
]
OF_TEXTS = [*DAMAGES, "a list", "wrong types"]


@pytest.mark.parametrize("number", range(3 * ROUNDS))
def test_a_damaged_training_ends_with_the_same_adapter(
    number: int, runs: list[tuple[Recipe, RunFolder]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files of a finished training, or of one that was stopped before it wrote its adapter."""
    recipe, run = runs[0]
    folder, choose = copied(run, tmp_path / "run"), random.Random(number)
    before = contents(folder.path)
    name, how = choose.choice(OF_TRAINING), choose.choice(OF_TEXTS)
    stopped = name.startswith("train/") and choose.random() < 0.7
    if stopped:
        shutil.rmtree(folder / "adapter")
        state = json.loads((folder / "train/state.json").read_text(encoding="utf-8"))
        (folder / "train/state.json").write_text(json.dumps({**state, "adapter": None}), encoding="utf-8")
    if how in DAMAGES:
        DAMAGES[how](folder / name, choose)
    else:
        (folder / name).write_text('[{"step": 1}]\n' if how == "a list" else '{"step": [], "files": 3}\n', encoding="utf-8")

    def go_on() -> dict[str, bytes]:
        train.run(recipe, folder)
        training_panels(folder / "train/metrics.jsonl", recipe.train)
        return contents(folder / "adapter")

    with caplog.at_level(logging.WARNING):
        expected = {n.removeprefix("adapter/"): data for n, data in before.items() if n.startswith("adapter/")}
        attempt("run folder: trainings", go_on, expect="right result", check=expected.__eq__)
    if stopped or not name.startswith("train/checkpoints"):
        assert "damaged" in caplog.text or "is not what the training wrote" in caplog.text, (name, how)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("clips/train-0001/0.mp4", generate.run),
        ("clips/train-0001/0.safetensors", generate.run),
        ("clips/train-0001/0.safetensors", encode.run),
        ("latents/conditions/train-0001.safetensors", encode.run),
        ("adapter/adapter_model.safetensors", train.run),
        ("train/state.json", train.run),
        ("train/checkpoints/00000004/checkpoint.json", train.run),
        ("train/checkpoints/00000004/optimizer.safetensors", train.run),
    ],
)
def test_what_cannot_be_read_now_is_not_taken_for_damaged(
    code: int,
    name: str,
    stage: Any,
    runs: list[tuple[Recipe, RunFolder]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, run = runs[0]
    folder = copied(run, tmp_path / "run")
    if "checkpoints" in name:  # of a training that has not written its adapter yet
        shutil.rmtree(folder / "adapter")
        state = json.loads((folder / "train/state.json").read_text(encoding="utf-8"))
        (folder / "train/state.json").write_text(json.dumps({**state, "adapter": None}, indent=1) + "\n", encoding="utf-8")
    before, opened = contents(folder.path), Path.open

    def failing(self: Path, *arguments: Any, **more: Any) -> Any:
        if self == folder / name:
            raise OSError(code, os.strerror(code), str(self))
        return opened(self, *arguments, **more)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(OSError, match=os.strerror(code)):
        stage(recipe, folder)
    monkeypatch.undo()
    assert contents(folder.path) == before
    assert not list(folder.path.rglob("*.damaged*"))
    assert damage(folder / "clips/train-0001/0.safetensors") is None
