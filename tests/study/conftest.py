"""A small study: clips of four prompts by two models, and what raters say of them."""

import json
from pathlib import Path

import pytest
import torch
from people import answered

from videogpa.stages.compare import from_folders
from videogpa.study.make import Sources, make
from videogpa.study.records import Key
from videogpa.video import write_video


def clip(level: float, frames: int = 6) -> torch.Tensor:
    """Grey that gets lighter, with a bright corner, so that scrambling shows."""
    pictures = torch.linspace(level, level + 0.1, frames)[:, None, None, None].expand(-1, 3, 32, 48).clone()
    pictures[:, :, :8, :12] = 1.0
    return pictures


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of four pairs and three raters; do not write into it."""
    folder = tmp_path_factory.mktemp("study")
    for number in range(4):
        for place, arm in enumerate(("base", "aligned")):
            write_video(folder / arm / f"p{number}.mp4", clip(0.2 + 0.1 * number + 0.3 * place), fps=12)
    methods = from_folders([str(folder / "base"), str(folder / "aligned")])
    make(Sources(methods), folder / "study", pairs=4, raters=3, seed=5)
    return folder / "study"


@pytest.fixture(scope="session")
def key(study: Path) -> Key:
    return Key.model_validate_json((study / "key.json").read_text())


@pytest.fixture
def answer_files(key: Key, tmp_path: Path) -> list[Path]:
    """Files of all three raters, who prefer the aligned clip, but for the third, who sees no difference."""
    files = []
    for number, rater in enumerate(key.raters):
        answers = answered(key, rater, lambda item, number=number: None if number == 2 else "aligned")
        files.append(tmp_path / f"answers-{rater}.json")
        files[-1].write_text(json.dumps(answers.model_dump(mode="json")))
    return files
