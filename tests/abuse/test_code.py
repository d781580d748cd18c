"""Files that carry code, in every place where the program reads a file: none of it runs."""

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from attempts import attempt, run_shell, shell

from videogpa.config import ModelConfig, load_recipe, load_run_recipe
from videogpa.convert import convert
from videogpa.critics.depth_anything import DepthAnythingCritic
from videogpa.critics.vggt import VggtCritic
from videogpa.models import toys
from videogpa.models.adapters import adapter_fingerprint
from videogpa.models.loading import load_model
from videogpa.scoring.lpips import Lpips
from videogpa.storage import tensors
from videogpa.storage.run_folder import RunFolder
from videogpa.video.pictures import read_image

KIND = "code in files"


class Trap:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Path]:
    """What code would create. That every payload of this file does create it is tested below."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists(), "code of a file was run"


def _protocol(number: int) -> Callable[[Path, Path], object]:
    return lambda file, trap: file.write_bytes(pickle.dumps(Trap(trap), protocol=number))


def _archive(file: Path, trap: Path) -> None:
    torch.save({"weight": torch.ones(1), "more": Trap(trap)}, file)


def _old_archive(file: Path, trap: Path) -> None:
    torch.save({"weight": torch.ones(1), "more": Trap(trap)}, file, _use_new_zipfile_serialization=False)


def _numpy(file: Path, trap: Path) -> None:
    stream = io.BytesIO()  # so that NumPy does not add .npy to the name
    np.save(stream, np.array([Trap(trap)], dtype=object), allow_pickle=True)
    file.write_bytes(stream.getvalue())


PAYLOADS: dict[str, Callable[[Path, Path], object]] = {
    "a pickle of protocol 0": _protocol(0),
    "a pickle of protocol 2": _protocol(2),
    "a pickle of protocol 5": _protocol(5),
    "an archive of PyTorch's": _archive,
    "an old archive of PyTorch's": _old_archive,
    "an array of objects of NumPy's": _numpy,
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_every_payload_runs_where_a_pickle_is_loaded(payload: str, tmp_path: Path) -> None:
    """Without this, the tests below would pass for payloads that do nothing."""
    file, trap = tmp_path / "file", tmp_path / "ran"
    PAYLOADS[payload](file, trap)
    if payload == "an array of objects of NumPy's":
        np.load(file, allow_pickle=True)
    elif "PyTorch" in payload:
        torch.load(file, weights_only=False)
    else:
        pickle.loads(file.read_bytes())
    assert trap.exists()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy"
    toys.build("cogvideox-t2v", path)
    return path


def load(folder: Path) -> object:
    config = ModelConfig.model_validate({"name": "cogvideox-t2v", "path": str(folder), "device": "cpu"})
    return load_model(config, RunFolder(folder.parent / "run"))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a critic's weights": ("vggt.pt", lambda file: VggtCritic(weights=str(file))),
    "a critic's weights under another name": ("da3.safetensors", lambda file: DepthAnythingCritic(weights=str(file))),
    "the weights in a critic's folder": ("vggt/model.pt", lambda file: VggtCritic(weights=str(file.parent))),
    "the weights of LPIPS": ("vgg.pth", lambda file: Lpips("vgg", weights=file)),
    "an adapter": ("lora.safetensors", adapter_fingerprint),
    "an adapter's folder": ("adapter/adapter_model.bin", lambda file: adapter_fingerprint(file.parent)),
    "kept latents": ("latents.safetensors", tensors.read_tensors),
    "a file to convert": ("model.ckpt", convert),
}
"""Where the program reads tensors -> name of the file, and what reads it."""


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("reader", READERS)
def test_no_pickle_is_run_wherever_it_lies(reader: str, payload: str, tmp_path: Path, trap: Path) -> None:
    name, read = READERS[reader]
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    PAYLOADS[payload](file, trap)
    attempt(KIND, lambda: read(file), expect="clear sentence")
    assert not trap.exists()


PARTS = [
    *("transformer/diffusion_pytorch_model.safetensors", "transformer/diffusion_pytorch_model.bin"),
    *("text_encoder/pytorch_model.bin", "vae/diffusion_pytorch_model.bin", "tokenizer/tokenizer.json"),
    "scheduler/scheduler_config.json",
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("payload", ["a pickle of protocol 2", "an archive of PyTorch's"])
def test_no_pickle_in_a_model_folder_is_run(part: str, payload: str, model: Path, tmp_path: Path, trap: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    for file in (folder / part).parent.glob("*.safetensors"):
        file.unlink()
    (folder / part).unlink(missing_ok=True)
    PAYLOADS[payload](folder / part, trap)
    attempt(KIND, lambda: load(folder), expect="clear sentence", names="model")


MODULE = "import os; os.mkdir({trap!r})\nclass Mine: pass\ndef load(*a, **k): pass\n"


def _set(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


CLASSES: dict[str, Callable[[Path], object]] = {
    "a class of a module": lambda at: _set(at / "model_index.json", transformer=["hostile", "Mine"]),
    "a class of the system": lambda at: _set(at / "model_index.json", vae=["os", "system"]),
    "a class of diffusers' downloads": lambda at: _set(
        at / "model_index.json", vae=["diffusers_modules.local.hostile", "Mine"]
    ),
    "a pipeline": lambda at: _set(at / "model_index.json", _class_name=["hostile", "Mine"]),
    "a class in a part": lambda at: _set(at / "transformer/config.json", _class_name="hostile.Mine"),
    "auto_map of a transformer": lambda at: _set(at / "transformer/config.json", auto_map={"AutoModel": "hostile.Mine"}),
    "auto_map of a text encoder": lambda at: _set(at / "text_encoder/config.json", auto_map={"AutoModel": "hostile.Mine"}),
    "auto_map of a tokenizer": lambda at: _set(
        at / "tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["hostile.Mine", None]}, tokenizer_class="Mine"
    ),
    "a scheduler": lambda at: _set(at / "model_index.json", scheduler=["hostile", "Mine"]),
}


@pytest.mark.parametrize("what", CLASSES)
def test_no_class_of_a_folders_own_is_imported(
    what: str, model: Path, tmp_path: Path, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        (place / "hostile.py").write_text(MODULE.format(trap=str(trap)), encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    CLASSES[what](folder)
    attempt(KIND, lambda: load(folder), names="model")


@pytest.mark.parametrize("tag", ["object/apply:os.mkdir", "object/new:os.mkdir", "name:os.mkdir", "module:os"])
@pytest.mark.parametrize("where", ["a recipe", "a setting", "a run's recipe"])
def test_no_tag_of_a_recipe_is_run(where: str, tag: str, tmp_path: Path, trap: Path) -> None:
    value = f"!!python/{tag} [{trap}]"
    if where == "a setting":
        call = lambda: load_recipe("smoke-test", [f"model.path={value}"])  # noqa: E731
    else:
        path = tmp_path / "recipe.yaml"
        path.write_text(f"model:\n  path: {value}\n", encoding="utf-8")
        call = lambda: load_recipe(path) if where == "a recipe" else load_run_recipe(tmp_path)  # noqa: E731
    attempt(KIND, call, expect="clear sentence", names="tag")


@pytest.mark.parametrize(
    "name", ["hostile", "hostile:Mine", "hostile.Mine", "os:system", "./hostile.py", "../hostile", "builtins:eval"]
)
def test_a_name_of_a_plug_in_is_a_name_and_nothing_to_import(
    name: str, tmp_path: Path, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostile.py").write_text(MODULE.format(trap=str(trap)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for setting in ("score.critic", "model.name"):
        attempt(KIND, lambda: load_recipe("smoke-test", [f"{setting}={name}"]), expect="clear sentence", names=name)  # noqa: B023
    attempt(KIND, lambda: shell("score", "clip.mp4", "--critic", name), expect="clear sentence", names=name)


def test_the_base_classes_of_an_adapters_config_are_not_imported(
    tmp_path: Path, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostile.py").write_text(MODULE.format(trap=str(trap)), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["to_q"]}
    config["auto_mapping"] = {"base_model_class": "Mine", "parent_library": "hostile"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    layer = "base_model.model.blocks.0.attn1.to_q"
    matrices = {f"{layer}.lora_A.weight": torch.ones(2, 4), f"{layer}.lora_B.weight": torch.ones(4, 2)}
    tensors.save_tensors(matrices, tmp_path / "adapter_model.safetensors", fingerprint="x")
    attempt(KIND, lambda: adapter_fingerprint(tmp_path), expect="right result")


PROGRAMS = {
    "PostScript": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(%pipe%mkdir TRAP) (w) file closefile\nshowpage\n",
    "a drawing": '<svg xmlns="http://www.w3.org/2000/svg"><script>mkdir TRAP</script></svg>',
    "a list of clips": "#EXTM3U\n#EXTINF:1,\nsubfile:mkdir TRAP\n",
    "ImageMagick's": "push graphic-context\nfill 'url(https://x|mkdir TRAP)'\n",
}


@pytest.mark.parametrize("name", ["first.png", "first.eps", "first.jpg"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_interpreter_is_started_for_an_image(program: str, name: str, tmp_path: Path, trap: Path) -> None:
    (tmp_path / name).write_text(PROGRAMS[program].replace("TRAP", str(trap)), encoding="utf-8")
    attempt(KIND, lambda: read_image(tmp_path / name), expect="clear sentence", names=name)


def test_no_module_in_the_folder_of_a_command_is_imported(tmp_path: Path, trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With workers: tests/workers/test_ray_pool.py."""
    for name in ("hostile", "sitecustomize", "usercustomize", "conftest"):
        (tmp_path / f"{name}.py").write_text(MODULE.format(trap=str(trap)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_shell("list", "critics").status == 0
