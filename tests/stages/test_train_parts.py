"""The parts of the trainer: sampler, noise, schedule, loss, checkpoints."""

import logging
import math
from pathlib import Path

import pytest
import torch
from diffusers.optimization import get_scheduler
from peft import PeftModel, get_peft_model_state_dict
from torch.testing import assert_close

from toys import encoded_run, toy_recipe
from videogpa.models.adapters import new_adapter
from videogpa.models.base import VideoModel
from videogpa.models.loading import load_model
from videogpa.models.toys import cogvideox as toy_cogvideox
from videogpa.runs import RunFolder
from videogpa.stages.train import checkpoints
from videogpa.stages.train.dpo import pair_loss
from videogpa.stages.train.pairs import load_batch, pair_index, read_pairs
from videogpa.stages.train.schedule import learning_rate

RECIPE = toy_recipe()
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return encoded_run(tmp_path_factory.mktemp("parts") / "run", RECIPE)


@pytest.fixture(scope="module")
def model(run: RunFolder) -> VideoModel:
    return load_model(RECIPE.model, run, parts=("transformer",))


def test_every_pair_comes_once_an_epoch_in_a_new_order() -> None:
    epochs = [[pair_index(position, 20, seed=0) for position in range(20 * e, 20 * e + 20)] for e in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != [pair_index(position, 20, seed=1) for position in range(20)]
    assert {pair_index(position, 1, seed=0) for position in range(5)} == {0}


def test_noise_and_timesteps_follow_seed_and_position_alone(run: RunFolder, model: VideoModel) -> None:
    pairs = read_pairs(run)

    def batch(seed: int, *positions: int):  # type: ignore[no-untyped-def]
        return load_batch(pairs, run, model, seed=seed, positions=positions, device=CPU)

    together, first, second = batch(0, 4, 5), batch(0, 4), batch(0, 5)
    for field in ("winner", "loser", "noise", "timesteps"):
        assert torch.equal(getattr(together, field), torch.cat([getattr(first, field), getattr(second, field)]))
    assert not torch.equal(first.noise, second.noise)
    assert not torch.equal(first.noise, batch(1, 4).noise)
    assert first.winner.shape == first.loser.shape == first.noise.shape == (1, 3, 16, 4, 4)
    assert not torch.equal(first.winner, first.loser)


def test_timesteps_are_uniform_and_noise_is_normal(run: RunFolder, model: VideoModel) -> None:
    pairs = read_pairs(run)
    batch = load_batch(pairs, run, model, seed=0, positions=range(400), device=CPU)
    assert 0 <= batch.timesteps.min() < 30
    assert 970 < batch.timesteps.max() <= 999
    counts = torch.histc(batch.timesteps.float(), bins=4, min=0, max=1000)
    assert counts.min() > 70  # of 100 expected; three standard deviations are 26
    assert abs(batch.noise.mean()) < 0.01
    assert abs(batch.noise.std() - 1) < 0.01


@pytest.mark.parametrize(("warmup", "steps"), [(0, 10), (4, 10), (10, 10), (500, 20), (3, 100)])
def test_the_schedule_is_diffusers_cosine(warmup: int, steps: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    for step in range(steps):
        assert learning_rate(step, peak=0.5, warmup=warmup, steps=steps) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()


def spoilt(model: VideoModel) -> PeftModel:
    """An adapter that changes the model."""
    adapter = new_adapter(model.transformer, targets=model.lora_targets, rank=4, alpha=8, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return adapter


def test_the_loss_is_log_2_at_first(run: RunFolder, model: VideoModel) -> None:
    adapter = new_adapter(model.transformer, targets=model.lora_targets, rank=4, alpha=8, seed=0)
    batch = load_batch(read_pairs(run), run, model, seed=0, positions=range(3), device=CPU)
    loss, logged = pair_loss(model, adapter, batch, beta=5000.0)
    adapter.unload()
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-6)
    assert loss.requires_grad
    assert logged == {"loss": pytest.approx(math.log(2)), "winner_gain": 0, "loser_gain": 0, "accuracy": 0.5, "margin": 0}


def test_the_loss_by_hand(run: RunFolder, model: VideoModel) -> None:
    """Winner and loser, policy and reference, in four separate passes of two separate networks."""
    batch = load_batch(read_pairs(run), run, model, seed=0, positions=[7], device=CPU)
    reference = load_model(RECIPE.model, run, parts=("transformer",))

    def error(network: VideoModel, clean: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            prediction, target = network.prediction_and_target(clean, batch.noise, batch.timesteps, batch.conditions)
        return (prediction - target).square().mean()

    adapter = spoilt(model)
    loss, logged = pair_loss(model, adapter, batch, beta=30.0)
    winner_gain = error(reference, batch.winner) - error(model, batch.winner)
    loser_gain = error(reference, batch.loser) - error(model, batch.loser)
    adapter.unload()
    assert abs(winner_gain) > 1e-4
    margin = 0.5 * 30.0 * (winner_gain - loser_gain)
    assert_close(loss.detach(), -torch.log(torch.sigmoid(margin)), rtol=1e-5, atol=1e-6)
    expected = {"winner_gain": float(winner_gain), "loser_gain": float(loser_gain), "margin": float(margin)}
    assert {name: logged[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert logged["accuracy"] == float(margin > 0)


def test_a_step_down_the_gradient_prefers_the_winner(run: RunFolder, model: VideoModel) -> None:
    adapter = spoilt(model)
    batch = load_batch(read_pairs(run), run, model, seed=0, positions=[2], device=CPU)
    loss, before = pair_loss(model, adapter, batch, beta=500.0)
    loss.backward()
    with torch.no_grad():
        for parameter in adapter.parameters():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
    _, after = pair_loss(model, adapter, batch, beta=500.0)
    frozen = [name for name, parameter in adapter.named_parameters() if parameter.grad is not None and "lora_" not in name]
    adapter.unload()
    assert after["loss"] < before["loss"]
    assert after["margin"] > before["margin"]
    assert not frozen


@pytest.fixture
def trained() -> tuple[PeftModel, torch.optim.Optimizer]:
    network = toy_cogvideox.image_to_video().transformer.requires_grad_(False)
    adapter = new_adapter(network, targets=["to_q"], rank=2, alpha=2, seed=0)
    return adapter, torch.optim.AdamW([p for p in adapter.parameters() if p.requires_grad], lr=0.1)


def step(adapter: PeftModel, optimizer: torch.optim.Optimizer) -> None:
    for parameter in adapter.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, 0.5)
    optimizer.step()


def weights(adapter: PeftModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in get_peft_model_state_dict(adapter).items()}


def test_a_checkpoint_brings_everything_back(trained: tuple[PeftModel, torch.optim.Optimizer], tmp_path: Path) -> None:
    adapter, optimizer = trained
    assert checkpoints.restore(tmp_path, adapter, optimizer) == 0
    step(adapter, optimizer)
    checkpoints.save(tmp_path, 1, adapter, optimizer)
    step(adapter, optimizer)
    expected = weights(adapter)
    assert checkpoints.restore(tmp_path, adapter, optimizer) == 1
    assert any(not torch.equal(weights(adapter)[name], expected[name]) for name in expected)
    step(adapter, optimizer)  # with the same moments: the same step
    assert_close(weights(adapter), expected, rtol=0, atol=0)


def test_the_last_two_are_kept(trained: tuple[PeftModel, torch.optim.Optimizer], tmp_path: Path) -> None:
    for done in (5, 10, 100, 1000):
        checkpoints.save(tmp_path, done, *trained)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000100", "00001000"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "note", "empty"])
def test_a_damaged_checkpoint_is_passed_over_aloud(
    damage: str, trained: tuple[PeftModel, torch.optim.Optimizer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter, optimizer = trained
    checkpoints.save(tmp_path, 1, adapter, optimizer)
    expected = weights(adapter)
    step(adapter, optimizer)
    checkpoints.save(tmp_path, 2, adapter, optimizer)
    newest = tmp_path / "00000002"
    file = newest / "optimizer.pt"
    content = file.read_bytes()
    if damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        file.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    elif damage == "remove":
        (newest / "adapter_model.safetensors").unlink()
    elif damage == "note":
        (newest / "checkpoint.json").write_text("{")
    else:
        for path in newest.iterdir():
            path.unlink()
    with caplog.at_level(logging.WARNING):
        assert checkpoints.restore(tmp_path, adapter, optimizer) == 1
    assert "00000002 is damaged" in caplog.text
    assert_close(weights(adapter), expected, rtol=0, atol=0)
    checkpoints.save(tmp_path, 2, adapter, optimizer)  # made again, it takes the place of the damaged one
    assert checkpoints.restore(tmp_path, adapter, optimizer) == 2
