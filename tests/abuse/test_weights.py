"""Weights of critics: config.json and weights that are damaged, hostile or of something else; a hub out of reach."""

import itertools
import json
import socket
import time
from pathlib import Path
from typing import Any

import broken
import pytest
import torch
from attempts import attempt, shell
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from videogpa.critics.depth_anything import DepthAnythingCritic
from videogpa.critics.networks.depth_anything import UNREAD, DepthAnything3
from videogpa.critics.networks.vggt import Vggt
from videogpa.critics.vggt import VggtCritic
from videogpa.scoring.lpips import Lpips, fetch_vgg
from videogpa.video.writing import write_video

NETWORKS = {"vggt": Vggt, "da3": DepthAnything3}
KIND = "weights of critics"
_number = itertools.count()


@pytest.fixture(scope="module")
def folders(golden_vggt: Path, golden_da3: Path) -> dict[str, Path]:
    return {"vggt": golden_vggt, "da3": golden_da3}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


def copy(source: Path, room: Path) -> Path:
    return broken.linked(source, room / f"network_{next(_number)}")


def load(name: str, folder: Path) -> Any:
    return NETWORKS[name].from_folder(folder)


@given(name=st.sampled_from(sorted(NETWORKS)), value=broken.ODD_VALUES, data=st.data())
def test_a_size_is_bounded_before_anything_is_built(
    folders: dict[str, Path], room: Path, name: str, value: object, data: st.DataObject
) -> None:
    folder = copy(folders[name], room)
    key = data.draw(st.sampled_from(sorted(json.loads((folder / "config.json").read_text()))))
    broken.replace(folder / "config.json", broken.changed_json(folder / "config.json", key, value))
    attempt(KIND, lambda: load(name, folder), names=folder.name, seconds=10)


@given(name=st.sampled_from(sorted(NETWORKS)), data=st.data())
def test_a_damaged_config_is_named(folders: dict[str, Path], room: Path, name: str, data: st.DataObject) -> None:
    folder = copy(folders[name], room)
    broken.replace(folder / "config.json", data.draw(broken.pieces((folder / "config.json").read_bytes())))
    attempt(KIND, lambda: load(name, folder), names=folder.name, seconds=10)


@pytest.mark.parametrize("file", ["config.json", "weights.safetensors"])
@pytest.mark.parametrize("what", broken.IN_ITS_PLACE)
def test_another_file_in_its_place_is_named(folders: dict[str, Path], tmp_path: Path, file: str, what: str) -> None:
    folder = broken.linked(folders["da3"], tmp_path / "network")
    (folder / "case.safetensors").unlink()
    broken.put(folder / file, what)
    attempt(KIND, lambda: load("da3", folder), expect="clear sentence", names="network", seconds=10)
    attempt(KIND, lambda: load("da3", folder / "weights.safetensors"), expect="clear sentence", names="network", seconds=10)


@given(data=st.data())
def test_torn_weights_are_named(folders: dict[str, Path], room: Path, data: st.DataObject) -> None:
    folder = copy(folders["vggt"], room)
    whole = (folder / "weights.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    kept = data.draw(st.one_of(st.integers(0, header), st.integers(header, len(whole) - 1)))
    more = data.draw(st.sampled_from([b"", b"", b"x"]))
    broken.replace(folder / "weights.safetensors", whole[:kept] + more)
    expect = None if kept + len(more) == len(whole) else "clear sentence"
    attempt(KIND, lambda: load("vggt", folder), expect=expect, names="weights.safetensors")
    where = data.draw(st.integers(0, header - 1))
    inserted = data.draw(st.binary(min_size=1, max_size=3))
    broken.replace(folder / "weights.safetensors", whole[:where] + inserted + whole[where:])
    attempt(KIND, lambda: load("vggt", folder), expect="clear sentence", names="weights.safetensors")


def changes() -> dict[str, Any]:
    return {
        "nan": lambda tensor: torch.full_like(tensor, torch.nan),
        "inf": lambda tensor: torch.full_like(tensor, -torch.inf),
        "int8": lambda tensor: tensor.to(torch.int8),
        "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
        "complex": lambda tensor: tensor.to(torch.complex64),
        "flat": lambda tensor: tensor.flatten()[:-1].clone(),
        "one more axis": lambda tensor: tensor[None].clone(),
        "empty": lambda tensor: torch.zeros(0),
        "missing": lambda tensor: None,
    }


@given(name=st.sampled_from(sorted(NETWORKS)), change=st.sampled_from(sorted(changes())), data=st.data())
def test_a_tensor_that_is_not_right_is_named(
    folders: dict[str, Path], room: Path, name: str, change: str, data: st.DataObject
) -> None:
    folder = copy(folders[name], room)
    tensors = load_file(folder / "weights.safetensors")
    read = [key for key in sorted(tensors) if not key.removeprefix("model.").startswith(UNREAD)]
    chosen = data.draw(st.sampled_from(read))
    tensors[chosen] = changes()[change](tensors[chosen])
    (folder / "weights.safetensors").unlink()
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, folder / "weights.safetensors")
    attempt(KIND, lambda: load(name, folder), expect="clear sentence", names=chosen.removeprefix("model."))


@pytest.mark.parametrize(
    "tensors",
    [
        {"lora_unet_x.lora_down.weight": "kohya"},
        {"diffusion_model.x.lora_A.weight": "ComfyUI"},
        {"transformer_blocks.0.norm1.linear.weight": "diffusers"},
        {"base_model.model.x.lora_A.weight": "PEFT"},
        {"x": "not the weights of this network"},
        {},
    ],
)
def test_weights_of_something_else_are_named(folders: dict[str, Path], tmp_path: Path, tensors: dict[str, str]) -> None:
    folder = broken.linked(folders["vggt"], tmp_path / "network")
    (folder / "weights.safetensors").unlink()
    save_file({name: torch.ones(1) for name in tensors}, folder / "weights.safetensors")
    expected = "".join(tensors.values()) or "weights.safetensors"
    attempt(KIND, lambda: load("vggt", folder), expect="clear sentence", names=expected)


SOURCES = [
    *("tiny:", "tiny:sora", "tiny:../x", "tiny:i2v", "toy:vggt", "", ".", "a/b/c", "../b", "~nobody/x", "x" * 5000, "a\0b/c"),
    *("/dev/zero", "owner/name.", "owner--x/y", "http://huggingface.co/a/b", "é/ü"),
]


@given(st.one_of(st.sampled_from(SOURCES), st.text(max_size=12)))
def test_a_source_that_is_none_is_named(source: str) -> None:
    attempt(KIND, lambda: VggtCritic(weights=source), expect="clear sentence", seconds=10)
    attempt(KIND, lambda: DepthAnythingCritic(weights=source), expect="clear sentence", seconds=10)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, and no network: names are not found."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["facebook/VGGT-1B-Commercial", "owner/name"])
def test_a_hub_out_of_reach_is_said_at_once(name: str) -> None:
    began = time.monotonic()
    said = attempt(KIND, lambda: VggtCritic(weights=name), expect="clear sentence", names=f"`hf download {name}")
    assert "does not answer" in str(said)
    attempt(KIND, lambda: DepthAnythingCritic(weights=name), expect="clear sentence", names=name)
    attempt(KIND, fetch_vgg, expect="clear sentence", names="VIDEOGPA_LPIPS_VGG")
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("offline")
def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(*_: object, **__: object) -> None:
        time.sleep(8)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    began = time.monotonic()
    attempt(KIND, lambda: VggtCritic(weights="owner/name"), expect="clear sentence", names="does not answer")
    assert time.monotonic() - began < 5


@given(what=st.sampled_from(sorted(broken.IN_ITS_PLACE)), ending=st.sampled_from(["safetensors", "pth"]))
def test_lpips_weights_that_are_none_are_named(room: Path, what: str, ending: str) -> None:
    path = room / f"lpips_{next(_number)}.{ending}"
    broken.put(path, what)
    attempt(KIND, lambda: Lpips("vgg", weights=path), expect="clear sentence", names=path.name, seconds=10)


@pytest.mark.parametrize("what", sorted(broken.IN_ITS_PLACE))
def test_the_command_names_weights_that_are_none(tmp_path: Path, what: str) -> None:
    path = tmp_path / "weights.safetensors"
    broken.put(path, what)
    write_video(tmp_path / "clip.mp4", torch.rand(9, 3, 32, 32), fps=8)
    arguments = (
        "score",
        str(tmp_path / "clip.mp4"),
        "--critic",
        "vggt",
        "--weights",
        str(path),
        "--out",
        str(tmp_path / "out"),
    )
    attempt(KIND, lambda: shell(*arguments), expect="clear sentence", names="weights.safetensors", seconds=20)
