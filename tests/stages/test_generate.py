"""generate: clips of prompts x seeds, made once, and made again only where what they depend on has changed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5EncoderModel

from toys import toy_recipe
from videogpa.config import PromptsConfig, Recipe
from videogpa.errors import UserError
from videogpa.models.adapters import new_adapter, save_adapter
from videogpa.models.base import GenerationRequest, Sampling
from videogpa.models.loading import load_model
from videogpa.records import Clip
from videogpa.stages import generate, prompts
from videogpa.stages.generate import Adapter, UserClip, import_clip, make_clips
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder
from videogpa.video import read_frames, read_image, write_image, write_video
from videogpa.workers import open_pool

pytestmark = pytest.mark.slow


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
    assert len(remade(folder, toy_recipe(generate={"guidance_scale": 3.0}))) == 6
    assert len(remade(folder, toy_recipe(generate={"guidance_scale": 3.0}, model={"dtype": "bfloat16"}))) == 6
    assert len(manifests.clips(folder).rows()) == 6


def test_what_was_finished_before_an_error_is_kept(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = toy_recipe()
    written: list[Path] = []

    def full_disk(path: Path, *arguments: object) -> None:
        written.append(path)
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        write_video(path, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("videogpa.stages.generate.write_video", full_disk)
        with pytest.raises(OSError, match="No space"):
            generate.run(recipe, folder)
    assert [row.clip for row in manifests.clips(folder).rows()] == ["train-0000/0", "train-0000/1", "train-0001/0"]
    assert len(remade(folder, recipe)) == 3


def test_the_latents_that_a_clip_was_decoded_from_lie_beside_it(folder: RunFolder) -> None:
    recipe = toy_recipe()
    rows = generate.run(recipe, folder)
    model = load_model(recipe.model, folder)
    for row in rows:
        assert row.latents == f"clips/{row.clip}.safetensors"
        latents = load_file(folder / row.latents)["latents"]
        assert latents.dtype == torch.bfloat16
        request = GenerationRequest(*_asked(folder, row))
        [sample] = model.generate([request], Sampling(9, 32, 32, 2, recipe.generate.guidance_scale))
        assert torch.equal(latents, sample.latents.to(torch.bfloat16))
        # bfloat16 has 8 bits: what is lost by it is less than what the codec loses
        error = (model.decode_latents(latents.float()) - sample.video).abs().mean()
        assert error < (read_frames(folder / row.path) - sample.video).abs().mean()
    (folder / "clips/train-0001/0.safetensors").unlink()
    assert remade(folder, recipe) == {"train-0001/0"}
    assert remade(folder, toy_recipe(generate={"keep_latents": False})) == set()
    assert (folder / "clips/train-0001/0.safetensors").exists()


def _asked(folder: RunFolder, row: Clip) -> tuple[str, torch.Tensor, int]:
    prompt = {prompt.prompt: prompt for prompt in manifests.prompts(folder).rows()}[row.prompt]
    assert row.seed is not None
    return prompt.text, read_image(folder / str(prompt.image)), row.seed


def test_without_latents_only_the_clip_is_kept(folder: RunFolder) -> None:
    rows = generate.run(toy_recipe(generate={"keep_latents": False}), folder)
    assert {row.latents for row in rows} == {None}
    assert not list((folder / "clips").rglob("*.safetensors"))
    assert remade(folder, toy_recipe()) == set()  # clips that were made without stay as they are


def test_the_model_is_loaded_only_if_something_is_left_to_do(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = generate.run(toy_recipe(), folder)
    monkeypatch.setattr("videogpa.stages.generate.load_model", lambda *_: pytest.fail("loaded for nothing"))
    assert generate.run(toy_recipe(), folder) == rows


def test_the_text_of_a_prompt_is_encoded_once_for_all_its_candidates(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[list[str]] = []
    forward = T5EncoderModel.forward

    def counted(self: T5EncoderModel, *arguments: object, **options: object) -> object:
        encoded.append([])
        return forward(self, *arguments, **options)

    monkeypatch.setattr(T5EncoderModel, "forward", counted)
    assert len(generate.run(toy_recipe(generate={"guidance_scale": 3.0}), folder)) == 6
    texts = {row.text for row in manifests.prompts(folder).rows() if row.split == "train"}
    assert len(encoded) == len(texts) + 1  # and the empty one, for guidance


@pytest.fixture
def adapter(folder: RunFolder, tmp_path: Path) -> Path:
    """An adapter as the official project publishes them: r 64, alpha 128, on to_q, to_k, to_v and to_out.0."""
    recipe = toy_recipe()
    model = load_model(recipe.model, folder)
    trained = new_adapter(model.transformer, targets=("to_v", "to_k", "to_q", "to_out.0"), rank=64, alpha=128, seed=0)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "adapter"
    path.mkdir()
    save_adapter(trained, path)
    return path


def videos_of(folder: RunFolder, rows: list[Clip]) -> list[torch.Tensor]:
    return [read_frames(folder / row.path) for row in rows]


def test_an_adapter_changes_the_clips_by_its_scale(folder: RunFolder, adapter: Path) -> None:
    base = videos_of(folder, generate.run(toy_recipe(), folder))

    def wearing(scale: float) -> Recipe:
        return toy_recipe(generate={"adapter": adapter, "adapter_scale": scale})

    full = videos_of(folder, generate.run(wearing(1.0), folder))
    assert all(not torch.equal(a, b) for a, b in zip(full, base, strict=True))
    assert remade(folder, wearing(1.0)) == set()
    assert len(remade(folder, wearing(0.0))) == 6  # the scale is part of what a clip is
    none = videos_of(folder, manifests.clips(folder).rows())
    assert all(torch.equal(a, b) for a, b in zip(none, base, strict=True))
    config = json.loads((adapter / "adapter_config.json").read_text())
    half = videos_of(folder, generate.run(wearing(0.5), folder))
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 64.0}))
    assert len(remade(folder, wearing(1.0))) == 6
    assert all(torch.equal(a, b) for a, b in zip(videos_of(folder, manifests.clips(folder).rows()), half, strict=True))
    (adapter / "README.md").write_text("of no effect")
    assert remade(folder, wearing(1.0)) == set()


def test_base_and_aligned_clips_come_from_one_model(folder: RunFolder, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = toy_recipe()
    loaded: list[object] = []
    monkeypatch.setattr(
        "videogpa.stages.generate.load_model",
        lambda *arguments: loaded.append(arguments) or load_model(*arguments),
    )
    prompts_ = [prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "held_out"]
    parts = [folder.subfolder(f"evaluation/{name}") for name in ("before", "aligned", "after")]
    with open_pool(recipe.workers) as crew:
        before, aligned, after = (
            videos_of(part, make_clips(prompts_, range(2), recipe, folder, crew, into=part, adapter=worn))
            for part, worn in zip(parts, (None, Adapter(adapter), None), strict=True)
        )
    assert len(loaded) == 1
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(before, aligned, strict=True))


def test_an_adapter_that_is_missing_or_does_not_fit_stops_the_run(folder: RunFolder, adapter: Path) -> None:
    with pytest.raises(UserError, match="no adapter at"):
        generate.run(toy_recipe(generate={"adapter": folder / "nowhere"}), folder)
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(iter(sorted(weights)))
    weights["base_model.model.blocks.0.lora_A.weight"] = weights.pop(name)
    save_file(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(UserError) as refused:
        generate.run(toy_recipe(generate={"adapter": adapter}), folder)
    assert f"1 missing ({name})" in str(refused.value)
    assert "1 unexpected (base_model.model.blocks.0.lora_A.weight)" in str(refused.value)
    assert manifests.clips(folder).rows() == []


def test_clips_of_ones_own_are_taken_into_the_run(tmp_path: Path, folder: RunFolder) -> None:
    for name, frames in (("a/1.mp4", 9), ("a/2.MOV", 9), ("short.mp4", 8)):
        write_video(tmp_path / f"{name}.mp4", torch.rand(frames, 3, 32, 32), 8)
        (tmp_path / f"{name}.mp4").rename(tmp_path / name)
    write_image(tmp_path / "first.png", torch.rand(3, 32, 32))
    table = tmp_path / "clips.csv"
    table.write_text("id,text,image,video\nmine,a room,,a/1.mp4\nmine,a room,,a/2.MOV\nnew,a hall,first.png,\n")
    recipe = toy_recipe().model_copy(update={"prompts": PromptsConfig(file=table)})
    prompts.run(recipe, folder)
    rows = generate.run(recipe, folder)
    assert [(row.clip, row.seed, row.path) for row in rows] == [
        ("mine/0", None, "clips/mine/0.mp4"),
        ("mine/1", None, "clips/mine/1.mov"),
        ("new/0", 0, "clips/new/0.mp4"),
        ("new/1", 1, "clips/new/1.mp4"),
    ]
    assert (folder / "clips/mine/1.mov").read_bytes() == (tmp_path / "a/2.MOV").read_bytes()
    assert remade(folder, recipe) == set()
    (folder / "clips/mine/0.mp4").unlink()
    assert remade(folder, recipe) == {"mine/0"}
    write_video(tmp_path / "a/1.mp4", torch.zeros(9, 3, 32, 32), 8)
    assert remade(folder, recipe) == set()  # the run has its own copy, which the prompts stage renews
    prompts.run(recipe, folder)
    assert remade(folder, recipe) == {"mine/0"}
    with pytest.raises(UserError, match=r"0.mp4 is \(9, 32, 32\).*the recipe says \(5, 32, 32\)"):
        import_clip(UserClip(folder / "prompts/clips/mine/0.mp4", rows[0], folder.path, (5, 32, 32)))
    table.write_text("text,video\na room,short.mp4\n")
    with pytest.raises(UserError, match=r"short.mp4 is \(8, 32, 32\).*the recipe says \(9, 32, 32\)"):
        prompts.run(recipe, folder)
    (tmp_path / "short.mp4").write_text("not a video")
    with pytest.raises(UserError, match=r"a clip of prompt .* cannot be used: .*short.mp4"):
        prompts.run(recipe, folder)


def test_an_impossible_size_stops_before_the_model_loads(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videogpa.stages.generate.load_model", lambda *_: pytest.fail("loaded"))
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
