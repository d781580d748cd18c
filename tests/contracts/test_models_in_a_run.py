"""Every miniature in a run: prompts, clips, latents, an adapter; through the real stages."""

import json
from math import log
from pathlib import Path

import pytest
from subjects import CASES

from toys import run_all, toy_recipe
from videogpa.models.toys import TOYS
from videogpa.registry import MODELS, load

pytestmark = pytest.mark.slow


def written(file: Path) -> Path:
    file.write_text('{"prompt": "room", "text": "A quiet room; the camera orbits the objects."}\n')
    return file


@pytest.mark.parametrize("name", TOYS)
def test_it_is_sampled_and_trained(name: str, tmp_path: Path) -> None:
    """The first loss is log 2: a fresh adapter changes nothing. A text-to-video model needs no image."""
    case = CASES[name]
    size = {"height": case.height, "width": case.width}
    recipe = toy_recipe(
        prompts={"world": {"train": 1, "held_out": 2, "frames": 9, **size}}
        if load(MODELS, case.entry).needs_image
        else {"world": None, "file": written(tmp_path / "prompts.jsonl")},
        model={"name": case.entry, "path": f"toy:{name}"},
        generate={**size, "num_inference_steps": 1},
        train={"steps": 2, "gradient_accumulation_steps": 1},
    )
    run_all(tmp_path / "run", recipe)
    rows = [json.loads(line) for line in (tmp_path / "run/train/metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(log(2), abs=1e-6)
    assert (tmp_path / "run/adapter/adapter_model.safetensors").stat().st_size > 0
