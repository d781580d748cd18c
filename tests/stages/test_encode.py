"""encode: the paired clips and their prompts, made once, and again only where something has changed."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from toys import encoded_run, toy_recipe
from videogpa.config import Recipe
from videogpa.errors import UserError
from videogpa.models.base import GenerationRequest
from videogpa.models.cogvideox import CogVideoXImageToVideo
from videogpa.models.loading import load_model
from videogpa.records import Pair
from videogpa.stages import encode
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.video import read_frames, read_image, write_image, write_video

pytestmark = pytest.mark.slow

RECIPE = toy_recipe(generate={"keep_latents": False})
"""Whose clips are encoded by the VAE, as clips of one's own are."""
KEEPING = toy_recipe()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return encoded_run(tmp_path_factory.mktemp("encode") / "run", RECIPE)


@pytest.fixture(scope="module")
def made_with_latents(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return encoded_run(tmp_path_factory.mktemp("encode") / "keeping", KEEPING)


@pytest.fixture
def folder(made: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(made.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture
def keeping(made_with_latents: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(made_with_latents.path, tmp_path / "keeping")
    return RunFolder(tmp_path / "keeping")


def times(folder: RunFolder) -> dict[str, int]:
    latents = folder / "latents"
    return {str(file.relative_to(latents)): file.stat().st_mtime_ns for file in latents.rglob("*.safetensors")}


def remade(folder: RunFolder, recipe: Recipe = RECIPE) -> set[str]:
    before = times(folder)
    encode.run(recipe, folder)
    return {name for name, time in times(folder).items() if before.get(name) != time}


def test_latents_and_conditions_are_the_models(folder: RunFolder) -> None:
    rows = manifests.latents(folder).rows()
    assert [row.clip for row in rows] == [f"train-{i:04d}/{seed}" for i in range(3) for seed in (0, 1)]
    model = load_model(RECIPE.model, folder)
    prompts = {prompt.prompt: prompt for prompt in manifests.prompts(folder).rows()}
    for row in rows:
        video = read_frames(folder / f"clips/{row.clip}.mp4")
        assert_close(load_file(folder / row.path)["latents"], model.encode_video(video), rtol=0, atol=0)
        prompt = prompts[row.prompt]
        request = GenerationRequest(prompt.text, read_image(folder / str(prompt.image)), RECIPE.generate.seed)
        condition = model.encode_condition(request, frames=9, height=32, width=32)
        assert_close(load_file(folder / row.condition), condition, rtol=0, atol=0)


def test_clips_that_kept_their_latents_are_not_encoded(keeping: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = manifests.latents(keeping).rows()
    assert [row.path for row in rows] == [f"clips/train-{i:04d}/{seed}.safetensors" for i in range(3) for seed in (0, 1)]
    assert set(times(keeping)) == {f"conditions/train-{i:04d}.safetensors" for i in range(3)}
    monkeypatch.setattr(CogVideoXImageToVideo, "encode_video", lambda *_: pytest.fail("encoded"))
    (keeping / "latents/conditions/train-0001.safetensors").unlink()
    assert remade(keeping, KEEPING) == {"conditions/train-0001.safetensors"}


def test_kept_latents_of_another_model_are_not_used(keeping: RunFolder) -> None:
    """As when a run is encoded with `--set model.dtype=...` after its clips were made."""
    other = toy_recipe(model={"dtype": "bfloat16"})
    assert len(remade(keeping, other)) == 3 + 6
    assert {row.path.split("/")[0] for row in manifests.latents(keeping).rows()} == {"latents"}


def test_a_clip_of_ones_own_is_encoded_beside_generated_ones(keeping: RunFolder) -> None:
    clips = manifests.clips(keeping)
    own = [row.model_copy(update={"seed": None, "latents": None}) if row.seed == 1 else row for row in clips.rows()]
    clips.path.unlink()
    for row in own:
        clips.append(row)
    rows = {row.clip: row for row in encode.run(KEEPING, keeping)}
    assert rows["train-0000/0"].path == "clips/train-0000/0.safetensors"
    assert rows["train-0000/1"].path == "latents/train-0000/1.safetensors"
    video = read_frames(keeping / "clips/train-0000/1.mp4")
    encoded = load_model(KEEPING.model, keeping).encode_video(video)
    assert_close(load_file(keeping / rows["train-0000/1"].path)["latents"], encoded, rtol=0, atol=0)


def test_only_paired_clips_are_encoded(folder: RunFolder) -> None:
    rows = manifests.pairs(folder)
    rows.path.unlink()
    rows.append(Pair(prompt="train-0000", dropped="the gap is too small"))
    rows.append(Pair(prompt="train-0001", winner="train-0001/1", loser="train-0001/0"))
    assert [row.clip for row in encode.run(RECIPE, folder)] == ["train-0001/1", "train-0001/0"]
    rows.path.unlink()
    rows.append(Pair(prompt="train-0000", dropped="the gap is too small"))
    assert encode.run(RECIPE, folder) == []
    assert (folder / "latents.jsonl").exists()


def test_only_what_depends_on_a_change_is_made_again(folder: RunFolder) -> None:
    assert remade(folder) == set()
    (folder / "latents/train-0000/1.safetensors").unlink()
    assert remade(folder) == {"train-0000/1.safetensors"}
    write_video(folder / "clips/train-0001/0.mp4", torch.rand(9, 3, 32, 32), 8)
    assert remade(folder) == {"train-0001/0.safetensors"}
    write_image(folder / "prompts/train-0002.png", torch.zeros(3, 32, 32))
    assert remade(folder) == {"train-0002/0.safetensors", "train-0002/1.safetensors", "conditions/train-0002.safetensors"}
    (folder / "latents/conditions/train-0000.safetensors").write_bytes(b"broken")
    (folder / "latents/train-0000/1.safetensors").unlink()
    assert remade(folder) == {"train-0000/1.safetensors", "conditions/train-0000.safetensors"}
    assert remade(folder) == set()


def test_nothing_is_loaded_when_nothing_is_left_to_do(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videogpa.stages.encode.load_model", lambda *_, **__: pytest.fail("loaded"))
    assert len(encode.run(RECIPE, folder)) == 6


def test_missing_clips_are_named(folder: RunFolder) -> None:
    (folder / "clips/train-0001/0.mp4").unlink()
    with pytest.raises(UserError, match="are missing: train-0001/0"):
        encode.run(RECIPE, folder)
    manifests.prompts(folder).drop_stale({})
    with pytest.raises(UserError, match="are missing: train-0000/0"):
        encode.run(RECIPE, folder)


def test_a_clip_of_another_size_is_refused(folder: RunFolder) -> None:
    write_video(folder / "clips/train-0001/0.mp4", torch.rand(9, 3, 32, 48), 8)
    with pytest.raises(UserError, match=r"train-0001/0.mp4 is \(9, 32, 48\)"):
        encode.run(RECIPE, folder)
