"""Which kind of file lies at a path, what a file of weights seems to be, and the conversion of PyTorch's own files."""

import io
import json
import os
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from videogpa.convert import convert, read_checkpoint
from videogpa.errors import InvalidInput, MissingInput
from videogpa.weight_files import WHAT_TO_DO, kind_of_file, origin_of, read_header, read_tensors, require_finite


def saved(value: object, **options: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def arrays() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.ones(3))
    return stream.getvalue()


KINDS = {
    "pickle": [saved({"a": torch.ones(2)}), saved({"a": 1}, _use_new_zipfile_serialization=False), b"\x80\x04\x95\x00"],
    "git-lfs pointer": [b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n"],
    "HTML page": [b"<!DOCTYPE html><p>", b"\xef\xbb\xbf\n<html>", b"<?xml version='1.0'?><Error>AccessDenied</Error>"],
    "JSON": [b'{"a": 1}', b" [1]"],
    "GGUF": [b"GGUF\x03\x00\x00\x00" + bytes(32)],
    "HDF5": [b"\x89HDF\r\n\x1a\n" + bytes(32)],
    "NumPy": [arrays(), b"\x93NUMPY\x01\x00"],
    "zip": [zipped("model.safetensors", b"x"), b"PK\x03\x04"],
    "gzip": [b"\x1f\x8b\x08"],
    "tar": [bytes(257).replace(b"\0", b"x") + b"ustar\x00"],
    "empty": [b""],
    "text": [b"Not found", "zwölf".encode() * 500],
    "unknown": [b"\xff\xfe{\x00}\x00", bytes(64), b"\x80\x81\x82" * 9],
}


@pytest.mark.parametrize(("kind", "content"), [(kind, content) for kind, contents in KINDS.items() for content in contents])
def test_a_file_is_known_by_its_first_bytes(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert kind_of_file(path) == kind
    with pytest.raises(InvalidInput) as refusal:
        read_tensors(path)
    assert f"{path} {WHAT_TO_DO[kind].split(':')[0]}" in str(refusal.value)


def test_what_is_no_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as one:
        monkeypatch.chdir(tmp_path)  # a socket's path may have 107 bytes
        one.bind("socket")
        assert [kind_of_file(tmp_path / name) for name in ("pipe", "socket", "loop")] == 2 * ["not a file"] + ["unreadable"]
    assert kind_of_file("/dev/zero") == "not a file"
    assert kind_of_file(tmp_path) == "folder"
    assert kind_of_file("a\0b") == kind_of_file("x" * 5000) == "unreadable"
    assert kind_of_file(tmp_path / "nothing") == "missing"
    with pytest.raises(MissingInput, match="nothing, which should hold the adapter's weights"):
        read_tensors(tmp_path / "nothing", what="the adapter's weights")


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "x.anything"
    tensors = {"a": torch.randn(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.zeros(0)}
    save_file(tensors, path)
    assert kind_of_file(path) == "safetensors"
    assert {name: (entry.dtype, entry.shape) for name, entry in read_header(path).items()} == {
        "a": ("F32", (2, 3)), "b": ("BF16", (4,)), "c": ("F32", (0,)),
    }  # fmt: skip
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in read_tensors(path).items())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InvalidInput, match=r"x\.anything is damaged .*fetch or copy it again"):
        read_tensors(path)


def test_quantised_weights_and_nan_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(2), "b": torch.ones(2, dtype=torch.int8)}, path)
    with pytest.raises(InvalidInput, match=r"x\.safetensors holds 1 tensors that are no floating-point .* b \(I8\)"):
        read_tensors(path)
    with pytest.raises(InvalidInput, match=r"NaN or Inf in 1 tensors \(b\)"):
        require_finite(path, {"a": torch.ones(2), "b": torch.tensor([1, torch.nan])})


def test_an_origin_is_known_by_the_names_of_tensors() -> None:
    expected = {
        "lora_unet_blocks_0_attn.lora_down.weight": "a kohya LoRA",
        "base_model.model.blocks.0.attn1.to_q.lora_A.weight": "a PEFT adapter",
        "diffusion_model.blocks.0.q.lora_A.weight": "a ComfyUI LoRA",
        "transformer.blocks.0.attn1.to_q.lora_A.weight": "a diffusers LoRA",
        "somewhere.lora_up.weight": "a LoRA of another program",
        "model.diffusion_model.blocks.0.q.weight": "a single-file model for ComfyUI",
        "transformer_blocks.0.norm1.linear.weight": "a diffusers file (a CogVideoX transformer)",
        "decoder.up_blocks.0.conv.weight": "a diffusers file (a VAE)",
        "aggregator.camera_token": "VGGT",
        "anything": None,
    }
    assert {name: origin_of([name, "x"]) for name in expected} == expected


def test_a_folder_of_pytorch_files_is_converted_for_diffusers_and_transformers(tmp_path: Path) -> None:
    one, tied = torch.randn(3), torch.randn(2, 2)
    folder = tmp_path / "text_encoder"
    folder.mkdir()
    torch.save({"a": one}, folder / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": tied, "c": tied}, folder / "pytorch_model-00002-of-00002.bin")
    parts = {"a": 1, "b": 2, "c": 2}
    index = {"metadata": {}, "weight_map": {name: f"pytorch_model-0000{n}-of-00002.bin" for name, n in parts.items()}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    torch.save({"w": one}, tmp_path / "diffusion_pytorch_model.bin")
    names = [path.relative_to(tmp_path).as_posix() for path in convert(tmp_path)]
    assert sorted(names) == [
        "diffusion_pytorch_model.safetensors",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
    ]
    assert torch.equal(load_file(folder / "model-00002-of-00002.safetensors")["c"], tied)
    mapped = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))["weight_map"]
    assert mapped == {name: f"model-0000{n}-of-00002.safetensors" for name, n in parts.items()}


class Payload:
    """Makes a folder when it is unpickled by a careless reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("modern", [True, False])
def test_code_in_a_pytorch_file_does_not_run(modern: bool, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(saved({"a": Payload(tmp_path / "ran")}, _use_new_zipfile_serialization=modern))
    with pytest.raises(InvalidInput, match=r"x\.pt holds more than tensors"):
        convert(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(zipped("x/data.pkl", bytes(10**7)))
    with pytest.raises(InvalidInput, match="would unpack to 10,000,000 bytes"):
        read_checkpoint(tmp_path / "x.pt")
