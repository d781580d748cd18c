import pytest

from videogpa.records import Score
from videogpa.stages.paired import compare_scores


def rows(values: dict[str, float | None], critic: str = "oracle") -> list[Score]:
    return [
        Score(clip=clip, critic=critic, status="ok" if v is not None else "failed", loo_error=v, psnr=v, flow=1.0, seconds=1.0)
        for clip, v in values.items()
    ]


def test_changes_are_paired_by_clip_and_resampled_by_prompt() -> None:
    base = rows({"p/1": 0.5, "p/2": 0.7, "q/1": 0.4, "q/2": 0.4})
    aligned = rows({"q/2": 0.2, "q/1": 0.2, "p/2": 0.6, "p/1": 0.6})  # order does not matter
    change = compare_scores(base, aligned, chose_pairs=False).changes["loo_error"]
    assert (change.base, change.aligned) == (pytest.approx(0.5), pytest.approx(0.4))
    assert change.difference == pytest.approx(-0.1)  # mean of p: 0, and of q: -0.2
    assert (change.low, change.high) == (pytest.approx(-0.2), pytest.approx(0.0))  # two prompts: either, or both
    assert (change.n, change.clips) == (2, 4)
    assert change.win_rate == pytest.approx(0.75)  # p/1 got worse, the three others better


def test_the_direction_is_that_of_the_measure_and_motion_has_none() -> None:
    findings = compare_scores(rows({"p/1": 1.0, "q/1": 1.0}), rows({"p/1": 2.0, "q/1": 3.0}), chose_pairs=True)
    assert findings.chose_pairs
    assert findings.changes["psnr"].win_rate == 1.0
    assert findings.changes["loo_error"].win_rate == 0.0
    assert findings.changes["flow"].win_rate is None
    assert "seconds" not in findings.changes


def test_a_clip_that_failed_on_one_side_is_left_out_on_both_and_counted() -> None:
    base = rows({"p/1": 0.5, "q/1": 0.5, "r/1": None, "s/1": 0.5})
    aligned = rows({"p/1": 0.4, "q/1": 0.4, "r/1": 0.1, "s/1": None})
    findings = compare_scores(base, aligned, chose_pairs=False)
    assert findings.base == findings.aligned == {"failed": 1, "ok": 3}
    assert (findings.changes["loo_error"].n, findings.changes["loo_error"].base) == (2, 0.5)


def test_one_prompt_gives_no_interval_and_hence_no_change() -> None:
    assert compare_scores(rows({"p/1": 1.0, "p/2": 2.0}), rows({"p/1": 1.0, "p/2": 2.0}), chose_pairs=False).changes == {}
