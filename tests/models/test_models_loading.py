"""Where a recipe's model is, and what identifies it."""

from pathlib import Path

import pytest
import torch

from videogpa.config import ModelConfig
from videogpa.devices import pick_device
from videogpa.errors import UserError
from videogpa.models.loading import check_size, load_model, model_identity, resolve_model_path
from videogpa.storage.run_folder import RunFolder


def config(path: str | Path, **settings: object) -> ModelConfig:
    return ModelConfig.model_validate({"name": "cogvideox-i2v", "path": str(path), **settings})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RunFolder(tmp_path_factory.mktemp("run"))


def test_a_miniature_is_built_once(folder: RunFolder) -> None:
    path = resolve_model_path(config("toy:cogvideox-i2v"), folder)
    assert path == folder / "model" / "cogvideox-i2v"
    before = {file: file.stat().st_mtime_ns for file in Path(path).rglob("*")}
    assert resolve_model_path(config("toy:cogvideox-i2v"), folder) == path
    assert {file: file.stat().st_mtime_ns for file in Path(path).rglob("*")} == before


def test_folders_and_hub_ids(folder: RunFolder, tmp_path: Path) -> None:
    assert resolve_model_path(config(tmp_path), folder) == tmp_path
    assert resolve_model_path(config("zai-org/CogVideoX-5b-I2V"), folder) == "zai-org/CogVideoX-5b-I2V"


@pytest.mark.parametrize("path", ["nowhere", "/no/such/folder", "./models/x", "~/models", "a/b/c", "owner/"])
def test_a_missing_folder_is_refused(folder: RunFolder, path: str) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        resolve_model_path(config(path), folder)


def test_an_unknown_miniature_is_refused(folder: RunFolder) -> None:
    with pytest.raises(UserError, match=r"toy:sora.*cogvideox-i2v"):
        resolve_model_path(config("toy:sora"), folder)


def test_a_hub_id_out_of_reach_is_refused(folder: RunFolder) -> None:
    with pytest.raises(UserError, match=r"nobody/nothing is not on this machine.* set model\.path to its path"):
        load_model(config("nobody/nothing"), folder)


def test_identity_is_what_decides_the_numbers(folder: RunFolder) -> None:
    base = config("toy:cogvideox-i2v")
    same = model_identity(base, folder)
    assert model_identity(config("toy:cogvideox-i2v", device="cuda"), folder) == same
    assert model_identity(config(folder / "model" / "cogvideox-i2v"), folder) == same
    assert model_identity(config("toy:cogvideox-i2v", dtype="bfloat16"), folder) != same
    assert model_identity(config("zai-org/CogVideoX-5b-I2V"), folder) != same
    revised = config("zai-org/CogVideoX-5b-I2V", revision="main")
    assert model_identity(revised, folder) != model_identity(config("zai-org/CogVideoX-5b-I2V"), folder)


def test_a_size_is_checked_without_loading(folder: RunFolder) -> None:
    check_size(config("toy:cogvideox-i2v"), folder, frames=9, height=64, width=64)
    with pytest.raises(UserError, match="frames 9"):
        check_size(config("toy:cogvideox-i2v"), folder, frames=10, height=64, width=64)


def test_the_model_has_the_dtype_asked_for(folder: RunFolder) -> None:
    model = load_model(config("toy:cogvideox-i2v", dtype="bfloat16", device="cpu"), folder, parts=("transformer",))
    parameters = list(model.transformer.parameters())
    assert {parameter.dtype for parameter in parameters} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in parameters)


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda")
    with pytest.raises(UserError, match="'gpu' cannot be used"):
        pick_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="'cuda' cannot be used"):
        pick_device("cuda")
