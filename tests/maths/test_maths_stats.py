import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from videogpa.maths.stats import auc, paired_bootstrap, ranks, sign_test, spearman, standard_error, win_rate

SMALL = st.lists(st.integers(-3, 3), min_size=2, max_size=12)


def draw(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bootstrap_interval_is_that_of_the_mean():
    first, noise = draw(200), draw(200, seed=1)
    second = first + 0.3 + 0.5 * noise
    mean, low, high = paired_bootstrap(first, second)
    assert mean == pytest.approx((0.3 + 0.5 * noise).mean().item())
    # of a mean of 200 differences with deviation s, the interval is mean -+ 1.96 s / sqrt(200)
    margin = 1.96 * 0.5 * noise.std().item() / math.sqrt(200)
    assert low == pytest.approx(mean - margin, abs=0.1 * margin)
    assert high == pytest.approx(mean + margin, abs=0.1 * margin)


def test_bootstrap_agrees_with_scipy():
    first, second = draw(30), draw(30, seed=1) + 0.5
    _, low, high = paired_bootstrap(first, second, confidence=0.9)
    expected = scipy_stats.bootstrap(
        ((second - first).numpy(),), lambda x, axis: x.mean(axis), confidence_level=0.9, method="percentile", rng=0
    ).confidence_interval
    assert low == pytest.approx(expected.low, abs=0.02)
    assert high == pytest.approx(expected.high, abs=0.02)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        difference = draw(40, seed=seed)
        _, low, high = paired_bootstrap(torch.zeros(40).double(), difference, confidence=0.8, resamples=400)
        covered += low <= 0 <= high
    assert 0.7 < covered / 200 < 0.88


def test_bootstrap_is_seeded_and_pairs():
    first = 100 * draw(20)
    assert paired_bootstrap(first, first + 1) == pytest.approx((1, 1, 1))  # the items differ, their difference does not
    second = draw(20, seed=2)
    assert paired_bootstrap(first, second, seed=3) == paired_bootstrap(first, second, seed=3)
    assert paired_bootstrap(first, second, seed=3) != paired_bootstrap(first, second, seed=4)


def test_bootstrap_refuses_what_has_no_interval():
    with pytest.raises(ValueError, match="at least two items"):
        paired_bootstrap(draw(1), draw(1))
    with pytest.raises(ValueError, match="confidence"):
        paired_bootstrap(draw(3), draw(3), confidence=95.0)


def test_win_rate_by_hand():
    first, second = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.0, 2.0, 5.0, 3.9])
    assert win_rate(first, second, lower_is_better=True) == (2 + 0.5) / 4
    assert win_rate(first, second, lower_is_better=False) == (1 + 0.5) / 4
    assert win_rate(first, second, lower_is_better=True, tie=0.2) == (1 + 0.5 * 2) / 4
    assert math.isnan(win_rate(first[:0], second[:0], lower_is_better=True))


@given(SMALL)
def test_sign_test_equals_the_binomial_test(differences):
    second = torch.tensor(differences, dtype=torch.float64)
    wins, losses = int((second > 0).sum()), int((second < 0).sum())
    expected = scipy_stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(torch.zeros_like(second), second) == pytest.approx(expected)


def test_sign_test_by_hand():
    # nine of ten: 2 (1 + 10) / 1024
    second = torch.tensor([1.0] * 9 + [-1.0])
    assert sign_test(torch.zeros(10), second) == pytest.approx(22 / 1024)


@given(SMALL)
def test_ranks_equal_those_of_scipy(values):
    assert ranks(torch.tensor(values).double()).tolist() == scipy_stats.rankdata(values).tolist()


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=12))
def test_spearman_equals_that_of_scipy(pairs):
    first, second = (torch.tensor(x).double() for x in zip(*pairs, strict=True))
    if len(set(first.tolist())) == 1 or len(set(second.tolist())) == 1:
        assert math.isnan(spearman(first, second))
    else:
        assert spearman(first, second) == pytest.approx(scipy_stats.spearmanr(first, second).statistic)


@given(SMALL, SMALL)
def test_auc_counts_the_pairs_in_order(low, high):
    expected = sum((a < b) + 0.5 * (a == b) for a in low for b in high) / (len(low) * len(high))
    assert auc(torch.tensor(low).double(), torch.tensor(high).double()) == pytest.approx(expected)


def test_auc_without_values_is_not_a_number():
    assert math.isnan(auc(draw(0), draw(3)))


def test_the_standard_error_is_the_spread_of_the_mean_over_samples() -> None:
    """Of 2,000 samples of 10 independent values and unequal shares; within 3 %."""
    draws = torch.randn(2000, 10, generator=torch.Generator().manual_seed(0))
    shares = torch.linspace(1, 2, 10)
    spread = (draws * shares).sum(1).div(shares.sum()).std()
    found = torch.stack([standard_error(values, shares) for values in draws]).square().mean().sqrt()
    assert found.item() == pytest.approx(spread.item(), rel=0.03)


def test_a_trend_is_no_uncertainty_and_neighbours_that_are_alike_are_taken_together() -> None:
    trend = torch.linspace(0, 1, 10)
    assert standard_error(trend, torch.ones(10)).item() == pytest.approx(1 / 9 / 20**0.5, rel=1e-5)
    noise = torch.randn(10, generator=torch.Generator().manual_seed(0))
    once, repeated = standard_error(noise, torch.ones(10)), standard_error(noise.repeat_interleave(5), torch.ones(50))
    assert repeated.item() == pytest.approx(once.item(), rel=1e-5)
