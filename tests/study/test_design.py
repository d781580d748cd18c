"""Which pairs are shown to whom: balanced, blind, and with checks."""

import random
from collections import Counter
from itertools import combinations

import pytest

from videogpa.study.design import choose_contests, number_of_checks, number_of_repeats, plan_raters
from videogpa.study.records import Trial

FIRSTS = {f"item{n:02}": n % 2 for n in range(53)}
CHECKS = [f"item{n:02}" for n in range(50, 53)]


@pytest.fixture(scope="module")
def plans() -> dict[str, tuple[Trial, ...]]:
    return plan_raters(FIRSTS, CHECKS, 4, random.Random(7))


def test_a_study_of_50_pairs_has_5_repeats_and_3_checks():
    assert (number_of_repeats(50), number_of_checks(50)) == (5, 3)
    assert (number_of_repeats(2), number_of_checks(2)) == (1, 2)


def test_every_rater_sees_every_pair_in_an_own_order(plans: dict[str, tuple[Trial, ...]]):
    orders = [[trial.item for trial in plan if not trial.repeat] for plan in plans.values()]
    assert all(sorted(order) == sorted(FIRSTS) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_each_arm_is_on_the_left_half_of_the_time_for_each_rater_and_each_two_raters(plans: dict[str, tuple[Trial, ...]]):
    sides = [{t.item: t.left == FIRSTS[t.item] for t in plan if not t.repeat} for plan in plans.values()]
    for side in sides:
        assert sum(side[item] for item in FIRSTS if item not in CHECKS) == 25
        assert sum(side[item] for item in CHECKS) in (1, 2)  # who always answers left fails
    assert all(sides[0][item] != sides[1][item] for item in FIRSTS)
    assert sides[0] != sides[2]


def test_repeats_come_late_with_sides_changed_and_are_no_checks(plans: dict[str, tuple[Trial, ...]]):
    for plan in plans.values():
        places = {trial.item: place for place, trial in enumerate(plan) if not trial.repeat}
        repeats = [(place, trial) for place, trial in enumerate(plan) if trial.repeat]
        assert len(repeats) == 5
        for place, trial in repeats:
            assert trial.item not in CHECKS
            assert place - places[trial.item] >= 5
            assert plan[places[trial.item]].left != trial.left


def test_arms_meet_equally_often_on_as_many_prompts_as_there_are():
    clips = {arm: {f"p{n}/{s}": 0 for n in range(30) for s in range(2)} for arm in "abcd"}
    chosen = choose_contests(clips, lambda name: name.partition("/")[0], 30, random.Random(0))
    assert Counter(contest.arms for contest in chosen) == dict.fromkeys(combinations("abcd", 2), 5)
    assert len({contest.name.partition("/")[0] for contest in chosen}) == 30


def test_one_prompt_comes_twice_only_once_all_have_come():
    clips = {arm: {f"p{n}/{s}": 0 for n in range(5) for s in range(3)} for arm in "ab"}
    chosen = choose_contests(clips, lambda name: name.partition("/")[0], 12, random.Random(0))
    first, rest = chosen[:5], chosen[5:]
    assert len({contest.name.partition("/")[0] for contest in first}) == 5
    assert len(rest) == 7
    assert len(set(chosen)) == 12
