"""The ruler for trainings: how differences, their intervals and the gains on held-out pairs are computed."""

import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from videogpa.records import Score

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def preference() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("preference", FOLDER / "preference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(FOLDER))  # a benchmark imports those beside it
    sys.modules["preference"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(FOLDER))


def clips(**errors: tuple[float, ...]) -> list[Score]:
    return [
        Score(clip=f"{scene}/{seed}", critic="oracle", status="ok", loo_error=error, flow=0.1)
        for scene, values in errors.items()
        for seed, error in enumerate(values)
    ]


def test_a_scene_counts_by_the_mean_logarithm_of_its_clips(preference: ModuleType) -> None:
    rows = [*clips(a=(0.01, 0.04), b=(0.5,)), Score(clip="c/0", critic="oracle", status="failed")]
    assert preference.log_errors(rows) == pytest.approx({"a": math.log(0.02), "b": math.log(0.5)})
    assert preference.values_of(rows, "flow") == pytest.approx({"a": 0.1, "b": 0.1})


def test_methods_are_paired_by_scene_and_by_seed(preference: ModuleType) -> None:
    first = [{"a": 1.0, "b": 5.0, "only here": 9.0}, {"a": 2.0, "b": 6.0, "only here": 9.0}]
    second = [{"a": 0.8, "b": 4.8}, {"a": 1.8, "b": 5.8}]
    found = preference.difference(first, second)
    assert (found.mean, found.half, found.scenes, found.seeds) == (pytest.approx(-0.2), pytest.approx(0, abs=1e-9), 2, 2)
    assert found.per_cent() == "-18.1 % [-18.1, -18.1]"
    untrained = preference.difference([{"a": 1.0, "b": 5.0}], second)  # one base for both seeds
    assert untrained.mean == pytest.approx(((0.8 - 1) + (4.8 - 5) + (1.8 - 1) + (5.8 - 5)) / 4)


def test_the_interval_holds_over_scenes_and_over_seeds(preference: ModuleType) -> None:
    """Drawn with a true difference of -0.1: nineteen in twenty intervals hold it, also where seeds of training differ most."""
    generator = torch.Generator().manual_seed(0)
    for of_scene, of_seed in ((0.3, 0.02), (0.05, 0.1)):
        held = 0
        for _ in range(200):
            scenes = of_scene * torch.randn(40, 1, generator=generator)
            seeds = of_seed * torch.randn(1, 3, generator=generator)
            table = -0.1 + scenes + seeds + 0.1 * torch.randn(40, 3, generator=generator)
            second = [{str(scene): float(value) for scene, value in enumerate(column)} for column in table.T]
            found = preference.difference([dict.fromkeys(second[0], 0.0)] * 3, second)
            held += abs(found.mean + 0.1) <= found.half
        assert 0.9 <= held / 200 <= 0.995


def test_what_was_learned_has_an_error_over_prompts(preference: ModuleType) -> None:
    gains = [preference.Gains(["a", "b", "b"], [0.001, 0.003, 0.005], [1.0, 0.75, 0.5])]
    found = preference.Found([{}], {}, [], gains)
    # deviations .25, 0, -.25 of the mean .75, summed by prompt and divided by 3: ±.25 / 3, so that SE² = 2 * 2 * (.25 / 3)²
    assert preference.learned(found) == ("0.750 ± 0.167", "+3.00 ± 1.33")
