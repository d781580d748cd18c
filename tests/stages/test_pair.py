from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videogpa import manifests
from videogpa.config import PairConfig, load_recipe
from videogpa.pipeline import recipes_folder
from videogpa.records import Clip, Score, Status
from videogpa.runs import RunFolder
from videogpa.stages import pair
from videogpa.stages.pair.pairing import FEW_MOVING, FEW_SCORED, MOTION_LOST, SMALL_GAP, choose_pair


def score(clip: str, error: float | None, motion: float | None = 1.0, status: Status = "ok") -> Score:
    return Score(clip=clip, critic="oracle", status=status, loo_score=error, motion=motion)


def test_best_against_worst() -> None:
    row = choose_pair("p", [score("a", 0.3), score("b", 0.1), score("c", 0.5)], PairConfig())
    assert (row.winner, row.loser, row.gap, row.motion_ratio) == ("b", "c", pytest.approx(0.4), 1.0)


def test_higher_is_better_where_the_measure_says_so() -> None:
    rows = [Score(clip=c, critic="x", status="ok", psnr=v, motion=1) for c, v in (("a", 10.0), ("b", 20.0))]
    row = choose_pair("p", rows, PairConfig(measure="psnr"))
    assert (row.winner, row.loser) == ("b", "a")


def test_a_frozen_winner_gives_way_to_one_that_moves() -> None:
    candidates = [score("frozen", 0.0, motion=0.1), score("good", 0.2, motion=0.95), score("bad", 0.5, motion=1.0)]
    assert choose_pair("p", candidates, PairConfig()).winner == "good"
    assert choose_pair("p", candidates, PairConfig(keep_motion=0.0)).winner == "frozen"


@pytest.mark.parametrize(
    ("candidates", "reason"),
    [
        ([score("a", 0.1), score("b", None, status="failed"), score("c", 0.9, status="partial")], FEW_SCORED),
        ([score("a", 0.1), score("b", 0.9, motion=None)], FEW_SCORED),
        ([score("a", 0.1), score("b", 0.9, motion=0.0)], FEW_MOVING),
        ([score("a", 0.1, motion=0.5), score("b", 0.9, motion=1.0)], MOTION_LOST),
        ([score("a", 0.10), score("b", 0.14)], SMALL_GAP),
        ([score("a", 0.1), score("b", 0.1)], SMALL_GAP),
    ],
)
def test_a_group_without_a_pair_says_why(candidates: list[Score], reason: str) -> None:
    row = choose_pair("p", candidates, PairConfig())
    assert (row.dropped, row.winner, row.loser) == (reason, None, None)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=2, max_size=6))
def test_a_pair_keeps_its_promises(values: list[tuple[float, float]]) -> None:
    config = PairConfig()
    by_clip = {str(i): score(str(i), *value) for i, value in enumerate(values)}
    row = choose_pair("p", list(by_clip.values()), config)
    admissible = [
        loser.loo_score - winner.loo_score
        for winner in by_clip.values()
        for loser in by_clip.values()
        if winner.motion >= config.keep_motion * loser.motion  # type: ignore[operator]
    ]
    if row.dropped is None:
        assert row.winner is not None
        assert row.loser is not None
        assert row.gap == max(admissible) >= config.min_gap
    else:
        assert max(admissible) < config.min_gap


def test_the_stage_counts_its_losses_and_redoes_only_what_changed(tmp_path: Path) -> None:
    recipe, folder = load_recipe(recipes_folder() / "mini.yaml", ["pair.min_gap=0.05"]), RunFolder(tmp_path)
    errors = {"p0/0": 0.1, "p0/1": 0.5, "p1/0": 0.1, "p1/1": 0.12, "p2/0": 0.1}
    for name, error in errors.items():
        manifests.clips(folder).append(Clip(clip=name, prompt=name[:2], seed=0, path="x"))
        manifests.scores(folder).append(score(name, error))
    rows = pair.run(recipe, folder)
    assert [row.dropped for row in rows] == [None, SMALL_GAP, FEW_SCORED]
    assert pair.funnel(rows) == pair.Funnel(groups=3, scored=2, moving=2, matched=2, pairs=1)
    before = manifests.pairs(folder).path.read_bytes()
    pair.run(recipe, folder)
    assert manifests.pairs(folder).path.read_bytes() == before
    wider = load_recipe(recipes_folder() / "mini.yaml", ["pair.min_gap=0.01"])
    assert [row.dropped for row in pair.run(wider, folder)] == [None, None, FEW_SCORED]
