"""The oracle tells failing clips from true ones; docs/science/world.md has the full table, made by benchmarks/failures.py."""

import pytest
import torch

from videogpa.maths.stats import auc
from videogpa.records import Prompt, Scene
from videogpa.scoring.scorer import Scorer
from videogpa.world.failures import FAILURES, Failure, FailureKind, render_failing
from videogpa.world.paths import PATHS

pytestmark = pytest.mark.slow

SCENES = [
    Scene(seed=seed, camera=list(PATHS)[seed % 10], frames=5, height=32, width=32, style=("rich", "plain")[seed % 2])
    for seed in range(12)
]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(critic="oracle", frames=5)


@pytest.fixture(scope="module")
def true(scorer: Scorer) -> list[float]:
    return [score(scorer, scene) for scene in SCENES]


def score(scorer: Scorer, scene: Scene, failure: Failure | None = None) -> float:
    row = scorer.score_clip(render_failing(scene, failure), clip="p/0", prompt=Prompt(prompt="p", text="", scene=scene)).score
    assert row.status == "ok"
    assert row.loo_error is not None
    return row.loo_error


@pytest.mark.parametrize("kind", FAILURES)
def test_failing_clips_score_worse_than_true_ones_and_the_worse_the_stronger(
    kind: FailureKind, scorer: Scorer, true: list[float]
) -> None:
    strong = [score(scorer, scene, Failure(kind=kind, strength=1.0, seed=scene.seed)) for scene in SCENES]
    # With 20 scenes: AUC .89 (swim; scenes differ in their own error) to 1.00, paired .95 (deform: one scene) to 1.00.
    assert auc(torch.tensor(true), torch.tensor(strong)) > 0.85
    assert sum(failing > own for failing, own in zip(strong, true, strict=True)) >= 0.9 * len(SCENES)
    for number in range(2):  # one of each style
        middle = score(scorer, SCENES[number], Failure(kind=kind, strength=0.5, seed=number))
        assert true[number] < middle < strong[number]
