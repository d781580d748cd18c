import math

import pytest
import torch
from scipy import stats as scipy_stats
from scipy.optimize import minimize

from videogpa.maths.agreement import MISSING, davidson, krippendorff_alpha, pairwise_agreement
from videogpa.maths.crossed import Spread, crossed_spread, share_interval, student_quantile


def table(*rows: str) -> torch.Tensor:
    """Items by raters, of a line of answers per rater; a dot is a missing answer."""
    codes = {letter: number for number, letter in enumerate(sorted({*"".join(rows)} - {" ", "."}))} | {".": MISSING}
    return torch.tensor([[codes[letter] for letter in row.replace(" ", "")] for row in rows]).T


@pytest.mark.parametrize(
    ("rows", "alpha"),
    [
        (("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"), 0.095),
        (("a a b b d c c c e d d a", "b a b b b c c c e d d d"), 0.692),
        (("1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."), 0.743),
    ],
)
def test_alpha_is_that_of_the_examples_of_its_author(rows: tuple[str, ...], alpha: float):
    """Krippendorff 2011, sections A, B and C; the last one has missing answers."""
    assert krippendorff_alpha(table(*rows)) == pytest.approx(alpha, abs=6e-4)


def test_alpha_is_nothing_where_no_item_or_no_difference_tells():
    assert math.isnan(krippendorff_alpha(table("a . b", ". a .")))
    assert math.isnan(krippendorff_alpha(table("aaa", "aaa")))


def test_agreement_counts_pairs_of_answers_to_the_same_item():
    assert pairwise_agreement(table("a b .", "a a b", "b a .")) == pytest.approx((1 + 1) / (3 + 3))


def votes(arms: int, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(arms, (count,), generator=generator)
    second = (first + torch.randint(1, arms, (count,), generator=generator)) % arms
    strength = torch.linspace(0, 1, arms, dtype=torch.float64)
    odds = torch.stack([strength[first], strength[second], (strength[first] + strength[second]) / 2 - 0.3], 1).softmax(1)
    return first, second, torch.multinomial(odds, 1, generator=generator)[:, 0]


def test_strengths_have_the_greatest_likelihood_of_davidsons_formula():
    first, second, outcome = votes(3, 120)
    pairs = sorted(set(zip(first.tolist(), second.tolist(), strict=True)))
    seen = [*zip(first.tolist(), second.tolist(), outcome.tolist(), [1.0] * 120, strict=True)]
    seen += [(i, j, what, 0.5) for i, j in pairs for what in range(3)]

    def loss(parameters: list[float]) -> float:
        worth, nu = [1.0, math.exp(parameters[0]), math.exp(parameters[1])], math.exp(parameters[2])
        total = 0.0
        for i, j, what, weight in seen:
            parts = [worth[i], worth[j], nu * math.sqrt(worth[i] * worth[j])]
            total -= weight * math.log(parts[what] / sum(parts))
        return total

    best = minimize(loss, [0.0, 0.0, 0.0], tol=1e-12).x
    fit = davidson(first, second, outcome, 3)
    assert [*fit.strengths.tolist(), fit.tie] == pytest.approx([0.0, *best], abs=1e-4)


def test_the_influence_of_a_vote_is_what_the_strengths_lose_without_it():
    first, second, outcome = votes(3, 600)
    fit = davidson(first, second, outcome, 3)
    for vote in (0, 17, 300):
        kept = torch.arange(600) != vote
        without = davidson(first[kept], second[kept], outcome[kept], 3).strengths
        assert torch.allclose(fit.strengths - without, fit.influence[vote], atol=3e-4)


def test_an_arm_that_always_wins_has_a_finite_strength_and_one_that_nobody_compared_none():
    first, second = torch.zeros(40, dtype=torch.int64), torch.ones(40, dtype=torch.int64)
    assert 3 < davidson(first, second, torch.ones(40, dtype=torch.int64), 2).strengths[1] < 6
    with pytest.raises(ValueError, match=r"arms \[2, 3\]"):
        davidson(torch.tensor([0, 2]), torch.tensor([1, 3]), torch.tensor([0, 0]), 4)


def test_the_variance_is_that_of_the_analysis_of_variance_of_two_crossed_factors():
    generator = torch.Generator().manual_seed(3)
    prompts, raters = 12, 5
    values = torch.randn(prompts, raters, generator=generator, dtype=torch.float64)
    values = values + torch.randn(prompts, 1, generator=generator) + torch.randn(raters, generator=generator)
    rows, columns = values.mean(1), values.mean(0)
    rest = values - rows[:, None] - columns + values.mean()
    of_prompts, of_raters = raters * rows.var(), prompts * columns.var()
    of_rest = rest.square().sum() / ((prompts - 1) * (raters - 1))
    influence = (values - values.mean()) / values.numel()
    prompt, rater = torch.meshgrid(torch.arange(prompts), torch.arange(raters), indexing="ij")
    spread = crossed_spread(influence.flatten(), prompt.flatten(), rater.flatten())
    expected = (of_prompts + of_raters - of_rest) / values.numel()
    assert spread.variance == pytest.approx(float(expected))
    known = of_prompts**2 / (prompts - 1) + of_raters**2 / (raters - 1) + of_rest**2 / ((prompts - 1) * (raters - 1))
    assert spread.freedom == pytest.approx(float((of_prompts + of_raters - of_rest) ** 2 / known))


def test_answers_that_are_missing_leave_the_variance_about_as_it_is():
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(200, 1, generator=generator) + torch.randn(8, generator=generator) * 0.5
    values = (values + torch.randn(200, 8, generator=generator)).double()
    prompt, rater = torch.meshgrid(torch.arange(200), torch.arange(8), indexing="ij")
    found = []
    for kept in (torch.ones(200, 8, dtype=torch.bool), torch.rand(200, 8, generator=generator) < 0.8):
        chosen = values[kept]
        found.append(crossed_spread((chosen - chosen.mean()) / len(chosen), prompt[kept], rater[kept]).variance)
    assert found[1] == pytest.approx(found[0], rel=0.15)


def test_quantiles_of_student_are_those_of_scipy():
    for probability in (0.6, 0.95, 0.975, 0.995):
        for freedom in (1.0, 2.5, 4.0, 30.0, 400.0, 1e5):
            expected = scipy_stats.t.ppf(probability, freedom)
            assert student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-7), (probability, freedom)


def test_the_interval_of_a_share_is_wilsons_where_votes_are_independent():
    expected = scipy_stats.binomtest(30, 80).proportion_ci(method="wilson")
    spread = Spread(variance=0.375 * 0.625 / 80, freedom=1e4, prompts=0.0, raters=0.0)
    assert share_interval(0.375, spread, least=10) == pytest.approx((expected.low, expected.high), abs=5e-5)


def test_votes_that_are_all_alike_leave_room_for_doubt():
    low, high = share_interval(1.0, Spread(0.0, 9.0, 0.0, 0.0), least=20)
    assert high == 1.0
    assert low == pytest.approx(20 / (20 + student_quantile(0.975, 19.0) ** 2))
