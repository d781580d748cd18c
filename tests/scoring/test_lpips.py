import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from videogpa.errors import UserError
from videogpa.scoring import lpips
from videogpa.scoring.lpips import Lpips


@pytest.fixture(scope="module")
def vgg_file(shared) -> Path:
    return shared / "weights" / "lpips_vgg_fp16.safetensors"


@pytest.fixture(scope="module")
def alex() -> Lpips:
    return Lpips("alex")


@pytest.fixture(scope="module")
def checkpoint(vgg_file, tmp_path_factory) -> Path:
    """The features of VGG16 in the form of torchvision's checkpoint: float32, with a classifier, as a .pth file."""
    state = {name: tensor.float() for name, tensor in load_file(vgg_file).items() if name.startswith("features.")}
    state |= {"classifier.0.weight": torch.zeros(4, 4), "classifier.0.bias": torch.zeros(4)}
    path = tmp_path_factory.mktemp("torchvision") / "vgg16-397923af.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(lpips.VGG_VARIABLE, raising=False)
    return tmp_path


def pair(*, images: int = 3, height: int = 72, width: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(images, 3, height, width, generator=generator)
    return first, (first + 0.2 * torch.randn(first.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_equals_the_official_lpips(net, golden, request):
    lpips = Lpips(net, weights=request.getfixturevalue("vgg_file") if net == "vgg" else None)
    images = {name: image.float() for name, image in load_file(golden / "lpips.safetensors").items()}
    expected = json.loads((golden / "lpips.json").read_text())
    assert len(expected) == 4
    for case, values in expected.items():
        distance = lpips(images[f"{case}_a"][None], images[f"{case}_b"][None])
        assert distance.item() == pytest.approx(values[net], abs=1e-4)


def test_is_one_distance_per_image_zero_for_equal_ones_and_symmetric(alex):
    first, second = pair()
    distances = alex(first, second)
    assert_close(distances, torch.cat([alex(a[None], b[None]) for a, b in zip(first, second, strict=True)]))
    assert_close(distances, alex(second, first))
    assert torch.equal(alex(first, first), torch.zeros(3))


def test_the_distances_are_the_same_to_the_bit_on_any_number_of_threads(alex):
    image = torch.rand(10, 3, 171, 256, generator=torch.Generator().manual_seed(0))
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(alex(image, image.flip(3)))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_one_picture_against_many_is_looked_at_once_and_gives_the_same(alex):
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    still = images[:1].expand(3, -1, -1, -1)
    assert torch.equal(alex(still, images), alex(still.contiguous(), images))


def test_memory_bound_does_not_change_the_distances(alex, monkeypatch):
    expected = alex(*pair())
    monkeypatch.setattr(lpips, "PIXELS_AT_ONCE", 1)
    assert_close(alex(*pair()), expected)


def test_a_full_mask_changes_nothing_and_an_empty_one_gives_nan(alex):
    first, second = pair()
    mask = torch.ones(3, 72, 96, dtype=torch.bool)
    mask[2] = False
    distances = alex(first, second, mask)
    assert_close(distances[:2], alex(first, second)[:2])
    assert distances[2].isnan()


def test_what_is_masked_out_does_not_count(alex):
    first, second = pair()
    mask = torch.zeros(3, 72, 96, dtype=torch.bool)
    mask[:, :, :48] = True
    worse = second.clone()
    worse[:, :, :, 48:] = 1 - worse[:, :, :, 48:]
    assert torch.equal(alex(second, first, mask), alex(worse, first, mask))
    assert (alex(worse, first) > alex(second, first)).all()
    # noise is alike everywhere, so half of the picture tells as much as the whole
    assert_close(alex(second, first, mask), alex(second, first), rtol=0.15, atol=0)


def test_spatial_map_shows_where_and_averages_to_the_distance(alex):
    first, second = pair()
    second[:, :, :, 48:] = first[:, :, :, 48:]
    differences = alex.spatial_map(first, second)
    assert differences.shape == (3, 72, 96)
    assert (differences[:, :, :40].mean((1, 2)) > 5 * differences[:, :, 72:].mean((1, 2))).all()
    assert_close(differences.mean((1, 2)), alex(first, second), rtol=0.05, atol=0)


def test_a_float32_copy_of_the_weights_is_the_same(vgg_file, tmp_path):
    copy = tmp_path / "float32.safetensors"
    save_file({name: tensor.float() for name, tensor in load_file(vgg_file).items()}, copy)
    assert Lpips("vgg", weights=copy).net == "vgg"


def test_builds_vgg_from_a_downloaded_checkpoint_and_caches_it(checkpoint, empty_cache, vgg_file):
    url, digest = checkpoint.as_uri(), hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert lpips.find_vgg() is None
    built = lpips.fetch_vgg(url, digest)
    assert built == empty_cache / "videogpa" / "lpips_vgg_fp16.safetensors" == lpips.find_vgg()
    assert list(built.parent.iterdir()) == [built]  # the 553 MB are gone
    for name, tensor in load_file(vgg_file).items():
        assert torch.equal(lpips.read_weights("vgg")[name], tensor)


def test_builds_vgg_from_a_checkpoint_named_in_the_environment(checkpoint, empty_cache, monkeypatch):
    monkeypatch.setenv(lpips.VGG_VARIABLE, str(checkpoint))
    first, second = pair(images=1)
    assert Lpips("vgg")(first, second).item() > 0.1


def test_refuses_a_download_with_the_wrong_digest(checkpoint, empty_cache):
    with pytest.raises(ValueError, match="expected SHA-256 397923af"):
        lpips.fetch_vgg(checkpoint.as_uri())
    assert lpips.find_vgg() is None
    assert list((empty_cache / "videogpa").iterdir()) == []


def test_refuses_other_weights(vgg_file, tmp_path):
    state = load_file(vgg_file)
    state["lin0.weight"] = state["lin0.weight"] + 0.01
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="does not hold the weights of LPIPS"):
        Lpips("vgg", weights=tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="for 'alex'"):
        Lpips("alex", weights=vgg_file)


def test_offline_it_says_what_to_do(empty_cache, tmp_path):
    with pytest.raises(FileNotFoundError, match="set VIDEOGPA_LPIPS_VGG to the path of the copy"):
        lpips.fetch_vgg((tmp_path / "nowhere.pth").as_uri())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no LPIPS weights at .*gone\.safetensors"):
        Lpips("alex", weights=tmp_path / "gone.safetensors")


def test_the_smallest_image_is_looked_at_and_a_smaller_one_is_refused_by_size():
    lpips = Lpips("alex")
    assert lpips(torch.zeros(1, 3, 31, 40), torch.ones(1, 3, 31, 40)).isfinite().all()
    with pytest.raises(UserError, match=r"images of 30 x 40 pixels are too small for LPIPS \(alex\), which needs 31"):
        lpips(torch.zeros(1, 3, 30, 40), torch.ones(1, 3, 30, 40))


def test_without_a_home_it_says_what_to_set(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", lpips.VGG_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a user of whom the machine knows nothing
    with pytest.raises(UserError, match=r"there is no home folder .* XDG_CACHE_HOME .* VIDEOGPA_LPIPS_VGG"):
        lpips.find_vgg()
