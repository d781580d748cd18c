"""What a flag leaves behind: settings enter a run's recipe.yaml when something is made with them, and a stray file is none."""

import shutil
from pathlib import Path

import pytest
from attempts import run_shell

from toys import encoded_run, toy_recipe
from videogpa.config import load_run_recipe
from videogpa.models.loading import model_identities, model_identity, resolve_model_path
from videogpa.stages import encode, generate, train
from videogpa.storage.provenance import write_recipe
from videogpa.storage.run_folder import RunFolder
from videogpa.training import backward

pytestmark = pytest.mark.slow

RECIPE = toy_recipe(train={"steps": 3})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = encoded_run(tmp_path_factory.mktemp("flags") / "run", RECIPE)
    train.run(RECIPE, folder)
    write_recipe(RECIPE, folder)
    return folder


@pytest.fixture
def folder(made: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(made.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_flags_that_fail_leave_the_recipe_as_it_was(folder: RunFolder, tmp_path: Path) -> None:
    before = (folder / "recipe.yaml").read_bytes()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/adapter_config.json").write_text("{}")
    for command, *flags in (
        ("evaluate", "--adapter", str(tmp_path / "bad")),
        ("evaluate", "--adapter", str(tmp_path / "nowhere")),
        ("evaluate", "--set", "generate.height=63"),
        ("generate", "--adapter", str(tmp_path / "bad")),
        ("generate", "--set", "model.path=toy:nothing"),
        ("score-run", "--set", "score.critic=nothing"),
        ("encode", "--set", "model.path=./nowhere"),
        ("train", "--set", "model.path=./nowhere"),
        ("pair", "--set", "pair.measure=nothing"),
    ):
        assert run_shell(command, str(folder.path), *flags).status == 1, (command, flags)
        assert (folder / "recipe.yaml").read_bytes() == before, (command, flags)


def test_a_training_that_has_begun_goes_on_with_its_settings(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = backward.joint, iter(range(100))

    def stopping(*arguments: object) -> object:
        if next(calls) > RECIPE.train.gradient_accumulation_steps:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(backward, "joint", stopping)
    assert run_shell("train", str(folder.path), "--set", "train.beta=100").status == 1
    assert load_run_recipe(folder.path).train.beta == 100


def test_a_stray_file_in_the_models_folder_makes_nothing_again(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Path(resolve_model_path(RECIPE.model, folder))
    identity = model_identity(RECIPE.model, folder)
    assert model_identities(RECIPE.model, folder) == [identity]
    for name in ("README.md", ".DS_Store", ".cache/huggingface/x.lock", "vae/notes.md", "adapters/mine.safetensors"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text("stray")
    assert model_identity(RECIPE.model, folder) == identity
    for stage in ("generate", "encode", "train"):
        monkeypatch.setattr(f"videogpa.stages.{stage}.load_model", lambda *_, **__: pytest.fail("made again"))
    for run in (generate.run, encode.run, train.run):
        run(RECIPE, folder)
    (model / "vae/extra.json").write_text("{}")  # it may be read
    assert model_identity(RECIPE.model, folder) != identity


def test_what_version_0_1_made_with_other_files_beside_the_weights_is_kept(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That version counted every file of the model's folder."""
    (Path(resolve_model_path(RECIPE.model, folder)) / "README.md").write_text("came with the weights")
    _, whole = model_identities(RECIPE.model, folder)
    for name in ("clips.jsonl", "clips", "latents.jsonl", "latents", "train", "adapter"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with monkeypatch.context() as old:
        for stage in ("generate", "encode", "train"):
            old.setattr(f"videogpa.stages.{stage}.model_identities", lambda *_: [whole])
        for run in (generate.run, encode.run, train.run):
            run(RECIPE, folder)
    for stage in ("generate", "encode", "train"):
        monkeypatch.setattr(f"videogpa.stages.{stage}.load_model", lambda *_, **__: pytest.fail("made again"))
    for run in (generate.run, encode.run, train.run):
        run(RECIPE, folder)
