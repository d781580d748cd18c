"""Best of N: which clip a critic chooses, and what the judge says of it."""

import io

import pytest
from rich.console import Console

from videogpa.cli import summary
from videogpa.config import PairConfig
from videogpa.findings import Evaluation
from videogpa.records import Score
from videogpa.stages.best_of import compare_best

PROMPTS = 12


def rows(critic: str, errors: dict[int, float], *, flow: float = 0.02, **columns: float) -> list[Score]:
    """Scores of every prompt's clips, by seed; a little different between prompts."""
    return [
        Score(clip=f"p{n}/{seed}", critic=critic, status="ok", loo_error=error * (1 + 0.02 * n), flow=flow, **columns)
        for n in range(PROMPTS)
        for seed, error in errors.items()
    ]


def test_the_judge_says_what_the_critics_choice_is_worth_against_the_mean_of_the_base() -> None:
    base = rows("teacher", {0: 0.3, 1: 0.2, 2: 0.4}) + rows("judge", {0: 0.06, 1: 0.04, 2: 0.08})
    aligned = rows("teacher", {0: 0.2, 1: 0.1, 2: 0.3}) + rows("judge", {0: 0.01, 1: 0.03, 2: 0.05})

    of_base, of_aligned = compare_best(
        {"base": base, "aligned": aligned}, chosen_by="teacher", critics=["judge"], pair=PairConfig()
    )
    assert (of_base.model, of_base.candidates, of_base.chosen_by) == ("base", 3, "teacher")
    found = of_base.critics["judge"].outcome
    assert found is not None
    assert found.geometry.change == pytest.approx(0.04 / 0.06 - 1)  # the chosen one against the mean of the three
    assert (found.verdict, found.n, found.motion["flow"].change) == ("better", PROMPTS, 0)
    found = of_aligned.critics["judge"].outcome
    assert found is not None
    assert found.geometry.change == pytest.approx(0.03 / 0.06 - 1)  # not the best by the judge: the teacher chooses


def test_the_terminal_says_what_choosing_is_worth_and_on_how_many_prompts() -> None:
    base = rows("teacher", {0: 0.3, 1: 0.2}) + rows("judge", {0: 0.06, 1: 0.04})
    best = compare_best({"base": base}, chosen_by="teacher", critics=["judge"], pair=PairConfig())
    written = Console(file=io.StringIO(), width=80)
    written.print(summary.evaluation(Evaluation(critics={}, best_of=best)))
    text = written.file.getvalue()  # type: ignore[attr-defined]

    assert "chosen by teacher: leave-one-out error, judged by judge" in text
    (line,) = [line for line in text.splitlines() if "│ base," in line]
    assert "−20.0 %" in line
    assert "optical flow +0.0 %" in text
    assert line.rstrip("│ ").endswith("12")


def test_what_hardly_moves_or_was_not_scored_is_not_chosen() -> None:
    base = rows("teacher", {0: 0.3, 1: 0.2}) + rows("teacher", {2: 0.1}, flow=0.0001)
    base += [Score(clip=f"p{n}/3", critic="teacher", status="failed", reason="blank") for n in range(PROMPTS)]

    (best,) = compare_best({"base": base}, chosen_by="teacher", critics=["teacher"], pair=PairConfig())
    assert best.critics["teacher"].chose_pairs
    assert best.critics["teacher"].changes["loo_error"].aligned == pytest.approx(0.2 * 1.11)
    assert compare_best({"base": rows("teacher", {0: 0.3})}, chosen_by="teacher", critics=["teacher"], pair=PairConfig()) == ()


def test_the_measure_of_the_pairs_chooses_in_its_direction() -> None:
    base = rows("teacher", {0: 0.3}, psnr=30.0) + rows("teacher", {1: 0.2}, psnr=20.0)

    (best,) = compare_best({"base": base}, chosen_by="teacher", critics=["teacher"], pair=PairConfig(measure="psnr"))
    assert best.measure == "psnr"
    assert best.critics["teacher"].changes["psnr"].aligned == pytest.approx(30)
