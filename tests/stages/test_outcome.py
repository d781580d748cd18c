"""One verdict on geometry and motion together: what counts as a gain, and what does not."""

import io

import pytest
from rich.console import Console, RenderableType

from videogpa.cli import summary
from videogpa.findings import CriticFindings, Evaluation
from videogpa.measures import LEAST_PROMPTS, MEASURES
from videogpa.records import Diversity, Pair, Score
from videogpa.report.verdict import headline
from videogpa.stages.paired import compare_scores

MANY = 12


def rows(
    loo: float, *, flow: float = 0.02, adherence: float = 1.0, failing: float = 0.0, prompts: int = MANY, **looks: float
) -> list[Score]:
    """Clips of some prompts, a little different from each other."""
    return [
        Score(
            clip=f"p{n}/0", critic="oracle", status="ok", motion=0.3, registered=9,
            loo_error=loo * (1 + 0.02 * n), flow=flow * (1 + 0.02 * n), adherence=adherence, failing=failing,
            **{name: value * (1 + 0.01 * n) for name, value in looks.items()},
        )
        for n in range(prompts)
    ]  # fmt: skip


def outcome(base: list[Score], aligned: list[Score]) -> str:
    found = compare_scores(base, aligned, chose_pairs=False).outcome
    assert found is not None
    return found.verdict


def test_a_gain_counts_at_equal_motion_only() -> None:
    base = rows(0.1)
    assert outcome(base, rows(0.07)) == "better"
    assert outcome(base, rows(0.07, flow=0.0195, adherence=0.96)) == "better"  # 2.5 and 4 % less: within 5 %
    assert outcome(base, rows(0.07, flow=0.018)) == "explained by less motion"
    assert outcome(base, rows(0.07, adherence=0.9)) == "explained by less motion"
    assert outcome(base, rows(0.07, flow=0.03, adherence=1.1)) == "better"  # more motion pays for nothing
    assert outcome(base, rows(0.13)) == "worse"
    assert outcome(base, rows(0.1)) == "unclear"


@pytest.mark.parametrize(
    ("measure", "kept", "lost"),
    [("sharpness", 0.049, 0.045), ("sharpness", 0.06, 0.04), ("flicker", 0.0505, 0.055), ("flicker", 0.02, 0.06),
     ("saturation", 0.053, 0.06), ("saturation", 0.047, 0.04), ("exposure", 0.0545, 0.056)],
)  # fmt: skip
def test_a_gain_that_is_paid_for_with_quality_is_none(measure: str, kept: float, lost: float) -> None:
    base = rows(0.1, **{measure: 0.05})
    paid = compare_scores(base, rows(0.07, **{measure: lost})).outcome

    assert outcome(base, rows(0.07, **{measure: kept})) == "better"
    assert paid is not None
    assert (paid.verdict, paid.lost) == ("paid for with quality", (measure,))
    assert paid.quality[measure].change == pytest.approx(lost / 0.05 - 1)
    assert f"paid for with quality ({MEASURES[measure].label}" in headline("sfm", paid)
    assert outcome(base, rows(0.1, **{measure: lost})) == "unclear"  # there is no gain to be paid for


def test_a_gain_that_is_paid_for_with_diversity_is_none() -> None:
    def spread(value: float) -> list[Diversity]:
        return [Diversity(prompt=f"p{n}", clips=2, diversity=value * (1 + 0.01 * n), vendi=1.5) for n in range(MANY)]

    found = compare_scores(rows(0.1), rows(0.07), diversity=(spread(0.3), spread(0.2)))
    assert found.outcome is not None
    assert found.outcome.verdict == "paid for with diversity"
    assert found.outcome.diversity is not None
    assert found.outcome.diversity.change == pytest.approx(-1 / 3)
    assert found.changes["vendi"].difference == 0
    assert "paid for with diversity (diversity −33.3 %" in headline("sfm", found.outcome)
    right = compare_scores(rows(0.1), rows(0.07), diversity=(spread(0.3), spread(0.2)), one_right_clip=True).outcome
    assert right is not None
    assert (right.verdict, right.lost) == ("better", ())  # clips that differ by their errors alone had better not
    assert right.diversity is not None
    kept = compare_scores(rows(0.1), rows(0.07), diversity=(spread(0.3), spread(0.29))).outcome
    assert kept is not None
    assert kept.verdict == "better"


def test_subjects_that_hardly_move_have_no_motion_to_lose() -> None:
    for subjects, verdict in ((0.004, "explained by less motion"), (0.0005, "better")):
        moving, still = rows(0.1, subject_flow=subjects), rows(0.07, subject_flow=subjects / 2)
        assert outcome(moving, still) == verdict


def test_few_prompts_cannot_tell_whatever_their_interval() -> None:
    few = LEAST_PROMPTS - 1
    found = compare_scores(rows(0.1, prompts=few), rows(0.07, prompts=few), chose_pairs=False)
    assert found.outcome is not None
    assert found.outcome.verdict == "too few prompts"
    assert found.changes["loo_error"].high < 0
    assert found.changes["loo_error"].verdict == "unclear"
    assert compare_scores(rows(0.1), rows(0.07), chose_pairs=False).changes["loo_error"].verdict == "better"


def test_a_measures_verdict_has_its_direction() -> None:
    assert MEASURES["psnr"].verdict(1.0, 0.5, 1.5, n=MANY) == "better"
    assert MEASURES["psnr"].verdict(-1.0, -1.5, -0.5, n=MANY) == "worse"
    assert MEASURES["flow"].verdict(-1.0, -1.5, -0.5, n=MANY) == "less"
    assert MEASURES["flow"].verdict(1.0, 0.5, 1.5, n=MANY) == "more"
    assert MEASURES["flow"].verdict(1.0, -0.5, 1.5, n=MANY) == "unclear"


def test_the_numbers_are_shares_of_the_base() -> None:
    found = compare_scores(rows(0.1, failing=1.0), rows(0.075, flow=0.0198, failing=0.0), chose_pairs=False).outcome
    assert found is not None
    assert found.geometry.change == pytest.approx(-0.25)
    assert found.geometry.low < -0.25 < found.geometry.high < 0
    assert found.motion["flow"].change == pytest.approx(-0.01)
    assert found.motion["adherence"].change == 0
    assert found.failing == (1.0, 0.0)
    assert (found.n, found.chose_pairs) == (MANY, False)


def test_what_was_commanded_is_no_finding_but_no_change_of_the_clips_is() -> None:
    changes = compare_scores(rows(0.1), rows(0.07), chose_pairs=False).changes
    assert "motion" not in changes  # the oracle's cameras are those of the prompt, for both models
    assert "registered" not in changes
    assert changes["adherence"].difference == changes["failing"].difference == 0


def test_without_geometry_there_is_no_outcome() -> None:
    failed = [Score(clip=f"p{n}/0", critic="sfm", status="failed", reason="noise") for n in range(MANY)]
    assert compare_scores(failed, failed, chose_pairs=False).outcome is None


def printed(shown: RenderableType) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=80).print(shown)
    return text.getvalue().splitlines()


def shown(findings: CriticFindings) -> list[str]:
    return printed(summary.evaluation(Evaluation(critics={"oracle": findings})))


def test_the_terminal_says_it_in_80_columns() -> None:
    bought = compare_scores(rows(0.1, failing=1.0), rows(0.07, flow=0.017), chose_pairs=True)
    lines = [line.rstrip() for line in shown(bought)]
    assert max(map(len, lines)) <= 80
    assert lines[0] == "critic oracle (also chose the training pairs)"
    assert not any("…" in line for line in lines)
    [row] = [line for line in lines if "LOO error↓" in line and "│" in line]
    assert "better" in row
    assert "explained by less motion" in " ".join(lines)
    assert "reward over-optimisation" in " ".join(lines).replace("\n", " ")
    other = shown(compare_scores(rows(0.1), rows(0.07), chose_pairs=False))
    assert other[0].rstrip() == "critic oracle (did not choose the training pairs)"


def test_the_headline_has_both_halves() -> None:
    found = compare_scores(rows(0.1, failing=1.0), rows(0.075), chose_pairs=False).outcome
    assert found is not None
    said = headline("oracle", found)
    assert said.startswith("oracle: better geometry at equal motion. leave-one-out error −25.0 % [")
    assert "flow +0.0 % [" in said
    assert said.endswith("failing clips 100% → 0%; 12 prompts.")


def test_the_funnel_fits_80_columns_too() -> None:
    numbers = {"winner_score": 0.0101, "loser_score": 0.0654, "gap": 0.00553, "spread": 0.00712, "motion_ratio": 0.9512}
    pairs = [Pair(prompt=f"p{n}", winner="a", loser="b", **numbers) for n in range(120)]
    lines = printed(summary.pairs(pairs))
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    [row] = [line for line in lines if line.strip().startswith("motion_ratio ")]
    assert row.split() == ["motion_ratio", *["0.951"] * 5, "█", "120"]
