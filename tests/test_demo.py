"""The demo's recipes, and the check by which CI holds the demo's result against the documentation."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from videogpa.cli.demo import OVER_OPTIMISE, RECIPE
from videogpa.pipeline import open_run


def test_the_demo_and_the_one_that_goes_wrong_differ_in_training_alone(tmp_path: Path) -> None:
    demo, _ = open_run(RECIPE, (), tmp_path)
    wrong, _ = open_run(RECIPE, OVER_OPTIMISE, tmp_path)
    assert wrong.train.learning_rate > 10 * demo.train.learning_rate
    assert wrong.train.beta > demo.train.beta
    assert wrong.model_copy(update={"train": demo.train, "name": demo.name}) == demo
    assert "oracle" in demo.evaluate.critics


ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/science/demo.md"
CHECK = runpy.run_path(str(ROOT / ".ci/check_demo.py"))


def evaluation(folder: Path, verdict: str = "better", high: float = -0.001, **aligned: float) -> None:
    """Write what the demo would leave whose means are those of the page, but for the given ones."""
    changes = {}
    for name, base, after in CHECK["ROW"].findall(PAGE.read_text(encoding="utf-8")):
        changes[name] = {"base": float(base), "aligned": aligned.get(name, float(after)), "high": high}
    oracle = {"changes": changes, "outcome": {"verdict": verdict}}
    (folder / "evaluation.json").write_text(json.dumps({"critics": {"oracle": oracle}}))
    (folder / "report.html").write_bytes(bytes(200_000))


@pytest.fixture
def check(tmp_path: Path) -> Callable[[], None]:
    return lambda: CHECK["main"](tmp_path, PAGE)


def test_a_demo_whose_result_is_that_of_the_page_passes(tmp_path: Path, check: Callable[[], None]) -> None:
    evaluation(tmp_path)
    check()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"loo_error": 0.0125}, "loo_error is not what"),  # no better than its base
        ({"flow": 0.012}, "flow is not what"),  # at less motion
        ({"high": 0.001}, "not clear of 0"),
        ({"verdict": "bought with motion"}, "bought with motion"),
    ],
)
def test_a_demo_that_did_not_improve_on_its_base_is_refused(
    found: dict[str, float | str], message: str, tmp_path: Path, check: Callable[[], None]
) -> None:
    evaluation(tmp_path, **found)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match=message):
        check()
