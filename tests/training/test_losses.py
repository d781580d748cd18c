"""The losses and the passes through the network that feed them."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from peft import PeftModel
from torch.testing import assert_close

from toys import encoded_run, toy_recipe
from videogpa.config import TimestepsConfig, TrainConfig
from videogpa.models.adapters import new_adapter
from videogpa.models.base import VideoModel
from videogpa.models.loading import load_model
from videogpa.storage.run_folder import RunFolder
from videogpa.training.backward import Backpropagate, joint, loser_first
from videogpa.training.data import Batch, Batches, read_pairs
from videogpa.training.losses import LOSSES

RECIPE = toy_recipe()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return encoded_run(tmp_path_factory.mktemp("losses") / "run", RECIPE)


@pytest.fixture(scope="module")
def model(run: RunFolder) -> VideoModel:
    return load_model(RECIPE.model, run, parts=("transformer",))


def batch_at(run: RunFolder, model: VideoModel, *positions: int) -> Batch:
    return Batches(read_pairs(run), run, model, torch.device("cpu"), TimestepsConfig(), seed=0).at(positions)


def no_backward(loss: torch.Tensor) -> None:
    pass


def take(loss: torch.Tensor) -> None:
    loss.backward()


def spoilt(model: VideoModel) -> PeftModel:
    """An adapter that changes the model."""
    adapter = new_adapter(model.transformer, targets=model.lora_targets, rank=4, alpha=8, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return adapter


def gradients(adapter: PeftModel) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in adapter.named_parameters() if parameter.grad is not None}


def test_the_loss_is_log_2_at_first(run: RunFolder, model: VideoModel) -> None:
    adapter = new_adapter(model.transformer, targets=model.lora_targets, rank=4, alpha=8, seed=0)
    logged = joint(model, adapter, batch_at(run, model, 0, 1, 2), TrainConfig(loss="dpo", beta=5000.0), no_backward)
    adapter.unload()
    assert logged == {"loss": pytest.approx(math.log(2)), "winner_gain": 0, "loser_gain": 0, "accuracy": 0.5, "margin": 0}


@pytest.mark.parametrize("static", [0.0, 0.7])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_losses_by_hand(loss: str, static: float, run: RunFolder, model: VideoModel) -> None:
    """Winner and loser, policy and reference, in separate passes of two separate networks; the penalty from the definition."""
    batch = batch_at(run, model, 7)
    reference = load_model(RECIPE.model, run, parts=("transformer",))

    def error(network: VideoModel, clean: torch.Tensor) -> torch.Tensor:
        return residual(network, clean).square().mean()

    def residual(network: VideoModel, clean: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            prediction, target = network.prediction_and_target(clean, batch.noise, batch.timesteps, batch.conditions)
        return prediction - target

    adapter = spoilt(model)
    settings = TrainConfig(loss=loss, beta=30.0, sft_weight=2.0, static_weight=static, dpop_lambda=4.0, linear_eta=0.2)
    losses: list[torch.Tensor] = []
    logged = joint(model, adapter, batch, settings, losses.append)
    winner = error(model, batch.winner)
    winner_gain = error(reference, batch.winner) - winner
    loser_gain = error(reference, batch.loser) - error(model, batch.loser)
    with torch.no_grad():
        prediction, _ = model.prediction_and_target(batch.winner, batch.noise, batch.timesteps, batch.conditions)
        clean = model.clean_from_prediction(prediction, batch.winner, batch.noise, batch.timesteps)[0]
    adapter.unload()
    mean = sum(clean) / len(clean)
    variance = sum((frame - mean).square().mean() for frame in clean) / len(clean)
    steps = sum((b - a).square().mean() for a, b in pairwise(clean)) / (len(clean) - 1)
    margin = 0.5 * 30.0 * (winner_gain - loser_gain)
    dpo = -torch.log(torch.sigmoid(margin))
    values = {
        "sft": winner,
        "dpo": dpo,
        "sdpo": dpo,  # its gradient differs
        "dpop": -torch.log(torch.sigmoid(margin - 0.5 * 30.0 * 4.0 * max(-winner_gain, torch.tensor(0.0)))),
        "linear": math.log(2) - margin * min(max(0.5 - 0.4 * margin, torch.tensor(0.2)), torch.tensor(0.8)),
    }
    preference, _, winners = loss.partition("+")
    expected = values[preference] + (2 * winner if winners else 0) - static * (0.7 * variance + 0.3 * steps)
    assert winner_gain < -1e-4  # so that dpop punishes
    assert_close(losses[0].detach(), expected, rtol=1e-5, atol=1e-6)
    assert logged["loss"] == pytest.approx(float(expected), rel=1e-5)
    compared = () if loss == "sft" else ("winner_gain", "loser_gain", "accuracy", "margin")
    assert tuple(logged) == ("loss", *(("static",) if static else ()), *compared)
    if loss != "sft":
        numbers = {"winner_gain": float(winner_gain), "loser_gain": float(loser_gain), "margin": float(margin)}
        assert {name: logged[name] for name in numbers} == pytest.approx(numbers, abs=1e-5)
        assert logged["accuracy"] == float(margin > 0)


@pytest.mark.parametrize("loss", LOSSES)
def test_in_turn_gives_the_gradients_and_numbers_of_together(loss: str, run: RunFolder, model: VideoModel) -> None:
    settings = TrainConfig(loss=loss, beta=300.0, sft_weight=3.0, static_weight=0.2)
    batch = batch_at(run, model, 1, 2)
    found = []
    for way in (joint, loser_first):
        adapter = spoilt(model)
        logged = way(model, adapter, batch, settings, take)
        found.append((logged, gradients(adapter)))
        adapter.unload()
    (logged, expected), (in_turn, given) = found
    assert in_turn == pytest.approx(logged, rel=1e-4, abs=1e-4)  # a margin is 150 times a rounded difference
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 1e-3
    for name, gradient in expected.items():
        assert_close(given[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


@pytest.mark.parametrize("way", [joint, loser_first])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_weight_multiplies_the_loss_of_its_pair_and_its_gradients(
    loss: str, way: Callable[..., dict[str, float]], run: RunFolder, model: VideoModel
) -> None:
    """Two pairs with weights 3 and 0.5 = the mean of 3 times the first alone and half of the second alone."""
    settings, batch = TrainConfig(loss=loss, beta=300.0, sft_weight=3.0, static_weight=0.2), batch_at(run, model, 1, 2)
    found = []
    for parts in ([replace(batch, weights=torch.tensor([3.0, 0.5]))], list(batch.split())):
        adapter, logged = spoilt(model), []
        for part, weight in zip(parts, (1.0,) if len(parts) == 1 else (3.0 / 2, 0.5 / 2), strict=True):
            logged.append(weight * way(model, adapter, part, settings, lambda loss, w=weight: (w * loss).backward())["loss"])
        found.append((sum(logged), gradients(adapter)))
        adapter.unload()
    (weighted, given), (by_hand, expected) = found
    assert weighted == pytest.approx(by_hand, rel=1e-4)
    for name, gradient in expected.items():
        assert_close(given[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


def test_the_safe_loss_takes_the_loser_s_gradient_by_its_share(run: RunFolder, model: VideoModel) -> None:
    """The gradient is linear in the share: that of the winner's term (mu = 1, share 0) plus share times that of the loser's."""
    batch = batch_at(run, model, 7)

    def found(loss: str, mu: float) -> dict[str, torch.Tensor]:
        adapter = spoilt(model)
        joint(model, adapter, batch, TrainConfig.model_validate({"loss": loss, "beta": 30.0, "sdpo_mu": mu}), take)
        made = gradients(adapter)
        adapter.unload()
        return made

    adapter = spoilt(model)
    with torch.no_grad():
        winner, loser = (
            torch.sub(*model.prediction_and_target(clean, batch.noise, batch.timesteps, batch.conditions))
            for clean in (batch.winner, batch.loser)
        )
    adapter.unload()
    share = 0.1 * float(winner.square().mean() / (winner * loser).mean())
    assert 0 < share < 1
    whole, winners_alone, shared = found("dpo", 0.0), found("sdpo", 1.0), found("sdpo", 0.9)
    for name, gradient in shared.items():
        expected = winners_alone[name] + share * (whole[name] - winners_alone[name])
        assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


def test_in_turn_keeps_the_activations_of_one_side(run: RunFolder, model: VideoModel) -> None:
    batch, peaks = batch_at(run, model, 1), []
    for way in (joint, loser_first):
        adapter = spoilt(model)
        work = partial(way, model, adapter, batch, TrainConfig(loss="dpo", beta=5.0))
        peaks.append(_most_saved(work, model.transformer))
        adapter.unload()
    together, in_turn = peaks
    assert in_turn < 0.6 * together


def _most_saved(work: Callable[[Backpropagate], object], network: torch.nn.Module) -> int:
    """The largest number of bytes that autograd held between two backward passes, besides the weights."""
    held, most = 0, 0
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal held, most
        if tensor.untyped_storage().data_ptr() not in weights:
            held += tensor.numel() * tensor.element_size()
        most = max(most, held)
        return tensor

    def backward(loss: torch.Tensor) -> None:
        nonlocal held
        loss.backward()
        held = 0

    run: Backpropagate = backward
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work(run)  # type: ignore[operator]
    return most


def test_fine_tuning_runs_the_winners_only(run: RunFolder, model: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, batch, seen = spoilt(model), batch_at(run, model, 3), []
    real = type(model).prediction_and_target

    def counting(self: VideoModel, latents: torch.Tensor, *rest: object) -> object:
        seen.append(latents)
        return real(self, latents, *rest)

    monkeypatch.setattr(type(model), "prediction_and_target", counting)
    joint(model, adapter, batch, TrainConfig(loss="sft", beta=500.0), take)
    adapter.unload()
    assert len(seen) == 1
    assert torch.equal(seen[0], batch.winner)


def test_a_step_down_the_gradient_prefers_the_winner(run: RunFolder, model: VideoModel) -> None:
    adapter, batch, settings = spoilt(model), batch_at(run, model, 2), TrainConfig(loss="dpo", beta=500.0)
    before = joint(model, adapter, batch, settings, take)
    frozen = [name for name in gradients(adapter) if "lora_" not in name]
    with torch.no_grad():
        for parameter in adapter.parameters():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
    after = joint(model, adapter, batch, settings, no_backward)
    adapter.unload()
    assert after["loss"] < before["loss"]
    assert after["margin"] > before["margin"]
    assert not frozen


def test_a_step_down_the_static_penalty_moves_more(run: RunFolder, model: VideoModel) -> None:
    adapter, batch = spoilt(model), batch_at(run, model, 2)
    settings = TrainConfig(loss="sft", beta=1.0, static_weight=100.0)
    before = joint(model, adapter, batch, settings, take)
    with torch.no_grad():
        for parameter in adapter.parameters():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
    after = joint(model, adapter, batch, settings, no_backward)
    adapter.unload()
    assert after["static"] < before["static"] < 0


def test_gradient_checkpointing_changes_no_number(run: RunFolder) -> None:
    found = []
    for checkpointing in (False, True):
        model = load_model(RECIPE.model, run, parts=("transformer",))
        adapter = spoilt(model)
        if checkpointing:
            model.enable_gradient_checkpointing()
        logged = joint(model, adapter, batch_at(run, model, 1), TrainConfig(loss="dpo", beta=300.0), take)
        found.append((logged, gradients(adapter)))
    assert found[0][0] == pytest.approx(found[1][0])
    for name, gradient in found[0][1].items():
        assert_close(found[1][1][name], gradient)
