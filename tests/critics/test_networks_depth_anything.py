import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from videogpa.critics.networks.depth_anything import UNREAD, DepthAnything3, Prediction
from videogpa.critics.networks.depth_anything_config import DepthAnything3Config
from videogpa.critics.networks.reference_view import choose_reference
from videogpa.critics.networks.weights import differences
from videogpa.errors import UserError
from videogpa.maths.cameras import invert

FIELDS = ("depth", "depth_conf", "extrinsics", "intrinsics")
PUBLISHED = {  # net.name, its three *_start, out_layers, head.features, head.out_channels of the released config.json
    "small": ("vits", 4, [5, 7, 9, 11], 64, [48, 96, 192, 384]),
    "base": ("vitb", 4, [5, 7, 9, 11], 128, [96, 192, 384, 768]),
    "large": ("vitl", 8, [11, 15, 19, 23], 256, [256, 512, 1024, 1024]),
}


def published_config(size: str) -> dict[str, Any]:
    name, start, out_layers, features, out_channels = PUBLISHED[size]
    starts = dict.fromkeys(("alt_start", "qknorm_start", "rope_start"), start)
    net = {"__object__": {"name": "DinoV2"}, "name": name, "out_layers": out_layers, "cat_token": True, **starts}
    head = {"__object__": {"name": "DualDPT"}, "output_dim": 2, "features": features, "out_channels": out_channels}
    return {"model_name": f"da3-{size}", "config": {"net": net, "head": head, "cam_enc": {}, "cam_dec": {}}}


@pytest.fixture(scope="module")
def folder(golden_da3: Path) -> Path:
    return golden_da3


@pytest.fixture(scope="module")
def model(folder: Path) -> DepthAnything3:
    return DepthAnything3.from_folder(folder)


@pytest.fixture(scope="module")
def cases(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "case.safetensors")


def assert_same(ours: Prediction, theirs: Prediction, tolerance: float = 1e-4) -> None:
    for name, mine, other in zip(FIELDS, ours, theirs, strict=True):
        assert mine.shape == other.shape, name
        assert float((mine - other).abs().max()) <= tolerance * float(other.abs().max()), name


def taken(prediction: Prediction, views: list[int]) -> Prediction:
    return Prediction(*(field[:, views] for field in prediction))


@pytest.mark.parametrize("case", ["0", "1"])
def test_it_returns_what_the_original_returns(case: str, model: DepthAnything3, cases: dict[str, Tensor]) -> None:
    assert_same(model(cases[f"{case}.images"]), Prediction(*(cases[f"{case}.{name}"] for name in FIELDS)))


@pytest.mark.parametrize("frames_per_chunk", [1, 3])
def test_chunks_change_no_number(frames_per_chunk: int, model: DepthAnything3, cases: dict[str, Tensor]) -> None:
    images = cases["1.images"]
    assert_same(model(images, frames_per_chunk=frames_per_chunk), model(images), tolerance=1e-5)


def test_views_may_come_in_any_order_once_there_are_three(model: DepthAnything3, cases: dict[str, Tensor]) -> None:
    images, order = cases["1.images"], [2, 0, 3, 1]
    assert_same(model(images[:, order]), taken(model(images), order), tolerance=1e-5)


def test_of_two_views_the_first_is_the_reference(model: DepthAnything3, cases: dict[str, Tensor]) -> None:
    images = cases["0.images"]
    there, back = model(images), taken(model(images.flip(1)), [1, 0])
    assert float((there.depth - back.depth).abs().max()) > 1e-3 * float(there.depth.max())


def test_clips_of_a_batch_do_not_see_each_other(model: DepthAnything3, cases: dict[str, Tensor]) -> None:
    images = cases["1.images"]
    other = images.flip(1, 3) * 0.5
    together = model(torch.cat([images, other]))
    assert_same(Prediction(*(field[:1] for field in together)), model(images), tolerance=1e-5)
    assert_same(Prediction(*(field[1:] for field in together)), model(other), tolerance=1e-5)


@pytest.mark.parametrize(("height", "width"), [(14, 14), (56, 56), (42, 98), (98, 28)])
def test_sizes_and_single_views(height: int, width: int, model: DepthAnything3) -> None:
    images = torch.randn(1, 1, 3, height, width, generator=torch.Generator().manual_seed(0))
    prediction = model(images)
    assert prediction.depth.shape == prediction.depth_conf.shape == (1, 1, height, width)
    assert all(bool(field.isfinite().all()) for field in prediction)
    assert prediction.intrinsics[0, 0, :2, 2].tolist() == [width / 2, height / 2]


def test_sizes_that_no_patches_fill_are_refused(model: DepthAnything3) -> None:
    with pytest.raises(ValueError, match="multiples of 14"):
        model(torch.zeros(1, 2, 3, 60, 56))


def test_bfloat16_of_the_trunk_stays_near(folder: Path, model: DepthAnything3, cases: dict[str, Tensor]) -> None:
    reduced = DepthAnything3.from_folder(folder, precision=torch.bfloat16)
    assert reduced.backbone.pretrained.blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in [*reduced.head.parameters(), *reduced.cam_dec.parameters()]} == {torch.float32}
    ours, exact = reduced(cases["0.images"]), model(cases["0.images"])
    assert ours.depth.dtype == torch.float32
    assert_same(ours, exact, tolerance=0.1)


def likeness_by_hand(tokens: Tensor) -> list[float]:
    """How far each view's three figures, scaled over the set, are from the middle: loops in place of sums over axes."""
    likeness, length, spread = [], [], []
    for i, token in enumerate(tokens):
        others = [torch.cosine_similarity(token, other, dim=0) for j, other in enumerate(tokens) if j != i]
        likeness.append(float(sum(others)) / len(others))
        length.append(float(token.norm()))
        spread.append(float((token / token.norm()).var()))
    scaled = [[(x - min(figure)) / (max(figure) - min(figure)) for x in figure] for figure in (likeness, length, spread)]
    return [sum(abs(x - 0.5) for x in view) for view in zip(*scaled, strict=True)]


def test_the_reference_is_the_most_middling_view() -> None:
    tokens = torch.randn(6, 5, 16, generator=torch.Generator().manual_seed(3))
    by_hand = [likeness_by_hand(views) for views in tokens]
    assert choose_reference(tokens).tolist() == [scores.index(min(scores)) for scores in by_hand]
    assert len(set(choose_reference(tokens).tolist())) > 1


def test_up_to_two_views_and_among_equals_the_first_is_the_reference() -> None:
    tokens = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    assert choose_reference(tokens).tolist() == [0, 0, 0]
    assert choose_reference(tokens[:, :1].expand(-1, 4, -1)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", PUBLISHED)
def test_every_tensor_of_the_published_files_is_accounted_for(size: str, golden: Path) -> None:
    everything = json.loads(gzip.decompress((golden / "da3_shapes.json.gz").read_bytes()))[size]
    with torch.device("meta"):
        model = DepthAnything3(DepthAnything3Config.model_validate(published_config(size)))
    read = {name: tuple(shape) for name, shape in everything.items() if not name.startswith(UNREAD)}
    assert differences(read, model) == []
    assert {name.split(".")[0] for name in everything.keys() - read.keys()} == {"cam_enc", "head"}
    assert all(name.startswith("cam_enc.") or "_aux." in name for name in everything.keys() - read.keys())


def test_the_giant_has_gated_layers_and_gaussians_that_are_not_read() -> None:
    config = published_config("large")
    config["config"]["net"] |= {"name": "vitg", "out_layers": [19, 27, 33, 39]}
    with torch.device("meta"):
        model = DepthAnything3(DepthAnything3Config.model_validate(config))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes["backbone.pretrained.blocks.39.mlp.w12.weight"] == (8192, 1536)  # DINOv2's giant
    assert "backbone.pretrained.blocks.0.mlp.fc1.weight" not in shapes
    assert "gs_head.norm.weight".startswith(UNREAD)


@pytest.mark.parametrize("size", PUBLISHED)
def test_the_name_of_a_published_network_tells_its_sizes(size: str) -> None:
    told = DepthAnything3Config.model_validate(published_config(size))
    assert DepthAnything3Config.model_validate({"model_name": f"da3-{size}"}) == told
    assert DepthAnything3Config.model_validate({"model_name": f"da3-{size}-1.1"}) == told


def write(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> Path:
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def original(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return load_file(folder / "weights.safetensors"), json.loads((folder / "config.json").read_text())


def test_published_names_have_a_prefix_and_lack_tensors_that_are_shared(
    tmp_path: Path, original: tuple[dict[str, Tensor], dict[str, Any]], model: DepthAnything3, cases: dict[str, Tensor]
) -> None:
    tensors, config = original
    stored_once = {f"head.scratch.output_conv2_aux.{level}.2.{name}" for level in (1, 2, 3) for name in ("weight", "bias")}
    published = {f"model.{name}": tensor for name, tensor in tensors.items() if name not in stored_once}
    folder = write(tmp_path, published, config)
    images = cases["0.images"]
    assert_same(DepthAnything3.from_folder(folder)(images), model(images), tolerance=0)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_missing_unexpected_and_misshapen_tensors_are_refused_by_name(
    prefix: str, tmp_path: Path, original: tuple[dict[str, Tensor], dict[str, Any]]
) -> None:
    tensors, config = original
    damaged = {f"{prefix}{name}": tensor for name, tensor in tensors.items() if name != "cam_dec.fc_t.bias"}
    damaged[f"{prefix}backbone.pretrained.register_tokens"] = torch.zeros(1, 4, 64)
    damaged[f"{prefix}head.norm.bias"] = torch.zeros(3)
    with pytest.raises(UserError, match=r"missing: cam_dec.fc_t.bias") as refusal:
        DepthAnything3.from_folder(write(tmp_path, damaged, config))
    assert "unexpected: backbone.pretrained.register_tokens" in str(refusal.value)
    assert "head.norm.bias ([3], expected [128])" in str(refusal.value)


def test_other_networks_of_the_family_are_refused(tmp_path: Path) -> None:
    single = published_config("large")
    single["config"]["net"] |= {"alt_start": -1, "cat_token": False}
    nested = {"model_name": "da3nested-giant-large", "config": {"anyview": {}, "metric": {}}}
    unnamed = {"model_name": "da3-tiny"}
    for config, reason in ((single, "single images"), (nested, "nested"), (unnamed, "embed_dim: Field required")):
        with pytest.raises(UserError, match=reason):
            DepthAnything3.from_folder(write(tmp_path, {"x": torch.zeros(1)}, config))


def test_cameras_are_rigid(model: DepthAnything3, cases: dict[str, Tensor]) -> None:
    extrinsics = model(cases["1.images"]).extrinsics
    cameras = torch.cat([extrinsics, torch.tensor([0.0, 0, 0, 1]).expand(1, 4, 1, 4)], dim=-2)
    torch.testing.assert_close(invert(cameras) @ cameras, torch.eye(4).expand_as(cameras), atol=1e-5, rtol=0)


def test_weights_without_config_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="tells the sizes"):
        DepthAnything3.from_folder(tmp_path)
