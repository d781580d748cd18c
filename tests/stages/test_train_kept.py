"""train: nothing that was trained is lost, and more steps prolong a training."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from toys import encoded_run, toy_recipe
from videogpa.config import Recipe, TrainConfig
from videogpa.stages import encode, generate, prompts, train
from videogpa.storage import manifests
from videogpa.storage.files import write_text
from videogpa.storage.fingerprints import FIRST, fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.training import backward, earlier
from videogpa.training.data import read_pairs

pytestmark = pytest.mark.slow

CLOCK = {"seconds", "pairs_per_second", "memory_gib"}


def recipe_of(steps: int, **settings: object) -> Recipe:
    often = {"held_out": 0.4, "validate_every": 4, "log_every": 4, "checkpoint_every": 2}
    return toy_recipe(train={"lr_scheduler": "constant", "steps": steps, **often, **settings})


RECIPE = recipe_of(6)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return encoded_run(tmp_path_factory.mktemp("kept") / "run", RECIPE)


@pytest.fixture(scope="module")
def trained(encoded: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished training of six steps."""
    folder = copy(encoded, tmp_path_factory.mktemp("trained") / "run")
    train.run(RECIPE, folder)
    return folder


@pytest.fixture
def folder(trained: RunFolder, tmp_path: Path) -> RunFolder:
    return copy(trained, tmp_path / "run")


def copy(folder: RunFolder, to: Path) -> RunFolder:
    shutil.copytree(folder.path, to)
    return RunFolder(to)


def contents(*parts: Path) -> dict[str, object]:
    """What lies in folders; of the metrics, all but how long a step took."""
    read: dict[str, object] = {}
    for part in parts:
        for file in sorted(path for path in part.rglob("*") if path.is_file() and path.name != "replaced.json"):
            name = str(file.relative_to(part))
            rows = [json.loads(line) for line in file.read_text().splitlines()] if file.suffix == ".jsonl" else None
            read[name] = (rows and [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]) or file.read_bytes()
    return read


def result(folder: RunFolder) -> dict[str, object]:
    return contents(folder / "train", folder / "adapter")


def whole(encoded: RunFolder, recipe: Recipe, to: Path) -> dict[str, object]:
    """What a training from the beginning leaves."""
    folder = copy(encoded, to)
    train.run(recipe, folder)
    return result(folder)


def stopped(monkeypatch: pytest.MonkeyPatch, recipe: Recipe, folder: RunFolder, *, after: int) -> None:
    """Train, and stop in the middle of the step after so many."""
    real, calls = backward.joint, iter(range(1000))

    def stopping(*arguments: Any) -> Any:
        if next(calls) > recipe.train.gradient_accumulation_steps * after:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(backward, "joint", stopping)
        with pytest.raises(KeyboardInterrupt):
            train.run(recipe, folder)


def test_what_a_new_setting_replaces_is_moved_aside_and_brought_back(
    folder: RunFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = result(folder)
    with caplog.at_level(logging.WARNING):
        train.run(recipe_of(6, beta=100), folder)
    said = "a new training begins, since train.beta is 100.0 and was 500.0. The one before is kept in train.1 and adapter.1"
    assert said in caplog.messages
    assert contents(folder / "train.1", folder / "adapter.1") == first != result(folder)
    for part in ("train.1", "adapter.1"):
        note = json.loads((folder / part / "replaced.json").read_text())
        assert (note["number"], note["training"]["decided_by"]["train.beta"]) == (1, 500)
        assert note["why"] == "replaced by a training for which train.beta is 100.0 and was 500.0"
    second = result(folder)
    monkeypatch.setattr("videogpa.stages.train.load_model", lambda *_, **__: pytest.fail("trained again"))
    train.run(RECIPE, folder)
    assert result(folder) == first
    assert "the training in train.1 was with these settings, and is that of the folder again" in caplog.text
    assert contents(folder / "train.2", folder / "adapter.2") == second
    train.run(recipe_of(6, beta=100), folder)  # back and forth, as often as one likes
    assert result(folder) == second
    assert sorted(path.name for path in folder.path.glob("*.[0-9]")) == ["adapter.1", "train.1"]


def test_more_steps_prolong_a_finished_training(
    encoded: RunFolder, folder: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shorter = contents(folder / "adapter")
    with caplog.at_level(logging.WARNING):
        train.run(recipe_of(11), folder)
    said = "train.steps is 11 and was 6: the training goes on after step 6. The one before is kept in adapter.1"
    assert caplog.messages == [said]
    assert contents(folder / "adapter.1") == shorter
    expected = whole(encoded, recipe_of(11), tmp_path / "whole")
    assert result(folder) == expected
    assert [row["step"] for row in expected["metrics.jsonl"] if row["split"] == "train"] == [0, 4, 8, 10]  # type: ignore[attr-defined]
    assert [row["step"] for row in expected["metrics.jsonl"] if row["split"] == "held_out"] == [0, 4, 8, 11]  # type: ignore[attr-defined]


@pytest.mark.parametrize("settings", [{}, {"lr_scheduler": "cosine", "warmup_steps": 4}])
def test_more_steps_prolong_a_stopped_training(
    settings: dict[str, object], encoded: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By any schedule while the learning rate still rises, which it does the same way to whatever end."""
    folder = copy(encoded, tmp_path / "run")
    stopped(monkeypatch, recipe_of(6, **settings), folder, after=3)
    train.run(recipe_of(9, **settings), folder)
    assert result(folder) == whole(encoded, recipe_of(9, **settings), tmp_path / "whole")
    assert not (folder / "train.1").exists()


def test_a_stopped_training_can_be_shortened_to_what_is_not_done_yet(
    encoded: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(encoded, tmp_path / "run")
    stopped(monkeypatch, recipe_of(9), folder, after=3)
    train.run(RECIPE, folder)
    assert result(folder) == whole(encoded, RECIPE, tmp_path / "whole")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (RECIPE, recipe_of(5), "6 steps are done already"),
        (recipe_of(6, lr_scheduler="cosine"), recipe_of(9, lr_scheduler="cosine"), "(train.lr_scheduler cosine); a constant"),
    ],
)
def test_a_training_that_cannot_be_prolonged_begins_anew_and_says_why(
    old: Recipe, new: Recipe, why: str, encoded: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy(encoded, tmp_path / "run")
    train.run(old, folder)
    first = result(folder)
    with caplog.at_level(logging.WARNING):
        train.run(new, folder)
    (said,) = caplog.messages
    assert f"train.steps is {new.train.steps} and was 6; it cannot go on: " in said
    assert why in said
    assert said.endswith("The one before is kept in train.1 and adapter.1")
    assert contents(folder / "train.1", folder / "adapter.1") == first
    assert result(folder) == whole(encoded, new, tmp_path / "whole")


def test_an_adapter_that_the_training_did_not_write_is_set_aside(folder: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    expected = result(folder)
    (folder / "adapter/adapter_config.json").write_text("mine")
    with caplog.at_level(logging.WARNING):
        train.run(RECIPE, folder)
    assert result(folder) == expected
    assert (folder / "adapter.damaged/adapter_config.json").read_text() == "mine"
    assert "is not what the training wrote; it is now adapter.damaged" in caplog.text
    shutil.rmtree(folder / "train")
    train.run(RECIPE, folder)  # the training is gone, and its adapter is not overwritten
    assert result(folder) == expected == {**expected, **contents(folder / "adapter.1")}


def test_a_lost_or_damaged_state_is_found_out_from_the_checkpoints(folder: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    expected = result(folder)
    for damage in (None, b"", b"{", b"\xef\xbb\xbf{}", b"[" * 100_000, b"\0" * 100):
        state = folder / "train/state.json"
        state.unlink() if damage is None else state.write_bytes(damage)
        with caplog.at_level(logging.WARNING):
            train.run(RECIPE, folder)
        assert {name: result(folder)[name] for name in expected} == expected
    assert "state.json is damaged; it is now state.json.damaged, and is written again" in caplog.text
    assert len(list((folder / "train").glob("state.json.damaged*"))) == 5


def test_a_training_of_version_0_1_is_kept(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    state = json.loads((folder / "train/state.json").read_text())
    identity = state["decided_by"]["model"]
    data = [(pair.winner.fingerprint, pair.loser.fingerprint) for pair in read_pairs(folder)]
    first = {*FIRST["TrainConfig"].split()} - {*train._NO_EFFECT, "dtype"}
    settings = RECIPE.train.model_dump(include=first)
    settings["timesteps"] = {name: settings["timesteps"][name] for name in FIRST["TimestepsConfig"].split()}
    old = fingerprint("train", (settings, "both"), 2, identity, data)
    write_text(folder / "train/state.json", json.dumps({"fingerprint": old, "adapter": state["adapter"]}))
    rows = folder / "train/metrics.jsonl"
    rows.write_text(rows.read_text().replace(state["fingerprint"], old))
    expected = contents(folder / "adapter")
    with monkeypatch.context() as patch:
        patch.setattr("videogpa.stages.train.load_model", lambda *_, **__: pytest.fail("trained again"))
        train.run(RECIPE, folder)
    assert json.loads((folder / "train/state.json").read_text()) == state
    assert contents(folder / "adapter") == expected
    assert {json.loads(line)["fingerprint"] for line in rows.read_text().splitlines()} == {state["fingerprint"]}


MOVES = 8  # at most: notes, renames and their removal


@pytest.mark.parametrize("kill", range(MOVES))
def test_a_kill_between_two_moves_loses_nothing(kill: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved out and brought back, killed before each write, rename and removal: all is where it was, or where it is to be."""
    folder = RunFolder(tmp_path)
    for part, number in (("train", ""), ("adapter", ""), ("train", ".1")):
        (folder / f"{part}{number}").mkdir()
        (folder / f"{part}{number}" / "what").write_text(f"{part}{number}")
    (folder / "train.1/replaced.json").write_text('{"number": 1, "why": "", "when": "", "training": null}')
    calls = iter(range(100))

    def counted(real: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            if next(calls) == kill:
                raise KeyboardInterrupt
            return real(*arguments, **more)

        return call

    with monkeypatch.context() as patch:
        for name in ("write_text", "_rename", "_remove_note"):
            patch.setattr(earlier, name, counted(getattr(earlier, name)))
        try:
            earlier.move_out(folder, "", None)
            earlier.bring_back(folder, 2)
        except KeyboardInterrupt:
            pass
    earlier.recover(folder)
    found = {path.name: (path / "what").read_text() for path in folder.path.iterdir()}
    here, there = {"train": "train", "adapter": "adapter"}, {"train.2": "train", "adapter.2": "adapter"}
    assert found in ({**here, "train.1": "train.1"}, {**there, "train.1": "train.1"})
    assert not (folder / "train/replaced.json").exists()
    assert not (folder / "adapter/replaced.json").exists()


def test_new_settings_of_a_later_version_make_nothing_again(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same recipe, in a version whose every section has a setting more."""

    def newer(kind: Any) -> Any:
        class Newer(kind):  # type: ignore[misc]
            a_new_setting: str = ""

        return Newer

    sections = {name: (newer(type(getattr(RECIPE, name))), ...) for name in ("generate", "score", "pair", "train", "model")}
    later: Any = type("Later", (Recipe,), {"__annotations__": {name: kind for name, (kind, _) in sections.items()}})
    recipe = later.model_validate(RECIPE.model_dump())
    assert "a_new_setting" in recipe.train.model_dump()
    for load in ("generate", "encode", "train"):
        monkeypatch.setattr(f"videogpa.stages.{load}.load_model", lambda *_, **__: pytest.fail("made again"))
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    for stage in (prompts.run, generate.run, encode.run, train.run):
        stage(recipe, folder)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    assert isinstance(recipe.train, TrainConfig)
    assert manifests.latents(folder).rows()
