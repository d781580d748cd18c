"""Folders of video models: parts that are damaged, hostile, missing or of something else, and a hub that is out of reach."""

import itertools
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import broken
import diffusers
import pytest
import torch
from attempts import attempt
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from videogpa.config import ModelConfig
from videogpa.models import toys
from videogpa.models.loading import check_size, load_model, resolve_model_path
from videogpa.storage.run_folder import RunFolder

KIND = "model folders"
NAMES = {"cogvideox-i2v": "cogvideox-i2v", "wan2.1-i2v": "wan-i2v", "wan2.2-t2v-a14b": "wan-t2v"}  # toy -> entry
JSON_FILES = [
    *("model_index.json", "transformer/config.json", "vae/config.json", "text_encoder/config.json"),
    *("scheduler/scheduler_config.json", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),
]
WEIGHTS = [
    *("transformer/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"),
    "text_encoder/model.safetensors",
]
_number = itertools.count()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toys, and copies of them by hard links."""
    folder = tmp_path_factory.mktemp("models")
    for toy in NAMES:
        toys.build(toy, folder / toy)
    return folder


def copy(room: Path, toy: str) -> Path:
    return broken.linked(room / toy, room / f"model_{next(_number)}")


def settings(path: Path | str, toy: str = "cogvideox-i2v") -> ModelConfig:
    return ModelConfig.model_validate({"name": NAMES[toy], "path": str(path), "device": "cpu"})


def use(folder: Path | str, toy: str = "cogvideox-i2v") -> Any:
    """Check and load a model as the stages do."""
    run, chosen = RunFolder(Path(folder).parent / "run"), settings(folder, toy)
    check_size(chosen, run, frames=9, height=64, width=64)
    return load_model(chosen, run)


@given(toy=st.sampled_from(sorted(NAMES)), file=st.sampled_from(JSON_FILES), value=broken.ODD_VALUES, data=st.data())
def test_a_value_is_bounded_before_anything_is_built(
    room: Path, toy: str, file: str, value: object, data: st.DataObject
) -> None:
    folder = copy(room, toy)
    key = data.draw(st.sampled_from(sorted(json.loads((folder / file).read_text(encoding="utf-8")))))
    broken.replace(folder / file, broken.changed_json(folder / file, key, value))
    attempt(KIND, lambda: use(folder, toy), names="" if key.startswith("sample_") else folder.name, seconds=20)


@given(toy=st.sampled_from(sorted(NAMES)), file=st.sampled_from(JSON_FILES), data=st.data())
def test_a_damaged_configuration_is_named(room: Path, toy: str, file: str, data: st.DataObject) -> None:
    folder = copy(room, toy)
    broken.replace(folder / file, data.draw(broken.pieces((folder / file).read_bytes())))
    attempt(KIND, lambda: use(folder, toy), names=folder.name, seconds=20)


@pytest.mark.parametrize("file", ["model_index.json", "tokenizer/tokenizer.json", "vae/config.json", WEIGHTS[0], WEIGHTS[2]])
@pytest.mark.parametrize("what", broken.IN_ITS_PLACE)
def test_another_file_in_its_place_is_named(room: Path, file: str, what: str) -> None:
    folder = copy(room, "cogvideox-i2v")
    broken.put(folder / file, what)
    attempt(KIND, lambda: use(folder), expect="clear sentence", names=folder.name, seconds=20)


@given(toy=st.sampled_from(sorted(NAMES)), file=st.sampled_from(WEIGHTS), data=st.data())
def test_torn_weights_are_named(room: Path, toy: str, file: str, data: st.DataObject) -> None:
    folder = copy(room, toy)
    whole = (folder / file).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    kept = data.draw(st.one_of(st.integers(0, header), st.integers(header, len(whole) - 1)))
    broken.replace(folder / file, whole[:kept])
    attempt(KIND, lambda: use(folder, toy), expect="clear sentence", names=Path(file).name, seconds=20)


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "nan": lambda tensor: torch.full_like(tensor, torch.nan),
    "int8": lambda tensor: tensor.to(torch.int8),
    "flat": lambda tensor: tensor.flatten()[:-1].clone(),
    "one more axis": lambda tensor: tensor[None].clone(),
    "missing": lambda tensor: None,
}


@given(
    toy=st.sampled_from(sorted(NAMES)), file=st.sampled_from(WEIGHTS), change=st.sampled_from(sorted(CHANGES)), data=st.data()
)
def test_a_tensor_that_is_not_right_is_named(room: Path, toy: str, file: str, change: str, data: st.DataObject) -> None:
    folder = copy(room, toy)
    tensors = load_file(folder / file)
    chosen = data.draw(st.sampled_from(sorted(tensors)))
    tensors[chosen] = CHANGES[change](tensors[chosen])
    (folder / file).unlink()
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / file, metadata={"format": "pt"})
    attempt(KIND, lambda: use(folder, toy), expect="clear sentence", names=folder.name, seconds=20)


def change_json(path: Path, **values: object) -> None:
    content = {**json.loads(path.read_text(encoding="utf-8")), **values}
    broken.replace(path, json.dumps(content).encode())


def shards(folder: Path, name: str, *, metadata: object = None) -> None:
    """Replace the transformer's weights by one shard of this name, which the list names."""
    own = folder / "transformer"
    tensors = load_file(own / "diffusion_pytorch_model.safetensors")
    (own / "diffusion_pytorch_model.safetensors").rename(own / "shard.safetensors")
    index = {"metadata": {} if metadata is None else metadata, "weight_map": dict.fromkeys(tensors, name)}
    (own / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def more_tokens(path: Path) -> None:
    """Add a token that the text encoder has no embedding for."""
    content = json.loads(path.read_text(encoding="utf-8"))
    token = {**content["added_tokens"][-1], "id": len(content["model"]["vocab"]), "content": "<new>"}
    broken.replace(path, json.dumps({**content, "added_tokens": [*content["added_tokens"], token]}).encode())


def code_beside(folder: Path, name: str = "transformer/mine.py") -> None:
    """Code of the folder's own, which makes a folder when it is imported."""
    (folder / name).write_text(f"import os; os.mkdir({str(folder / 'ran')!r})")


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a class of its own": (lambda at: change_json(at / "model_index.json", transformer=["mine", "Mine"]), "mine Mine"),
    "code of its own": (
        lambda at: (code_beside(at), change_json(at / "model_index.json", transformer=[["mine.py"], "M"])), "code"),
    "a pipeline of its own": (
        lambda at: (code_beside(at, "pipeline.py"), change_json(at / "model_index.json", _class_name=["pipeline", "M"])),
        "code"),
    "a pipe beside the tokenizer": (lambda at: broken.put(at / "tokenizer/added_tokens.json", "a pipe"), "added_tokens.json"),
    "a tokenizer of more tokens": (lambda at: more_tokens(at / "tokenizer/tokenizer.json"), "do not belong together"),
    "auto_map": (lambda at: change_json(at / "text_encoder/config.json", auto_map={"AutoModel": "mine.M"}), "auto_map"),
    "an unknown library": (lambda at: change_json(at / "model_index.json", vae=["os", "system"]), "os system"),
    "a null part": (lambda at: change_json(at / "model_index.json", vae=[None, None]), "names no vae"),
    "no tokenizer in the list": (lambda at: change_json(at / "model_index.json", tokenizer=None), "names no tokenizer"),
    "a tokenizer for the text encoder": (
        lambda at: change_json(at / "model_index.json", text_encoder=["transformers", "T5Tokenizer"]), "T5Tokenizer"),
    "another pipeline's folder": (
        lambda at: broken.replace(at / "model_index.json", json.dumps({
            "_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}).encode()),
        "StableDiffusion"),
    "quantised": (
        lambda at: change_json(at / "transformer/config.json", quantization_config={"quant_method": "gguf"}), "quantised"),
    "more layers than weights": (lambda at: change_json(at / "transformer/config.json", num_layers=4), "missing"),
    "fewer layers than weights": (lambda at: change_json(at / "transformer/config.json", num_layers=1), "unexpected"),
    "more layers of the text encoder": (lambda at: change_json(at / "text_encoder/config.json", num_layers=3), "text_encoder"),
    "ten million layers": (lambda at: change_json(at / "transformer/config.json", num_layers=10**7), "num_layers"),
    "a patch of 0": (lambda at: change_json(at / "transformer/config.json", patch_size=0), "patch_size"),
    "a table of terabytes": (
        lambda at: change_json(at / "transformer/config.json", sample_width=1024, sample_height=1024, sample_frames=1024,
                               use_rotary_positional_embeddings=False), "table of positions"),
    "no transformer": (lambda at: (at / "transformer/config.json").unlink(), "transformer"),
    "a shard outside": (lambda at: shards(at, "../shard.safetensors"), "../shard.safetensors"),
    "an absolute shard": (lambda at: shards(at, "/dev/zero"), "/dev/zero"),
    "a missing shard": (lambda at: shards(at, "gone.safetensors"), "gone.safetensors"),
    "a list of shards that is none": (lambda at: shards(at, "shard.safetensors", metadata=[]), "list of shards"),
    "a pickle alone": (
        lambda at: (broken.put(at / WEIGHTS[0], "nothing"),
                    broken.put(at / "transformer/diffusion_pytorch_model.bin", "a pickle")), "python -m videogpa.convert"),
    "a variant alone": (
        lambda at: (at / WEIGHTS[0]).rename(at / "transformer/diffusion_pytorch_model.fp16.safetensors"), "fp16"),
    "a vocabulary of numbers": (lambda at: change_json(at / "tokenizer/tokenizer.json", model={"vocab": [1]}), "tokenizer"),
    "no vocabulary": (lambda at: (at / "tokenizer/tokenizer.json").unlink(), "other words"),
    "a schedule of no name": (lambda at: change_json(at / "scheduler/scheduler_config.json", beta_schedule="x"), "scheduler"),
    "ten billion timesteps": (
        lambda at: change_json(at / "scheduler/scheduler_config.json", num_train_timesteps=10**10), "num_train_timesteps"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_missing_hostile_or_not_supported_is_named(room: Path, what: str) -> None:
    folder = copy(room, "cogvideox-i2v")
    do, expected = HOSTILE[what]
    do(folder)
    attempt(KIND, lambda: use(folder), expect="clear sentence", names=expected, seconds=20)
    assert not (folder / "ran").exists()


SCHEDULERS = sorted(name for name in dir(diffusers) if name.endswith("Scheduler"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of old schedulers
@given(toy=st.sampled_from(sorted(NAMES)), scheduler=st.sampled_from(SCHEDULERS))
def test_a_scheduler_of_another_kind_works_or_is_named(room: Path, toy: str, scheduler: str) -> None:
    folder = copy(room, toy)
    change_json(folder / "model_index.json", scheduler=["diffusers", scheduler])
    attempt(KIND, lambda: use(folder, toy), names="scheduler", seconds=20)


def test_whole_shards_and_stray_files_are_right(room: Path) -> None:
    folder = copy(room, "cogvideox-i2v")
    shards(folder, "shard.safetensors")
    code_beside(folder)
    broken.put(folder / "transformer" / "stray.bin", "a pickle")
    broken.put(folder / "README.md", "a pipe")
    whole = use(room / "cogvideox-i2v").transformer.state_dict()
    found = attempt(KIND, lambda: use(folder), expect="right result").transformer.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole.items())
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("toy", [toy for toy in NAMES if toy != "cogvideox-i2v"])
def test_a_folder_of_another_family_is_named(room: Path, toy: str) -> None:
    attempt(KIND, lambda: use(room / toy), expect="clear sentence", names="no CogVideoX model")
    attempt(KIND, lambda: use(room / "cogvideox-i2v", toy), expect="clear sentence", names="no Wan model")


PATHS = [
    *("toy:", "toy:sora", "toy:..", "toy:../x", "tiny:", "tiny:sora", "mini:x", " ", ".", "..", "a/b/c", "~nobody/x"),
    *("x" * 4000, "a\0b", "/dev/zero", "/proc/self/mem", "owner/name.", "http://huggingface.co/a/b", "é/ü", "C:\\models"),
]


@given(st.one_of(st.sampled_from(PATHS), st.text(min_size=1, max_size=12).filter(lambda text: "/" not in text)))
def test_a_path_that_is_no_model_is_named(room: Path, path: str) -> None:
    def look() -> None:
        run = RunFolder(room / "run")
        check_size(settings(path), run, frames=9, height=64, width=64)

    attempt(KIND, look, expect="clear sentence", seconds=10)


def test_an_unknown_toy_or_tiny_model_lists_what_there_is(room: Path) -> None:
    run = RunFolder(room / "run")
    for path, known in (("toy:sora", "cogvideox-i2v"), ("tiny:sora", "tiny:i2v")):
        attempt(KIND, lambda path=path: resolve_model_path(settings(path), run), expect="clear sentence", names=known)


@pytest.mark.parametrize("choice", [True, False])
def test_a_hub_out_of_reach_is_said_at_once(tmp_path: Path, room: Path, choice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the network is forbidden by HF_HUB_OFFLINE or not there; forbidden, no socket is opened."""
    asked: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", choice)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    use(room / "cogvideox-i2v")  # what is here needs no network
    assert not asked
    began = time.monotonic()
    by_hand = "`hf download zai-org/CogVideoX-5b-I2V --local-dir CogVideoX-5b-I2V`"
    for call in (
        lambda: check_size(settings("zai-org/CogVideoX-5b-I2V"), RunFolder(tmp_path), frames=9, height=64, width=64),
        lambda: load_model(settings("zai-org/CogVideoX-5b-I2V"), RunFolder(tmp_path)),
    ):
        said = attempt(KIND, call, expect="clear sentence", names=by_hand)
        assert "set model.path to its path" in str(said)
    attempt(
        KIND, lambda: use("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "wan2.2-t2v-a14b"), expect="clear sentence", names="hf download"
    )
    assert time.monotonic() - began < 5
    assert bool(asked) != choice
