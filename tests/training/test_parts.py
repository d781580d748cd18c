"""The parts of the trainer: sampler, noise, schedule, loss, checkpoints."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.optimization import get_scheduler
from peft import PeftModel, get_peft_model_state_dict
from torch.testing import assert_close

from toys import encoded_run, toy_recipe
from videogpa.config import TimestepsConfig
from videogpa.maths.diffusion import bell_weights
from videogpa.models.adapters import new_adapter
from videogpa.models.base import VideoModel
from videogpa.models.loading import load_model
from videogpa.models.toys import cogvideox as toy_cogvideox
from videogpa.records import Latents
from videogpa.storage import manifests
from videogpa.storage.files import write_text
from videogpa.storage.run_folder import RunFolder
from videogpa.training import checkpoints
from videogpa.training.data import Batches, EncodedPair, hold_out, pair_index, read_pairs
from videogpa.training.trainer import Schedule, learning_rate

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


def batches_of(run: RunFolder, model: VideoModel, seed: int = 0, **timesteps: object) -> Batches:
    return Batches(read_pairs(run), run, model, CPU, TimestepsConfig.model_validate(timesteps), seed)


def test_noise_and_timesteps_follow_seed_and_position_alone(run: RunFolder, model: VideoModel) -> None:
    batches = batches_of(run, model)
    together, first, second = batches.at([4, 5]), batches.at([4]), batches.at([5])
    for field in ("winner", "loser", "noise", "timesteps"):
        assert torch.equal(getattr(together, field), torch.cat([getattr(first, field), getattr(second, field)]))
    assert not torch.equal(first.noise, second.noise)
    assert not torch.equal(first.noise, batches_of(run, model, seed=1).at([4]).noise)
    assert first.winner.shape == first.loser.shape == first.noise.shape == (1, 3, 16, 4, 4)
    assert not torch.equal(first.winner, first.loser)


def test_fixed_batches_are_fixed(run: RunFolder, model: VideoModel) -> None:
    batches = batches_of(run, model)
    one, again, other = batches.fixed(1, 0.25), batches.fixed(1, 0.25), batches.fixed(1, 0.75)
    assert torch.equal(one.noise, again.noise)
    assert torch.equal(one.winner, other.winner)
    assert not torch.equal(one.noise, other.noise)
    assert (one.timesteps.tolist(), other.timesteps.tolist()) == ([250], [750])


def test_a_pair_counts_by_how_sure_its_order_is(run: RunFolder, model: VideoModel, tmp_path: Path) -> None:
    """A gap of no standard error counts nothing, of one .683, of two .954, and an unknown one fully."""
    folder = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    rows = [row for row in manifests.pairs(folder).rows() if row.winner is not None]
    sigmas = [0.0, 1.0, 2.0, None]
    pairs = [rows[0].model_copy(update={"sigmas": value, "rank": rank}) for rank, value in enumerate(sigmas)]
    write_text(folder / "pairs.jsonl", "".join(row.model_dump_json() + "\n" for row in pairs))
    found = read_pairs(folder, "confidence")
    assert [pair.weight for pair in found] == pytest.approx([0.0, 0.6827, 0.9545, 1.0], abs=1e-4)
    assert {pair.weight for pair in read_pairs(folder)} == {1.0}
    weights = Batches(found, folder, model, CPU, TimestepsConfig(), seed=0).at(range(4)).weights
    assert weights is not None
    assert sorted(weights.tolist()) == pytest.approx([0.0, 0.6827, 0.9545, 1.0], abs=1e-4)
    assert batches_of(run, model).at(range(4)).weights is None


def test_timesteps_are_uniform_and_noise_is_normal(run: RunFolder, model: VideoModel) -> None:
    batch = batches_of(run, model).at(range(400))
    assert 0 <= batch.timesteps.min() < 30
    assert 970 < batch.timesteps.max() <= 999
    counts = torch.histc(batch.timesteps.float(), bins=4, min=0, max=1000)
    assert counts.min() > 70  # of 100 expected; three standard deviations are 26
    assert abs(batch.noise.mean()) < 0.01
    assert abs(batch.noise.std() - 1) < 0.01


def test_shifted_timesteps_are_those_that_a_sampler_visits(run: RunFolder, model: VideoModel) -> None:
    """With a shift of 9, as many lie above 0.9 as below: 0.9 = 9 * 0.5 / (1 + 8 * 0.5)."""
    plain, moved = (batches_of(run, model, shift=shift).at(range(100)).timesteps for shift in (1.0, 9.0))
    assert ((moved >= 900) == (plain >= 500)).all()
    assert 0 < (moved >= 900).sum() < 100


def test_a_bell_weighs_pairs_by_the_level_that_they_are_noised_to(run: RunFolder, model: VideoModel) -> None:
    """Their timesteps are as without it, and on average over many the weight is 1."""
    plain, weighed = (batches_of(run, model, shift=5.0, weighting=kind) for kind in ("none", "bell"))
    batch = weighed.at(range(300))
    assert plain.at([0]).weights is None
    assert torch.equal(plain.at(range(300)).timesteps, batch.timesteps)
    assert batch.weights is not None
    assert_close(batch.weights, bell_weights((batch.timesteps + 0.5) / 1000, shift=5.0), rtol=0, atol=5e-3)
    assert abs(batch.weights.mean() - 1) < 0.12  # three standard deviations
    assert [float(part.weights) for part in batch.split() if part.weights is not None] == batch.weights.tolist()


def test_logit_normal_timesteps_lean_where_they_are_told_to(run: RunFolder, model: VideoModel) -> None:
    uniform = batches_of(run, model).at(range(100))
    noisy = batches_of(run, model, sampling="logit-normal", logit_mean=1.0, logit_std=0.5).at(range(100))
    assert torch.equal(noisy.noise, uniform.noise)  # the same draws, moved
    assert noisy.timesteps[uniform.timesteps.argsort()].diff().min() >= -1  # in the same order, but for rounding
    logits = torch.logit((noisy.timesteps + 0.5) / 1000)
    assert abs(logits.mean() - 1.0) < 0.15  # three standard deviations
    assert abs(logits.std() - 0.5) < 0.11


def test_pairs_are_held_out_by_prompt() -> None:
    def encoded(prompt: str, seed: int) -> Latents:
        return Latents(clip=f"{prompt}/{seed}", prompt=prompt, path="", condition="")

    pairs = [EncodedPair(encoded(f"p{i}", 0), encoded(f"p{i}", seed)) for i in range(20) for seed in (1, 2)]
    train, held_out = hold_out(pairs, 0.1, seed=0)
    assert len(held_out) == 4  # two prompts of twenty, with both their pairs
    assert {pair.winner.prompt for pair in train}.isdisjoint({pair.winner.prompt for pair in held_out})
    assert [*train, *held_out] != pairs
    assert sorted(map(str, [*train, *held_out])) == sorted(map(str, pairs))
    assert hold_out(list(reversed(pairs)), 0.1, seed=0)[1] == list(reversed(held_out))  # whatever the order
    assert hold_out(pairs, 0.1, seed=1)[1] != held_out
    assert hold_out(pairs, 0.04, seed=0) == (pairs, [])


@pytest.mark.parametrize("kind", ["cosine", "constant"])
@pytest.mark.parametrize(("warmup", "steps"), [(0, 10), (4, 10), (10, 10), (500, 20), (3, 100)])
def test_the_schedules_are_those_of_diffusers(warmup: int, steps: int, kind: Schedule) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = {"cosine": "cosine", "constant": "constant_with_warmup"}[kind]
    schedule = get_scheduler(theirs, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    for step in range(steps):
        ours = learning_rate(step, peak=0.5, warmup=warmup, steps=steps, schedule=kind)
        assert ours == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()


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
    file = newest / "optimizer.safetensors"
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
