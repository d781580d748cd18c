"""How many prompts and raters an effect needs."""

import pytest
import torch
from attempts import shell

from study import PEOPLE, correlations_found, found_share, votes_like
from videogpa.errors import UserError
from videogpa.maths.crossed import vote_correlations
from videogpa.study.plan import Votes


def test_50_prompts_and_5_raters_find_63_to_37_with_nearly_80_percent_power_where_raters_are_alike():
    """250 votes of correlation .3 are worth 250 / (1 + 4 x .3) = 114, whose 2.8 standard errors are .13: 80 % by the normal
    distribution, and a little less by Student's, since 50 prompts and 5 raters have to tell the variance."""
    assert 0.75 < Votes(ties=0.0, of_prompts=0.3, of_raters=0.0).power(0.63, 50, 5) < 0.8
    assert Votes(ties=0.0, of_prompts=0.3, of_raters=0.0).power(0.63, 50 * 40, 5) > 0.999
    assert Votes(ties=0.0, of_prompts=0.3, of_raters=0.0).power(0.5, 50, 5) == pytest.approx(0.025, abs=0.001)


def test_the_power_foretold_is_that_of_simulated_studies():
    people = PEOPLE["win rate .64"]
    votes = votes_like(people)
    assert votes.ties == pytest.approx(0.19, abs=0.02)
    assert votes.power(people.win_rate, 50, 10) == pytest.approx(found_share(people, 50, 10, 200), abs=0.1)


@pytest.mark.parametrize("name", ["win rate .64", "raters differ more", "prompts differ much", "raters alike"])
def test_what_a_plan_needs_is_read_off_a_pilot_study(name: str):
    """On average over 200 simulated studies, with ties left out, against the truth of very large ones."""
    people = PEOPLE[name]
    found, truth = correlations_found(people, 20, 5, 200), votes_like(people)
    assert found.of_prompts == pytest.approx(truth.of_prompts, abs=0.05)
    assert found.of_raters == pytest.approx(truth.of_raters, abs=0.03)


def test_correlations_by_hand():
    """Two prompts, on which all three raters agree, one each way: votes on one prompt are alike, those of a rater opposite."""
    hits, prompt, rater = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]), torch.arange(6) // 3, torch.arange(6) % 3
    found = vote_correlations(hits, prompt, rater)
    assert found is not None
    # Off the share of one half: products .25 on a prompt, -.25 of a rater and of neither; the variance .25 + .25.
    assert (found.of_prompts, found.of_raters) == pytest.approx((1.0, 0.0))
    assert vote_correlations(torch.ones(6), prompt, rater) is None
    assert vote_correlations(hits[:3], prompt[:3], rater[:3]) is None
    assert vote_correlations(hits[:0], prompt[:0], rater[:0]) is None
    alone = vote_correlations(hits[[0, 4]], prompt[[0, 4]], torch.tensor([0, 1]))
    assert alone is not None
    assert (alone.of_prompts, alone.of_raters) == (None, None)


def test_the_least_numbers_have_the_power_and_one_less_has_not():
    votes = Votes()
    needed = votes.prompts_needed(0.65, 12, 0.8)
    assert needed is not None
    assert votes.power(0.65, needed, 12) >= 0.8 > votes.power(0.65, needed - 1, 12)
    found = votes.win_rate_found(50, 8, 0.8)
    assert found is not None
    assert votes.power(found, 50, 8) == pytest.approx(0.8, abs=1e-6)


def test_no_number_of_prompts_makes_up_for_two_raters_who_differ():
    assert Votes(of_raters=0.1).prompts_needed(0.6, 2, 0.8) is None
    shown = shell("study", "plan", "--win-rate", "0.6", "--of-raters", "0.1")
    assert "no number suffices" in shown.out


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--win-rate", "0.4"), ("--power", "1"), ("--ties", "1"), ("--of-raters", "0.8"), ("--pairs", "1"), ("--raters", "0")],
)
def test_impossible_numbers_are_said(flag: str, value: str):
    with pytest.raises(UserError, match=r"takes? "):
        shell("study", "plan", flag, value)
