"""The intervals of a study hold the truth about as often as they say: the benchmark's simulation, small."""

import pytest

from study import PEOPLE, arms_coverage, bootstrap, coverage, independent


@pytest.mark.parametrize(("people", "prompts", "raters"), [("win rate .64", 50, 5), ("no effect", 20, 10)])
def test_the_interval_of_a_win_rate_holds_the_truth_in_about_95_of_100_studies(people: str, prompts: int, raters: int):
    assert 0.92 <= coverage(PEOPLE[people], prompts, raters, 300) <= 0.98


def test_votes_of_one_prompt_and_of_one_rater_are_not_independent():
    """What is not used: as if votes were independent, and a bootstrap of prompts alone, miss the truth far more often."""
    people = PEOPLE["raters differ more"]
    assert coverage(people, 50, 5, 100, independent) < 0.8
    assert coverage(people, 50, 5, 100, lambda answers: bootstrap(answers, raters=False)) < 0.8


def test_the_intervals_of_strengths_hold_the_truth_in_about_95_of_100_studies():
    assert all(0.9 <= held <= 0.99 for held in arms_coverage((0.0, 0.5, 1.0), 20, 5, 150))
