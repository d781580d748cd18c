"""The demo's recipes load; what they lead to is shown by the pipeline's test, and by the demo."""

from pathlib import Path

from videogpa.cli.demo import OVER_OPTIMISE, RECIPE
from videogpa.pipeline import open_run


def test_the_demo_and_the_one_that_goes_wrong_differ_in_training_alone(tmp_path: Path) -> None:
    demo, _ = open_run(RECIPE, (), tmp_path)
    wrong, _ = open_run(RECIPE, OVER_OPTIMISE, tmp_path)
    assert wrong.train.learning_rate > 10 * demo.train.learning_rate
    assert wrong.train.beta > demo.train.beta
    assert wrong.model_copy(update={"train": demo.train, "name": demo.name}) == demo
    assert "oracle" in demo.evaluate.critics
