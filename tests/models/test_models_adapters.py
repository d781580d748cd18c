"""Adapters: made, saved, loaded, put on and taken off."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch.nn import Module, Sequential
from torch.testing import assert_close

from videogpa.errors import UserError
from videogpa.models.adapters import CONFIG_FILE, WEIGHTS_FILE, adapted, check_folder, new_adapter, save_adapter
from videogpa.models.toys import cogvideox as toy_cogvideox

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


def transformer() -> Module:
    network: Module = toy_cogvideox.image_to_video().transformer.requires_grad_(False)
    return network


def forward(network: Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        output: torch.Tensor = network(
            hidden_states=torch.randn(1, 1, 32, 4, 4, generator=generator),
            encoder_hidden_states=torch.randn(1, 4, 32, generator=generator),
            timestep=torch.tensor([3]),
            return_dict=False,
        )[0]
    return output


def trained_adapter(network: Module, rank: int = 4, seed: int = 0) -> PeftModel:
    """As after a training: its second halves are no longer zero."""
    return spoilt(new_adapter(network, targets=TARGETS, rank=rank, alpha=8, seed=seed))


def spoilt(adapter: PeftModel) -> PeftModel:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return adapter


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_adapter(trained_adapter(transformer()), folder)
    return folder


def test_a_fresh_adapter_changes_nothing_and_is_all_that_is_trained() -> None:
    network = transformer()
    before = forward(network)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    adapter = new_adapter(network, targets=TARGETS, rank=4, alpha=8, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(forward(network), before)
    trained = [name for name, parameter in adapter.named_parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 4 * 2  # A and B, of q, k, v and out, in two blocks
    assert all("lora_" in name for name in trained)


def test_its_weights_follow_the_seed() -> None:
    weights = [
        get_peft_model_state_dict(new_adapter(transformer(), targets=TARGETS, rank=4, alpha=8, seed=seed)) for seed in (0, 0, 1)
    ]
    assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_its_weights_are_float32_beside_a_bfloat16_model() -> None:
    adapter = new_adapter(transformer().to(torch.bfloat16), targets=TARGETS, rank=4, alpha=8, seed=0)
    assert {parameter.dtype for parameter in adapter.parameters() if parameter.requires_grad} == {torch.float32}


def test_it_is_put_on_and_taken_off(saved: Path) -> None:
    expected = trained_adapter(transformer())
    network = transformer()
    before, names = forward(network), [name for name, _ in network.named_parameters()]
    for _ in range(2):  # as often as one likes
        with adapted(network, saved):
            assert_close(forward(network), forward(expected), rtol=0, atol=0)
            assert not torch.allclose(forward(network), before)
        assert torch.equal(forward(network), before)
        assert [name for name, _ in network.named_parameters()] == names


def test_peft_itself_loads_it(saved: Path) -> None:
    loaded = PeftModel.from_pretrained(transformer(), saved)
    assert_close(forward(loaded), forward(trained_adapter(transformer())), rtol=0, atol=0)


def test_equal_adapters_are_equal_bytes(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    save_adapter(trained_adapter(transformer()), again)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(UserError, match=name):
        check_folder(saved)


def test_an_adapter_without_weights_cannot_be_put_on(saved: Path) -> None:
    (saved / WEIGHTS_FILE).unlink()
    with pytest.raises(UserError, match=WEIGHTS_FILE), adapted(transformer(), saved):
        pass


@pytest.mark.parametrize("fault", ["missing", "unexpected", "of another shape"])
def test_mismatching_keys_are_named_and_the_model_is_left_as_it_was(saved: Path, fault: str) -> None:
    weights = load_file(saved / WEIGHTS_FILE)
    name = sorted(weights)[3]
    tensor = weights.pop(name)
    if fault == "unexpected":
        weights[name] = tensor.clone()
        name = name.replace("transformer_blocks.0", "transformer_blocks.7")
    if fault != "missing":
        weights[name] = tensor[:-1].contiguous() if fault == "of another shape" else tensor
    save_file(weights, saved / WEIGHTS_FILE)
    network = transformer()
    before = forward(network)
    with pytest.raises(UserError) as caught, adapted(network, saved):
        pass
    assert f"1 {fault}" in str(caught.value)
    assert name in str(caught.value)
    assert torch.equal(forward(network), before)


def test_targets_the_model_lacks_are_refused(saved: Path) -> None:
    config = json.loads((saved / CONFIG_FILE).read_text())
    (saved / CONFIG_FILE).write_text(json.dumps({**config, "target_modules": ["nowhere"]}))
    with pytest.raises(UserError, match="nowhere"), adapted(transformer(), saved):
        pass


def test_broken_weights_are_refused(saved: Path) -> None:
    (saved / WEIGHTS_FILE).write_bytes(b"not safetensors")
    with pytest.raises(UserError, match="holds no weights"), adapted(transformer(), saved):
        pass


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_multiplies_in_the_dtype_of_the_network(dtype: torch.dtype) -> None:
    """As PEFT's own layer does, but for rounding in bfloat16, and without copies of its input in float32."""
    layer, kept = torch.nn.Linear(48, 24).to(dtype).requires_grad_(False), []
    expected = get_peft_model(Sequential(deepcopy(layer)), LoraConfig(r=4, lora_alpha=8, target_modules=["0"]))
    adapter = new_adapter(Sequential(layer), targets=["0"], rank=4, alpha=8, seed=0)
    set_peft_model_state_dict(adapter, get_peft_model_state_dict(spoilt(expected)))
    x = torch.randn(200, 48, generator=torch.Generator().manual_seed(2)).to(dtype)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        output = adapter(x)
    assert {tensor.dtype for tensor in kept if len(tensor) == len(x)} == {dtype}
    close = 0 if dtype == torch.float32 else 2**-7
    assert_close(output, expected(x), rtol=close, atol=close)
    for network in (adapter, expected):
        network(x).float().square().sum().backward()
    for ours, theirs in zip(trained_of(adapter), trained_of(expected), strict=True):
        assert ours.dtype == ours.grad.dtype == torch.float32
        assert_close(ours.grad, theirs.grad, rtol=0, atol=2 * close * float(theirs.grad.abs().max()))


def trained_of(adapter: PeftModel) -> list[torch.nn.Parameter]:
    return [parameter for parameter in adapter.parameters() if parameter.requires_grad]
