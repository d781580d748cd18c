import math

import pytest
import torch
from diffusers import CogVideoXDPMScheduler, DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch.testing import assert_close

from videogpa.maths.diffusion import (
    add_noise,
    bell_weights,
    flow_target,
    from_flow,
    from_velocity,
    logit_normal,
    shifted,
    straight_path,
    variance_preserving,
    velocity_target,
)


@pytest.fixture
def latents() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 5, 3, 4, 6, 7, generator=generator)
    return clean, noise


LEVELS = torch.tensor([0.0, 1e-3, 0.3, 0.9, 1.0])


def test_by_hand():
    clean, noise = torch.tensor([[2.0]]), torch.tensor([[10.0]])
    alpha, sigma = variance_preserving(torch.tensor([0.36]))
    assert_close(add_noise(clean, noise, alpha=alpha, sigma=sigma), torch.tensor([[0.6 * 2 + 0.8 * 10]]))
    assert_close(velocity_target(clean, noise, alpha=alpha, sigma=sigma), torch.tensor([[0.6 * 10 - 0.8 * 2]]))
    alpha, sigma = straight_path(torch.tensor([0.25]))
    assert_close(add_noise(clean, noise, alpha=alpha, sigma=sigma), torch.tensor([[0.75 * 2 + 0.25 * 10]]))
    assert_close(flow_target(clean, noise), torch.tensor([[8.0]]))


def test_velocity_gives_back_clean_and_noise(latents):
    clean, noise = latents
    alpha, sigma = variance_preserving(LEVELS)
    noisy = add_noise(clean, noise, alpha=alpha, sigma=sigma)
    velocity = velocity_target(clean, noise, alpha=alpha, sigma=sigma)
    for got, expected in zip(from_velocity(noisy, velocity, alpha=alpha, sigma=sigma), latents, strict=True):
        assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_flow_gives_back_clean_and_noise(latents):
    clean, noise = latents
    alpha, sigma = straight_path(LEVELS)
    noisy = add_noise(clean, noise, alpha=alpha, sigma=sigma)
    for got, expected in zip(from_flow(noisy, flow_target(clean, noise), sigma=sigma), latents, strict=True):
        assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_variance_is_preserved(latents):
    alpha, sigma = variance_preserving(LEVELS)
    assert_close(alpha**2 + sigma**2, torch.ones(5))
    clean, noise = latents
    z = add_noise(clean, noise, alpha=alpha, sigma=sigma)
    v = velocity_target(clean, noise, alpha=alpha, sigma=sigma)
    assert_close(z**2 + v**2, clean**2 + noise**2, atol=1e-4, rtol=1e-5)  # (z, v) is (x, eps) rotated


def test_flow_is_the_derivative_of_the_path(latents):
    clean, noise = (t.double() for t in latents)
    here, there = (
        add_noise(clean, noise, alpha=1 - s, sigma=s)
        for s in (torch.full((5,), 0.4, dtype=torch.float64), torch.full((5,), 0.5, dtype=torch.float64))
    )
    assert_close((there - here) / 0.1, flow_target(clean, noise))


@pytest.mark.parametrize("scheduler", [DDIMScheduler(), CogVideoXDPMScheduler(rescale_betas_zero_snr=True)])
def test_equals_the_schedulers_of_diffusers(scheduler, latents):
    clean, noise = latents
    timesteps = torch.tensor([0, 10, 500, 998, 999])
    alpha, sigma = variance_preserving(scheduler.alphas_cumprod[timesteps])
    noisy = add_noise(clean, noise, alpha=alpha, sigma=sigma)
    velocity = velocity_target(clean, noise, alpha=alpha, sigma=sigma)
    assert_close(noisy, scheduler.add_noise(clean, noise, timesteps))
    assert_close(velocity, scheduler.get_velocity(clean, noise, timesteps))


def test_equals_the_flow_scheduler_of_diffusers(latents):
    clean, noise = latents
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    chosen = torch.tensor([0, 10, 500, 998, 999])
    alpha, sigma = straight_path(scheduler.sigmas[chosen])
    expected = scheduler.scale_noise(clean, scheduler.timesteps[chosen], noise)
    assert_close(add_noise(clean, noise, alpha=alpha, sigma=sigma), expected)


def test_keeps_the_dtype_of_the_latents(latents):
    clean, noise = (t.bfloat16() for t in latents)
    alpha, sigma = straight_path(LEVELS)
    assert add_noise(clean, noise, alpha=alpha, sigma=sigma).dtype == torch.bfloat16


def test_logit_normal_levels_have_the_density_of_the_paper():
    quantiles = (torch.arange(10_000) + 0.5) / 10_000
    levels = logit_normal(quantiles, mean=0.4, std=0.8)
    assert_close(torch.quantile(levels, 0.5), torch.sigmoid(torch.tensor(0.4)), atol=1e-3, rtol=0)
    counts, edges = torch.histogram(levels, bins=20, range=(0.0, 1.0))
    middle = (edges[1:] + edges[:-1]) / 2
    # eq. 19: normal density of the logit, over t (1 - t)
    density = torch.distributions.Normal(0.4, 0.8).log_prob(torch.logit(middle)).exp() / (middle * (1 - middle))
    assert_close(counts / 10_000 * 20, density, atol=0.03, rtol=0)


def test_logit_normal_levels_stay_below_one():
    quantiles = torch.tensor([0.0, 0.5, 1 - 2**-24])
    levels = logit_normal(quantiles, mean=30.0, std=1.0)
    assert levels.max() < 1
    assert logit_normal(quantiles, mean=0.0, std=1.0)[0] == 0


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 12.0])
def test_a_shift_is_that_of_the_scheduler(shift):
    levels = torch.arange(1, 1000) / 1000
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    assert_close(shifted(levels, shift), scheduler.sigmas.flip(0)[:999], atol=1e-6, rtol=0)
    # eq. 23 of the paper, by its law: the logit moves by log(shift)
    moved = torch.logit(shifted(levels.double(), shift)) - torch.logit(levels.double())
    assert_close(moved, torch.full_like(moved, shift).log())


def test_no_shift_leaves_the_levels_and_none_reaches_one():
    levels = torch.tensor([0.0, 0.3, 1 - 2**-24])
    assert torch.equal(shifted(levels, 1.0), levels)
    assert shifted(levels, 1000.0).max() < 1
    assert shifted(levels, 1000.0)[0] == 0


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (5.0, {1.0: 0.0, 0.9375: 0.397951773, 0.8333333333: 1.024861742, 0.625: 1.914042667, 0.3571428571: 1.865346046}),
        (1.0, {1.0: 0.0, 0.9: 0.480214710, 0.75: 1.107882019, 0.5: 1.579604819, 0.25: 1.107882019}),
    ],
)
def test_the_bell_is_that_of_diffsynth(shift: float, expected: dict[float, float]) -> None:
    """Numbers of the formula in plain Python: over the thousand levels of its scheduler, of which these are some."""
    levels = torch.tensor(list(expected), dtype=torch.float64)
    found = bell_weights(levels, shift=shift)
    assert_close(found, torch.tensor(list(expected.values()), dtype=torch.float64), rtol=0, atol=1e-6)
    schedule = [shift * (1 - k / 1000) / (1 + (shift - 1) * (1 - k / 1000)) for k in range(1000)]
    bell = [math.exp(-2 * ((1000 * level - 500) / 1000) ** 2) for level in schedule]
    least, total = min(bell), sum(bell) - 1000 * min(bell)
    weights = [(value - least) * 1000 / total for value in bell]
    assert_close(bell_weights(torch.tensor(schedule), shift=shift).tolist(), weights, rtol=0, atol=1e-6)
