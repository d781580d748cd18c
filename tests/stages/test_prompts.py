import json
from pathlib import Path

import pytest
import torch

from videogpa import manifests
from videogpa.config import PromptsConfig, Recipe, load_recipe
from videogpa.errors import UserError
from videogpa.pipeline import recipes_folder
from videogpa.runs import RunFolder
from videogpa.stages import prompts
from videogpa.video import read_image, write_image
from videogpa.world.prompts import view


@pytest.fixture
def mini() -> Recipe:
    return load_recipe(recipes_folder() / "mini.yaml")


def from_file(mini: Recipe, file: Path) -> Recipe:
    return mini.model_copy(update={"prompts": PromptsConfig(file=file)})


def test_world_prompts_bring_their_true_first_frame(mini: Recipe, tmp_path: Path) -> None:
    rows = prompts.run(mini, RunFolder(tmp_path))
    assert [row.split for row in rows] == ["train"] * 8 + ["held_out"] * 4
    assert rows[0].image is not None
    assert rows[0].scene is not None
    first = view(rows[0].scene).images[0]
    torch.testing.assert_close(read_image(tmp_path / rows[0].image), first, atol=0.5 / 255 + 1e-6, rtol=0)


def test_a_file_of_prompts_is_copied_with_its_images(mini: Recipe, tmp_path: Path) -> None:
    write_image(tmp_path / "pictures/a.png", torch.rand(3, 8, 8))
    lines = [
        {"prompt": "a", "text": "a room", "image": "pictures/a.png"},
        {"prompt": "b", "text": "a hall", "split": "held_out"},
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    folder = RunFolder(tmp_path / "run")
    rows = prompts.run(from_file(mini, file), folder)
    assert [(row.prompt, row.text, row.image, row.split) for row in rows] == [
        ("a", "a room", "prompts/a.png", "train"),
        ("b", "a hall", None, "held_out"),
    ]
    assert (folder / "prompts/a.png").read_bytes() == (tmp_path / "pictures/a.png").read_bytes()
    before = manifests.prompts(folder).path.stat().st_mtime_ns
    assert prompts.run(from_file(mini, file), folder) == rows
    assert manifests.prompts(folder).path.stat().st_mtime_ns == before
    write_image(tmp_path / "pictures/a.png", torch.rand(3, 8, 8))  # another picture under the old name
    assert prompts.run(from_file(mini, file), folder)[0].fingerprint != rows[0].fingerprint
    assert (folder / "prompts/a.png").read_bytes() == (tmp_path / "pictures/a.png").read_bytes()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "line 1: not JSON"),
        ('{"prompt": "a"}', "line 1: expected .*text: Field required"),
        ('{"prompt": "a", "text": "x", "sead": 1}', "sead: Extra inputs"),
        ('{"prompt": "a", "text": "x", "image": "none.png"}', "no image at"),
        ('{"prompt": "a", "text": "x"}\n{"prompt": "a", "text": "y"}', "line 2: the prompt id 'a' is there already"),
        ('{"prompt": "../a", "text": "x"}', "prompt: String should match"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_line(mini: Recipe, tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(content)
    with pytest.raises(UserError, match=complaint):
        prompts.run(from_file(mini, file), RunFolder(tmp_path / "run"))


def test_a_missing_file_is_named(mini: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no prompts at"):
        prompts.run(from_file(mini, tmp_path / "none.jsonl"), RunFolder(tmp_path / "run"))
