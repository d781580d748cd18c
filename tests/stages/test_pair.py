import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from videogpa.bundled import recipes_folder
from videogpa.cli import summary
from videogpa.config import PairConfig, load_recipe
from videogpa.records import Clip, Pair, Score, Status
from videogpa.stages import pair
from videogpa.stages.pair import (
    FEW_MOVING,
    FEW_SCORED,
    MOTION_LOST,
    NO_WINNER,
    SMALL_GAP,
    UNRELIABLE,
    UNSURE,
    choose_pairs,
    distribution,
)
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder


def score(clip: str, error: float | None, flow: float | None = 1.0, status: Status = "ok") -> Score:
    return Score(clip=clip, critic="oracle", status=status, loo_error=error, flow=flow)


def choose_pair(candidates: list[Score], config: PairConfig) -> Pair:
    [row] = choose_pairs("p", candidates, config)
    return row


def test_best_against_worst() -> None:
    row = choose_pair([score("a", 0.3), score("b", 0.1), score("c", 0.5)], PairConfig())
    assert (row.winner, row.loser, row.gap, row.motion_ratio) == ("b", "c", pytest.approx(0.4), 1.0)
    assert (row.winner_score, row.loser_score, row.spread) == (0.1, 0.5, row.gap)


def test_every_two_candidates_of_a_group_can_be_pairs() -> None:
    candidates = [score("a", 0.3), score("b", 0.1), score("c", 0.5), score("frozen", 0.0, flow=0.1)]
    config = PairConfig(clips_once=False, per_group=6, min_gap=0.15)
    rows = choose_pairs("p", candidates, config)
    assert [(row.winner, row.loser) for row in rows] == [("b", "c"), ("a", "c"), ("b", "a")]
    assert [row.rank for row in rows] == [0, 1, 2]
    assert [(row.winner, row.loser) for row in choose_pairs("p", candidates, PairConfig(per_group=6))] == [("b", "c")]


def test_higher_is_better_where_the_measure_says_so() -> None:
    rows = [Score(clip=c, critic="x", status="ok", psnr=v, flow=1) for c, v in (("a", 10.0), ("b", 20.0))]
    assert choose_pair(rows, PairConfig(measure="psnr")).winner == "b"
    assert choose_pair(rows, PairConfig(measure="psnr", winner_threshold=20.0)).winner == "b"
    assert choose_pair(rows, PairConfig(measure="psnr", winner_threshold=21.0)).dropped == NO_WINNER


def test_a_frozen_winner_gives_way_to_one_that_moves() -> None:
    candidates = [score("frozen", 0.0, flow=0.1), score("good", 0.2, flow=0.95), score("bad", 0.5, flow=1.0)]
    row = choose_pair(candidates, PairConfig())
    assert (row.winner, row.gap, row.spread) == ("good", pytest.approx(0.3), 0.5)
    assert choose_pair(candidates, PairConfig(keep_motion=0.0)).winner == "frozen"


def test_motion_is_the_one_that_the_recipe_names() -> None:
    rows = [
        Score(clip=clip, critic="x", status="ok", loo_error=error, flow=flow, motion=motion)
        for clip, error, flow, motion in (("a", 0.1, 1.0, 0.1), ("b", 0.5, 1.0, 1.0))
    ]
    assert choose_pair(rows, PairConfig()).winner == "a"
    assert choose_pair(rows, PairConfig(motion="motion")).dropped == MOTION_LOST


def test_neither_camera_nor_subjects_may_stand_still_where_they_are_known_apart() -> None:
    def row(clip: str, error: float, camera: float, subject: float | None) -> Score:
        return Score(clip=clip, critic="x", status="ok", loo_error=error, flow=0.02, camera_flow=camera, subject_flow=subject)

    moves, frozen_subject = row("moves", 0.5, 0.01, 0.004), row("frozen subject", 0.1, 0.01, 0.002)
    assert choose_pair([moves, frozen_subject], PairConfig()).dropped == MOTION_LOST
    assert choose_pair([moves, row("frozen camera", 0.1, 0.005, 0.004)], PairConfig()).dropped == MOTION_LOST
    assert choose_pair([moves, row("both", 0.1, 0.0095, 0.0038)], PairConfig()).winner == "both"
    assert choose_pair([moves, row("unknown", 0.1, 0.01, None)], PairConfig()).winner == "unknown"
    assert choose_pair([moves, frozen_subject], PairConfig(keep_motion=0)).winner == "frozen subject"
    nearly_still = row("nearly still", 0.5, 0.01, 0.0009)  # a few pixels that pass for a subject
    assert choose_pair([nearly_still, row("still", 0.1, 0.01, 0.0)], PairConfig()).winner == "still"


@pytest.mark.parametrize(
    ("candidates", "reason"),
    [
        ([score("a", 0.1), score("b", None, status="failed"), score("c", 0.9, status="partial")], FEW_SCORED),
        ([score("a", 0.1), score("b", 0.9, flow=None)], FEW_SCORED),
        ([score("a", 0.1), score("b", 0.9, flow=0.0)], FEW_MOVING),
        ([score("a", 0.1, flow=0.5), score("b", 0.9, flow=1.0)], MOTION_LOST),
        ([score("a", 0.1, flow=0.5), score("b", 0.9, flow=1.0), score("c", 0.88, flow=0.95)], MOTION_LOST),
        ([score("a", 0.10), score("b", 0.14)], SMALL_GAP),
        ([score("a", 0.1), score("b", 0.1)], SMALL_GAP),
        ([score("a", 0.7), score("b", 0.9)], NO_WINNER),
    ],
)
def test_a_group_without_a_pair_says_why(candidates: list[Score], reason: str) -> None:
    row = choose_pair(candidates, PairConfig(winner_threshold=0.6, min_gap=0.05))
    assert (row.dropped, row.winner, row.loser) == (reason, None, None)


def sure(clip: str, error: float, standard_error: float, flow: float = 1.0) -> Score:
    return score(clip, error, flow).model_copy(update={"loo_error_se": standard_error})


def test_a_pair_has_a_gap_beyond_the_standard_errors_of_both() -> None:
    """The best is 5 apart from the worst in units of its standard error, sqrt(.03^2 + .04^2), and 8 from the second worst."""
    candidates = [sure("best", 0.1, 0.03), sure("worst", 0.35, 0.04), sure("middle", 0.34, 0.0)]
    config = PairConfig(min_sigma=4.9)
    row = choose_pair(candidates, config)
    assert (row.winner, row.loser, row.sigmas) == ("best", "worst", pytest.approx(5.0))
    row = choose_pair(candidates, config.model_copy(update={"min_sigma": 6.0}))
    assert (row.loser, row.sigmas, row.spread) == ("middle", pytest.approx(8.0), pytest.approx(0.25))
    row = choose_pair(candidates, config.model_copy(update={"min_sigma": 9.0}))
    assert (row.dropped, row.gap) == (UNSURE, pytest.approx(0.25))
    assert choose_pair([sure("a", 0.1, 0.1), sure("b", 0.2, 0.1)], PairConfig(min_sigma=0.0)).winner == "a"


def test_rows_without_a_standard_error_are_compared_by_the_gap_alone() -> None:
    row = choose_pair([score("a", 0.1), sure("b", 0.2, 10.0)], PairConfig(min_sigma=5.0))
    assert (row.winner, row.sigmas) == ("a", None)
    psnr = [Score(clip=c, critic="x", status="ok", psnr=v, flow=1) for c, v in (("a", 10.0), ("b", 20.0))]
    assert choose_pair(psnr, PairConfig(measure="psnr", min_sigma=5.0)).winner == "b"


def test_a_group_that_loses_its_motion_too_is_counted_where_it_fails_first() -> None:
    still = [sure("a", 0.1, 0.001, flow=0.5), sure("b", 0.3, 0.001)]
    assert choose_pair(still, PairConfig(min_sigma=3.0)).dropped == MOTION_LOST
    assert choose_pair(still, PairConfig(min_sigma=300.0)).dropped == UNSURE
    assert pair.funnel([choose_pair(still, PairConfig(min_sigma=300.0))]).left["a gap beyond the standard errors"] == 0


def test_clips_of_too_low_a_reliability_are_left_out() -> None:
    grades = {"a": "low", "b": "medium", "c": "high", "d": None}
    candidates = [score(clip, 0.1 * n).model_copy(update={"reliability": grades[clip]}) for n, clip in enumerate(grades, 1)]
    assert choose_pair(candidates, PairConfig()).winner == "a"
    assert choose_pair(candidates, PairConfig(min_reliability="medium")).winner == "b"
    assert choose_pair(candidates, PairConfig(min_reliability="high")).winner == "c"
    assert choose_pair(candidates[:3], PairConfig(min_reliability="high")).dropped == UNRELIABLE


def test_several_pairs_of_a_group_share_no_clip() -> None:
    candidates = [score(clip, error) for clip, error in (("a", 0.1), ("b", 0.2), ("c", 0.5), ("d", 0.7), ("e", 0.21))]
    rows = choose_pairs("p", candidates, PairConfig(per_group=3))
    assert [(row.rank, row.winner, row.loser) for row in rows] == [(0, "a", "d"), (1, "b", "c")]  # e is left alone
    assert [(row.winner, row.loser) for row in choose_pairs("p", candidates, PairConfig())] == [("a", "d")]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=2, max_size=6))
def test_a_pair_keeps_its_promises(values: list[tuple[float, float]]) -> None:
    config = PairConfig()
    by_clip = {str(i): score(str(i), *value) for i, value in enumerate(values)}
    row = choose_pair(list(by_clip.values()), config)
    admissible = [
        loser.loo_error - winner.loo_error
        for winner in by_clip.values()
        for loser in by_clip.values()
        if winner.flow >= config.keep_motion * loser.flow  # type: ignore[operator]
    ]
    if row.dropped is None:
        assert row.winner is not None
        assert row.gap == max(admissible) >= config.min_gap
    else:
        assert max(admissible) < config.min_gap


def test_the_stage_counts_its_losses_and_redoes_only_what_changed(tmp_path: Path) -> None:
    recipe, folder = load_recipe(recipes_folder() / "smoke-test.yaml", ["pair.min_gap=0.05"]), RunFolder(tmp_path)
    errors = {"p0/0": 0.1, "p0/1": 0.5, "p0/2": 0.2, "p0/3": 0.4, "p1/0": 0.1, "p1/1": 0.12, "p2/0": 0.1}
    for name, error in errors.items():
        manifests.clips(folder).append(Clip(clip=name, prompt=name[:2], seed=0, path="x"))
        manifests.scores(folder).append(score(name, error))
    rows = pair.run(recipe, folder)
    assert [row.dropped for row in rows] == [None, SMALL_GAP, FEW_SCORED]
    counts = pair.funnel(rows)
    assert (counts.groups, list(counts.left.values()), counts.pairs) == (3, [2, 2, 2, 2, 1, 1, 1], 1)
    before = manifests.pairs(folder).path.read_bytes()
    pair.run(recipe, folder)
    assert manifests.pairs(folder).path.read_bytes() == before
    more = load_recipe(recipes_folder() / "smoke-test.yaml", ["pair.min_gap=0.01", "pair.per_group=2"])
    rows = pair.run(more, folder)
    assert [(row.prompt, row.rank, row.dropped) for row in rows] == [
        ("p0", 0, None),
        ("p0", 1, None),
        ("p1", 0, None),
        ("p2", 0, FEW_SCORED),
    ]
    assert pair.funnel(rows).pairs == 3


def test_the_terminal_shows_the_funnel_and_the_distributions() -> None:
    rows = [
        *choose_pairs("p", [score("a", 0.1), score("b", 0.5), score("c", 0.2), score("d", 0.4)], PairConfig(per_group=2)),
        *choose_pairs("q", [score("e", 0.1), score("f", 0.11)], PairConfig()),
    ]
    assert distribution(rows, "gap") == pytest.approx([0.2, 0.4])
    assert distribution(rows, "spread") == pytest.approx([0.01, 0.4])
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(summary.pairs(rows))
    shown = console.export_text()
    assert re.search(r"a gap wide enough +│ 1 │", shown)
    assert re.search(r"gap +0\.2 .*0\.4 .* 2 *$", shown, re.MULTILINE)
    assert "gap: winner against loser of a pair" in " ".join(shown.split())
