"""VGGT, against what the original returns, and by its laws."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from videogpa.convert import convert
from videogpa.critics.networks.vggt import HEADS, Vggt, VggtConfig, unread
from videogpa.critics.networks.weights import differences, find_weights, in_hubs_cache
from videogpa.errors import UserError


@pytest.fixture(scope="module")
def folder(golden_vggt: Path) -> Path:
    return golden_vggt


@pytest.fixture(scope="module")
def model(folder: Path) -> Vggt:
    return Vggt.from_folder(folder)


@pytest.fixture(scope="module")
def case(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "case.safetensors")


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("frames_per_chunk", [1, 2, 8])
def test_it_is_the_original(model: Vggt, case: dict[str, Tensor], frames_per_chunk: int) -> None:
    predicted = model(case["images"], frames_per_chunk=frames_per_chunk)._asdict()
    assert set(predicted) == set(case) - {"images"}
    for name, found in predicted.items():
        assert found.shape == case[name].shape
        assert error(found, case[name]) < 1e-5, name  # asked: 1e-4


def test_every_tensor_of_the_1b_checkpoint_has_its_place(golden: Path) -> None:
    shapes = json.loads(gzip.decompress((golden / "vggt_1b_shapes.json.gz").read_bytes()))
    assert len(shapes) == 1797
    with torch.device("meta"):
        model = Vggt(VggtConfig())
    read = {name: tuple(shape) for name, shape in shapes.items() if not name.startswith(unread(HEADS))}
    assert differences(read, model) == []
    skipped = set(shapes) - set(read)
    assert {name.split(".")[0] for name in skipped} == {"track_head", "aggregator"}
    assert {name for name in skipped if name.startswith("aggregator")} == {"aggregator.patch_embed.mask_token"}


def test_only_the_heads_asked_for_are_there(folder: Path, model: Vggt, case: dict[str, Tensor]) -> None:
    lean = Vggt.from_folder(folder, heads=("camera", "depth"))
    assert lean.point_head is None
    predicted, full = lean(case["images"]), model(case["images"])
    assert predicted.world_points is None
    assert predicted.world_points_conf is None
    assert torch.equal(predicted.depth, full.depth)
    assert torch.equal(predicted.pose_enc, full.pose_enc)
    points = Vggt.from_folder(folder, heads=("point",))(case["images"])
    assert points.pose_enc is points.extrinsic is points.intrinsic is points.depth is None
    assert torch.equal(points.world_points, full.world_points)


def test_layers_that_are_not_kept_are_not_missed() -> None:
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "vit_depth": 1, "depth": 7, "num_heads": 2, "img_size": 28, "camera_trunk_depth": 1}
    heads = {"dpt_layers": (1, 2, 4, 5), "dpt_features": 8, "dpt_out_channels": (4, 4, 8, 8), "camera_heads": 2}
    model = Vggt(VggtConfig(**sizes, **heads)).eval()
    images = torch.rand(1, 3, 3, 28, 42)
    predicted = model(images)
    trunk = model.aggregator
    assert [layer for layer, _ in trunk.layers(images, 8)] == [1, 2, 4, 5, 6]  # the last is the camera's
    trunk.read = set(range(7))
    kept = [torch.cat(halves, dim=-1) for _, halves in trunk.layers(images, 8)]
    maps = [model.depth_head.project(i, kept[layer][0, :, trunk.special :], 2, 3) for i, layer in enumerate((1, 2, 4, 5))]
    raw = model.depth_head(maps)
    assert torch.allclose(predicted.depth[0, ..., 0], raw[:, 0].exp(), rtol=1e-5)
    assert torch.allclose(predicted.pose_enc, model.camera_head(kept[6][:, :, 0]), atol=1e-6)


def test_the_first_frame_is_the_reference(model: Vggt, case: dict[str, Tensor]) -> None:
    images = case["images"]
    straight = model(images)
    order = [0, 2, 1]
    swapped = model(images[:, order])
    assert error(swapped.depth, straight.depth[:, order]) < 1e-5
    assert error(swapped.pose_enc, straight.pose_enc[:, order]) < 1e-5
    other = [1, 0, 2]
    assert error(model(images[:, other]).pose_enc, straight.pose_enc[:, other]) > 1e-2


def test_clips_of_a_batch_do_not_see_each_other(model: Vggt) -> None:
    images = torch.rand(2, 2, 3, 42, 56)
    together = model(images, frames_per_chunk=3)
    for i in range(2):
        alone = model(images[i : i + 1])
        for name in together._fields:
            assert error(getattr(together, name)[i : i + 1], getattr(alone, name)) < 1e-5, name


@pytest.mark.parametrize("size", [(14, 14), (70, 14), (14, 98), (56, 56)])
def test_odd_sizes(model: Vggt, size: tuple[int, int]) -> None:
    predicted = model(torch.rand(1, 1, 3, *size))
    assert predicted.depth.shape == (1, 1, *size, 1)
    assert predicted.world_points.shape == (1, 1, *size, 3)
    assert bool(predicted.depth_conf.isfinite().all())
    assert predicted.intrinsic[0, 0, :2, 2].tolist() == [size[1] / 2, size[0] / 2]


def test_a_size_that_is_no_multiple_of_the_patch_is_refused(model: Vggt) -> None:
    with pytest.raises(ValueError, match="multiples of 14"):
        model(torch.rand(1, 2, 3, 50, 56))


def test_half_the_trunk_s_precision_is_close(folder: Path, model: Vggt, case: dict[str, Tensor]) -> None:
    half = Vggt.from_folder(folder, precision=torch.bfloat16)
    assert half.aggregator.frame_blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    assert half.aggregator.frame_blocks[0].norm1.weight.dtype == torch.float32
    assert half.depth_head.norm.weight.dtype == torch.float32
    predicted = half(case["images"])
    assert predicted.depth.dtype == torch.float32
    assert error(predicted.depth, case["depth"]) < 0.05  # 8 bits of mantissa through 10 blocks
    assert error(predicted.pose_enc, case["pose_enc"]) < 0.05


def copy(folder: Path, target: Path, change: dict[str, Tensor | None], config: dict[str, object] | None = None) -> Path:
    """A copy of the weights with some tensors replaced (None: left out) and some settings changed."""
    target.mkdir()
    tensors = {**load_file(folder / "weights.safetensors"), **change}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, target / "model.safetensors")
    settings = {**json.loads((folder / "config.json").read_text()), **(config or {})}
    (target / "config.json").write_text(json.dumps(settings))
    return target


def test_the_tracking_head_is_skipped_and_anything_else_refused(folder: Path, tmp_path: Path) -> None:
    odd = torch.zeros(3)
    tracked = copy(
        folder, tmp_path / "tracked", {"track_head.a": odd, "aggregator.patch_embed.mask_token": odd.clone()}, {"new": 1}
    )
    assert Vggt.from_folder(tracked).config == Vggt.from_folder(folder).config
    with pytest.raises(UserError, match=r"1 missing: camera_head.token_norm.bias; 1 unexpected: depth_head.odd"):
        Vggt.from_folder(copy(folder, tmp_path / "a", {"camera_head.token_norm.bias": None, "depth_head.odd": odd}))
    with pytest.raises(UserError, match=r"of another shape: camera_head.token_norm.bias \(\[3\], expected \[128\]\)"):
        Vggt.from_folder(copy(folder, tmp_path / "b", {"camera_head.token_norm.bias": odd}))
    with pytest.raises(UserError, match=r"missing: .*, and \d+ more"):
        Vggt.from_folder(copy(folder, tmp_path / "c", {}, {"depth": 6}))


def test_a_pt_file_is_converted_and_then_the_same(folder: Path, tmp_path: Path, case: dict[str, Tensor]) -> None:
    torch.save(load_file(folder / "weights.safetensors"), tmp_path / "model.pt")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    for given in (tmp_path, tmp_path / "model.pt"):
        with pytest.raises(UserError, match=r"model\.pt is a pickle .* `python -m videogpa.convert .*model\.pt`"):
            Vggt.from_folder(given)
    convert(tmp_path / "model.pt")
    images = case["images"][:, :, :, :28, :28]
    assert torch.equal(Vggt.from_folder(tmp_path)(images).depth, Vggt.from_folder(folder)(images).depth)


def in_cache(monkeypatch: pytest.MonkeyPatch, cache: Path, owner: str, name: str) -> Path:
    """The folder of a repository in the hub's cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    repository, commit = cache / f"models--{owner}--{name}", 40 * "a"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return snapshot


def test_a_pt_file_is_read_from_the_repositories_of_the_cards_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: dict[str, Tensor]
) -> None:
    for owner, name in (("facebook", "VGGT-1B-Commercial"), ("somebody", "vggt")):
        snapshot = in_cache(monkeypatch, tmp_path, owner, name)
        torch.save(load_file(folder / "weights.safetensors"), snapshot / "vggt_1B_commercial.pt")
        shutil.copy(folder / "config.json", snapshot)
    images = case["images"][:, :, :, :28, :28]
    published = Vggt.from_folder("facebook/VGGT-1B-Commercial")
    assert torch.equal(published(images).depth, Vggt.from_folder(folder)(images).depth)
    with pytest.raises(UserError, match="somebody/vggt is not on this machine"):
        Vggt.from_folder("somebody/vggt")


def test_a_hub_id_is_found_in_the_hubs_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = in_cache(monkeypatch, tmp_path, "owner", "name")
    shutil.copy(folder / "config.json", snapshot)
    shutil.copy(folder / "weights.safetensors", snapshot / "a_name_of_its_own.safetensors")
    assert find_weights("owner/name") == snapshot / "a_name_of_its_own.safetensors"
    assert Vggt.from_folder("owner/name").config.embed_dim == 64
    assert in_hubs_cache("owner/name")
    assert not in_hubs_cache("owner/other")
    with pytest.raises(
        UserError,
        match=r"owner/other is not on .* could not be fetched from the hub.*`hf download owner/other --local-dir other`",
    ):
        find_weights("owner/other")


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a folder, a \.safetensors file, or a hub id"):
        find_weights(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no weights"):
        find_weights(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"several weights \(a.safetensors, b.safetensors\): name the file"):
        find_weights(tmp_path)
    with pytest.raises(UserError, match=r"a\.safetensors is a text and holds no weights"):
        Vggt.from_folder(tmp_path / "a.safetensors")
