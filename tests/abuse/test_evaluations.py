"""evaluation.json after damage, for `videogpa report` alone: it is read, or named with what makes it again."""

import json
from pathlib import Path
from typing import Any

import pytest
from attempts import attempt
from broken import IN_ITS_PLACE, ODD_VALUES, pieces, put
from hypothesis import given
from hypothesis import strategies as st

from videogpa.findings import AtStrength, Evaluation
from videogpa.records import Score
from videogpa.stages.paired import compare_scores
from videogpa.stages.report import read_evaluation

KIND = "evaluation.json"


def whole() -> Evaluation:
    rows = [[Score(clip=f"p{n}/0", critic="sfm", status="ok", loo_error=e, flow=0.1) for n in range(12)] for e in (0.2, 0.1)]
    critics = {"sfm": compare_scores(*rows, chose_pairs=False)}
    return Evaluation(critics=critics, further=(AtStrength(adapter_scale=0.5, critics=critics),))


TEXT = whole().model_dump_json(indent=1).encode()


def read(folder: Path, content: bytes) -> Evaluation:
    path = folder / "evaluation.json"
    path.write_bytes(content)
    return read_evaluation(path)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluations")


def test_a_whole_one_is_read(room: Path) -> None:
    attempt(KIND, lambda: read(room, TEXT), expect="right result", check=lambda found: found == whole())


@given(content=pieces(TEXT))
def test_a_damaged_one_is_named(room: Path, content: bytes) -> None:
    attempt(KIND, lambda: read(room, content), names="evaluation.json", seconds=5)


@given(path=st.lists(st.integers(0, 20), min_size=1, max_size=6), value=ODD_VALUES)
def test_a_value_that_is_none_is_named(room: Path, path: list[int], value: Any) -> None:
    changed = node = json.loads(TEXT)
    for step in path[:-1]:
        inner = list(node)[step % len(node)] if isinstance(node, dict) else 0
        if not isinstance(node[inner], dict) or not node[inner]:
            break
        node = node[inner]
    node[list(node)[path[-1] % len(node)]] = value
    attempt(KIND, lambda: read(room, json.dumps(changed).encode()), names="evaluation.json", seconds=5)


@pytest.mark.parametrize("what", IN_ITS_PLACE)
def test_something_else_in_its_place_is_named(what: str, tmp_path: Path) -> None:
    put(tmp_path / "evaluation.json", what)
    attempt(KIND, lambda: read_evaluation(tmp_path / "evaluation.json"), expect="clear sentence", names="evaluation.json")
