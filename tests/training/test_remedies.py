"""What becomes of a training that is under way when a remedy for lack of memory is used: as the remedy itself says."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from toys import encoded_run, toy_recipe
from videogpa.config import Recipe
from videogpa.errors import UserError
from videogpa.stages import train
from videogpa.storage.run_folder import RunFolder
from videogpa.training import backward, memory, trainer

pytestmark = pytest.mark.slow

TRAIN: dict[str, Any] = {"batch_size": 2, "gradient_accumulation_steps": 1, "steps": 4, "checkpoint_every": 2}
BASE = toy_recipe(train=TRAIN)
REMEDIES = memory.remedies(BASE.train, BASE.model.dtype)
IN_WORDS: dict[str, dict[str, dict[str, Any]]] = {  # remedies that leave the number to the user
    "a smaller train.lora_rank (now 4)": {"train": {"lora_rank": 2}},
    "clips of fewer frames or pixels": {"generate": {"height": 16}},
}


@pytest.fixture(scope="module")
def half_trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was stopped in its fourth step, with a checkpoint of two."""
    folder = encoded_run(tmp_path_factory.mktemp("remedies") / "run", BASE)
    real, calls = backward.joint, iter(range(100))

    def stopping(*arguments: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backward, "joint", stopping)
        with pytest.raises(KeyboardInterrupt):
            train.run(BASE, folder)
    return folder


@pytest.fixture
def folder(half_trained: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(half_trained.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def changed(settings: str) -> Recipe:
    """The recipe with the settings of a remedy."""
    if settings in IN_WORDS:
        changes = IN_WORDS[settings]
    else:
        found = re.findall(r"train\.(\w+)=(\w+)", settings)
        assert found
        changes = {"train": {name: yaml.safe_load(value) for name, value in found}}
    return toy_recipe(**{"train": {**TRAIN, **changes.get("train", {})}, "generate": changes.get("generate", {})})


def data(folder: RunFolder) -> dict[str, int]:
    """When each clip and each file of latents was written."""
    files = [file for name in ("clips", "latents") for file in (folder / name).rglob("*.*") if file.is_file()]
    return {str(file.relative_to(folder.path)): file.stat().st_mtime_ns for file in files}


def steps_of(recipe: Recipe, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Train, and return the steps that were taken."""
    taken: list[int] = []
    real = trainer.Trainer.take_step

    def counting(self: trainer.Trainer, step: int) -> Any:
        taken.append(step)
        return real(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "take_step", counting)
        train.run(recipe, folder)
    return taken


def test_every_remedy_is_offered_here() -> None:
    assert len(REMEDIES) == 7
    assert {remedy.effect for remedy in REMEDIES} == {"keeps", "restarts", "restarts and generates"}


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.settings)
def test_a_remedy_does_to_a_training_what_it_says(
    remedy: memory.Remedy, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, before = changed(remedy.settings), data(folder)
    if "adamw8bit" in remedy.settings:  # it needs a GPU, and what is tested here is not the optimizer
        plain = memory.new_optimizer

        def in_32_bits(trained: Any, config: Any, device: Any) -> Any:
            return plain(trained, config.model_copy(update={"optimizer": "adamw"}), device)

        monkeypatch.setattr(memory, "new_optimizer", in_32_bits)
    encoded_run(folder.path, recipe)
    assert (data(folder) == before) == (remedy.effect != "restarts and generates")
    assert steps_of(recipe, folder, monkeypatch) == ([2, 3] if remedy.effect == "keeps" else [0, 1, 2, 3])
    said = str(remedy)
    assert ("keeps the training" in said) == (remedy.effect == "keeps")
    assert ("restarts the training" in said) == (remedy.effect != "keeps")
    assert ("clips again" in said) == (remedy.effect == "restarts and generates")


def test_a_dtype_that_training_had_already_keeps_it(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps_of(toy_recipe(train={**TRAIN, "dtype": "float32"}), folder, monkeypatch) == [2, 3]


def test_more_pairs_a_step_are_another_training(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps_of(toy_recipe(train={**TRAIN, "gradient_accumulation_steps": 2}), folder, monkeypatch) == [0, 1, 2, 3]


def test_a_setting_that_cannot_be_had_costs_no_training(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old training is removed only once the new one is ready: here there is no GPU, or no bitsandbytes."""
    with pytest.raises(UserError, match="adamw8bit needs"):
        train.run(toy_recipe(train={**TRAIN, "optimizer": "adamw8bit"}), folder)
    assert steps_of(BASE, folder, monkeypatch) == [2, 3]


@pytest.mark.parametrize("name", ["wan2.1-i2v", "wan2.2-ti2v"])
def test_wan_trains_in_a_dtype_of_its_own(name: str, tmp_path: Path) -> None:
    """Its conditions were encoded in float32, and are shown to a transformer in bfloat16."""
    kind = {"wan2.1-i2v": "wan-i2v", "wan2.2-ti2v": "wan-ti2v"}[name]
    recipe = toy_recipe(
        model={"name": kind, "path": f"toy:{name}"}, train={**TRAIN, "steps": 1, "warmup_steps": 0, "dtype": "bfloat16"}
    )
    folder = encoded_run(tmp_path / "run", recipe)
    assert (train.run(recipe, folder) / "adapter_model.safetensors").exists()
