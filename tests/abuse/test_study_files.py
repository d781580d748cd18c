"""Files of a study, of a comparison, and masks, after damage: each is read, or named in a sentence."""

import io
import json
from pathlib import Path

import pytest
import torch
from attempts import attempt
from broken import pieces
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from videogpa.findings import Comparison, MethodFindings
from videogpa.records import Score
from videogpa.scoring.masks import read_masks
from videogpa.stages.paired import compare_scores
from videogpa.stages.table import table
from videogpa.study.answers import read_answers, read_key
from videogpa.study.records import QUESTIONS, Answer, Answers, Item, Key, Trial

KEY = Key(
    study="study",
    made_by="1",
    seed=0,
    arms=("base", "aligned"),
    items={"item": Item(name="a", prompt="a", arms=("base", "aligned"), clips=("/a", "/b"), seconds=1.0)},
    raters={"rater": (Trial(item="item", left=0),)},
)
ANSWER = Answer(trial=0, choices=dict.fromkeys(QUESTIONS, "left"), seconds=2.0)
ANSWERS = Answers(study="study", rater="rater", browser="browser", answers=(ANSWER,))


def compared() -> Comparison:
    rows = [[Score(clip=f"p{n}/0", critic="sfm", status="ok", loo_error=e, flow=0.1) for n in range(12)] for e in (0.2, 0.1)]
    found = MethodFindings(findings=compare_scores(*rows), clips=12, geometric=None)
    return Comparison(base="base", critic="sfm", methods={"aligned": found}, unmatched={})


def mask() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (16, 12), 255).save(stream, "PNG")
    return stream.getvalue()


TEXTS = {
    "key.json": KEY.model_dump_json(indent=1).encode(),
    "answers.json": ANSWERS.model_dump_json(indent=1).encode(),
    "compare.json": compared().model_dump_json(indent=1).encode(),
    "mask.png": mask(),
}


def read(path: Path, content: bytes) -> object:
    path.write_bytes(content)
    if path.name == "key.json":
        return read_key(path)
    if path.name == "answers.json":
        return read_answers([path], KEY)
    if path.name == "compare.json":
        return table(path.parent, "csv", ["loo_error"])
    return read_masks(path, 5, [0, 4])


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


def test_whole_ones_are_read(room: Path) -> None:
    found = {name: attempt(name, lambda n=name: read(room / n, TEXTS[n]), expect="right result") for name in TEXTS}

    assert found["key.json"] == KEY
    assert found["answers.json"] == [ANSWERS]
    assert "loo_error" in str(found["compare.json"])
    assert isinstance(found["mask.png"], torch.Tensor)
    assert found["mask.png"].all()


@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
def test_damaged_ones_are_named(room: Path, name: str, data: st.DataObject) -> None:
    text = TEXTS[name]
    torn = st.integers(0, len(text) - 1).map(lambda n: text[:n])
    content = data.draw(torn | st.binary(max_size=64) if name == "mask.png" else pieces(text))
    attempt(name, lambda: read(room / name, content), names=name, seconds=5)


@pytest.mark.parametrize("name", ["key.json", "answers.json", "compare.json"])
def test_rows_of_wrong_types_are_named(room: Path, name: str) -> None:
    whole = json.loads(TEXTS[name])
    for field in whole:
        for value in (None, 7, "x" * 10_000, [], {"a": [[]]}, float("nan")):
            attempt(name, lambda c={**whole, field: value}: read(room / name, json.dumps(c).encode()), names=name, seconds=5)
