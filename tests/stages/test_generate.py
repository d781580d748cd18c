"""generate: clips of prompts x seeds, made once, and made again only where what they depend on has changed."""

from pathlib import Path

import pytest
import torch

from toys import toy_recipe
from videogpa import manifests
from videogpa.config import Recipe
from videogpa.errors import UserError
from videogpa.models.adapters import new_adapter, save_adapter
from videogpa.models.loading import load_model, model_identity
from videogpa.records import Clip
from videogpa.runs import RunFolder
from videogpa.stages import generate, prompts
from videogpa.stages.generate import make_clips
from videogpa.video import read_frames, write_image


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    prompts.run(toy_recipe(), folder)
    return folder


def times(folder: RunFolder) -> dict[str, int]:
    """When every clip's file was written."""
    clips = folder / "clips"
    return {str(file.relative_to(clips).with_suffix("")): file.stat().st_mtime_ns for file in clips.rglob("*.mp4")}


def remade(folder: RunFolder, recipe: Recipe) -> set[str]:
    before = times(folder)
    generate.run(recipe, folder)
    return {name for name, time in times(folder).items() if before.get(name) != time}


def test_every_training_prompt_gets_its_candidates(folder: RunFolder) -> None:
    rows = generate.run(toy_recipe(), folder)
    assert [row.clip for row in rows] == [f"train-{i:04d}/{seed}" for i in range(3) for seed in (0, 1)]
    assert manifests.clips(folder).rows() == rows
    videos = [read_frames(folder / row.path) for row in rows]
    assert {tuple(video.shape) for video in videos} == {(9, 3, 32, 32)}
    assert all(not torch.equal(a, b) for i, a in enumerate(videos) for b in videos[:i])


def test_only_what_depends_on_a_change_is_made_again(folder: RunFolder) -> None:
    recipe = toy_recipe()
    generate.run(recipe, folder)
    assert remade(folder, recipe) == set()
    assert remade(folder, toy_recipe(train={"steps": 7}, score={"frames": 3})) == set()
    assert remade(folder, toy_recipe(generate={"candidates": 3})) == {f"train-{i:04d}/2" for i in range(3)}
    assert remade(folder, recipe) == set()
    (folder / "clips/train-0001/0.mp4").unlink()
    assert remade(folder, recipe) == {"train-0001/0"}
    write_image(folder / "prompts/train-0002.png", torch.zeros(3, 32, 32))
    assert remade(folder, recipe) == {"train-0002/0", "train-0002/1"}
    assert len(remade(folder, toy_recipe(generate={"guidance": 3.0}))) == 6
    assert len(remade(folder, toy_recipe(generate={"guidance": 3.0}, model={"dtype": "bfloat16"}))) == 6
    assert len(manifests.clips(folder).rows()) == 6


def test_what_was_finished_before_an_error_is_kept(folder: RunFolder) -> None:
    recipe = toy_recipe()
    model = load_model(recipe.model, folder)

    class Tiring:
        """The real model, for three clips."""

        made = 0

        def __getattr__(self, name: str) -> object:
            return getattr(model, name)

        def generate(self, requests: list, sampling: object) -> list[torch.Tensor]:  # type: ignore[type-arg]
            self.made += 1
            if self.made > 3:
                raise OSError(28, "No space left on device")
            return list(model.generate(requests, sampling))  # type: ignore[arg-type]

    with pytest.raises(OSError, match="No space"):
        clips_of(folder, recipe, model=Tiring)
    assert [row.clip for row in manifests.clips(folder).rows()] == ["train-0000/0", "train-0000/1", "train-0001/0"]
    assert len(remade(folder, recipe)) == 3


def clips_of(folder: RunFolder, recipe: Recipe, *, into: RunFolder | None = None, **options: object) -> list[Clip]:
    rows = [prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "train"]
    arguments = {"model": lambda: load_model(recipe.model, folder), **options}
    return make_clips(
        arguments.pop("model"),  # type: ignore[arg-type]
        rows,
        range(2),
        recipe.generate,
        into or folder,
        images=folder.path,
        model_identity=model_identity(recipe.model, folder),
        **arguments,  # type: ignore[arg-type]
    )


def test_the_model_is_loaded_only_if_something_is_left_to_do(folder: RunFolder) -> None:
    recipe = toy_recipe()
    rows = generate.run(recipe, folder)

    def unwanted() -> None:
        raise AssertionError("loaded for nothing")

    assert clips_of(folder, recipe, model=unwanted) == rows


def test_an_adapter_changes_the_clips_and_leaves_the_model(folder: RunFolder, tmp_path: Path) -> None:
    recipe = toy_recipe()
    base = [read_frames(folder / row.path) for row in generate.run(recipe, folder)]
    model = load_model(recipe.model, folder)
    trained = new_adapter(model.transformer, targets=model.lora_targets, rank=2, alpha=4, seed=0)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_adapter(trained, adapter)

    model = load_model(recipe.model, folder)
    into = folder.folder("evaluation/aligned")
    aligned = [
        read_frames(into / row.path) for row in clips_of(folder, recipe, into=into, model=lambda: model, adapter=adapter)
    ]
    assert all(not torch.equal(a, b) for a, b in zip(aligned, base, strict=True))
    again = folder.folder("evaluation/base")
    rows = clips_of(folder, recipe, into=again, model=lambda: model)
    assert all(torch.equal(read_frames(again / row.path), b) for row, b in zip(rows, base, strict=True))

    rows = clips_of(folder, recipe, into=into, model=lambda: pytest.fail("loaded for nothing"), adapter=adapter)
    assert len(rows) == 6
    (into / "clips.jsonl").unlink()
    with pytest.raises(UserError, match="no adapter at"):
        clips_of(folder, recipe, into=into, model=lambda: model, adapter=tmp_path / "nowhere")
    assert not (into / "clips.jsonl").exists()


def test_an_impossible_size_stops_before_the_model_loads(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videogpa.stages.generate.stage.load_model", lambda *_: pytest.fail("loaded"))
    with pytest.raises(UserError, match="frames 9, height 32, width 32"):
        generate.run(toy_recipe(generate={"frames": 10}), folder)


def test_prompts_without_what_the_model_needs_are_refused(folder: RunFolder) -> None:
    file = folder / "prompts.jsonl"
    rows = file.read_text()
    file.write_text(rows.replace('"split":"train"', '"split":"held_out"'))
    with pytest.raises(UserError, match="no prompt with the split `train`"):
        generate.run(toy_recipe(), folder)
    file.write_text(rows.replace('"image":"prompts/train-0001.png"', '"image":null'))
    with pytest.raises(UserError, match="needs a first frame, which these prompts lack: train-0001"):
        generate.run(toy_recipe(), folder)
    file.write_text(rows)
    (folder / "prompts/train-0001.png").unlink()
    with pytest.raises(UserError, match=r"prompt 'train-0001' is missing"):
        generate.run(toy_recipe(), folder)
