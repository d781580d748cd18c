"""A run folder has its own copy of its prompts, and is continued from it alone."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from videogpa.bundled import recipes_folder
from videogpa.config import load_recipe
from videogpa.errors import UserError
from videogpa.pipeline import open_run
from videogpa.records import Prompt
from videogpa.stages import generate, prompts
from videogpa.storage import manifests
from videogpa.storage.provenance import write_recipe
from videogpa.storage.run_folder import RunFolder
from videogpa.video import write_image, write_video

SECRET = "the only line of a private file"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Prompts with an image and clips, in a folder of their own."""
    folder = tmp_path / "source"
    write_image(folder / "a.png", torch.rand(3, 8, 8))
    write_video(folder / "1.mp4", torch.rand(9, 3, 64, 64), 8)
    lines = ["id,prompt,image,video", "a,a room,a.png,", "b,a hall,,1.mp4", "c,a shed,,"]
    (folder / "p.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def _run(target: str | Path, out: Path | None = None, *settings: str) -> list[Prompt]:
    """What a command does before the stage of the prompts, and the stage."""
    recipe, folder = open_run(target, settings, out)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, folder)
    return prompts.run(recipe, folder)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _recipe(tmp_path: Path, **section: object) -> Path:
    content = load_recipe(recipes_folder() / "smoke-test.yaml").model_dump(mode="json", exclude_none=True)
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({**content, "prompts": section}))
    return tmp_path / "my.yaml"


def test_a_moved_run_goes_on_without_the_files_that_its_prompts_came_from(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(tmp_path, file="source/p.csv", held_out=1)
    rows = _run(recipe, tmp_path / "run")
    files = _files(tmp_path / "run")
    assert rows[1].videos == ("prompts/clips/b/0.mp4",)
    assert str(tmp_path) not in files["recipe.yaml"].decode()
    assert _run(tmp_path / "run") == rows
    assert _files(tmp_path / "run") == files
    (tmp_path / "run").rename(tmp_path / "moved")
    shutil.rmtree(source)
    recipe.unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert _run("../moved") == rows
    assert _files(tmp_path / "moved") == files
    assert [row.split for row in _run("../moved", None, "prompts.held_out=2")].count("held_out") == 2
    assert all("The camera" in row.text for row in _run("../moved", None, "prompts.camera={}"))
    assert _run("../moved", None, "prompts.camera=null", "prompts.held_out=1") == rows


def test_a_run_from_a_folder_of_images_goes_on_with_its_camera_moves(source: Path, tmp_path: Path) -> None:
    rows = _run(_recipe(tmp_path, images="source"), tmp_path / "run")
    files = _files(tmp_path / "run")
    assert rows[0].text
    assert _run(tmp_path / "run") == rows
    assert _files(tmp_path / "run") == files


def test_the_prompts_of_a_run_can_be_those_of_another(source: Path, tmp_path: Path) -> None:
    rows = _run(_recipe(tmp_path, file="source/p.csv"), tmp_path / "first")
    assert _run(_recipe(tmp_path, run="first"), tmp_path / "second") == rows
    shutil.rmtree(tmp_path / "first")
    assert _run(tmp_path / "second") == rows
    world = _run(recipes_folder() / "smoke-test.yaml", tmp_path / "world")
    assert [row.scene for row in _run(_recipe(tmp_path, run="world"), tmp_path / "third")] == [row.scene for row in world]


def test_a_path_on_the_command_line_is_used_instead(source: Path, tmp_path: Path) -> None:
    _run(_recipe(tmp_path, file="source/p.csv"), tmp_path / "run")
    (tmp_path / "new.txt").write_text("a garden")
    assert [row.text for row in _run(tmp_path / "run", None, f"prompts.file={tmp_path / 'new.txt'}")] == ["a garden"]
    (tmp_path / "new.txt").unlink()
    assert [row.text for row in _run(tmp_path / "run")] == ["a garden"]


def test_a_run_that_was_stopped_before_its_prompts_were_copied_asks_for_them(source: Path, tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, file="source/p.csv")
    write_recipe(load_recipe(recipe), RunFolder(tmp_path / "run"))
    with pytest.raises(UserError, match=r"no whole copy of the prompts.*--set prompts.file=FILE"):
        _run(tmp_path / "run")
    assert len(_run(recipe, tmp_path / "run")) == 3
    assert len(_run(tmp_path / "run")) == 3


@pytest.mark.parametrize("key", ["file", "images", "run"])
def test_a_received_run_folder_reads_no_private_file(key: str, source: Path, tmp_path: Path) -> None:
    private = tmp_path / "private"
    _run(_recipe(tmp_path, file="source/p.csv"), private / "run")
    (private / "letters.txt").write_text(SECRET)
    write_image(private / "photo.png", torch.zeros(3, 8, 8))
    run = tmp_path / "received"
    shutil.copytree(private / "run", run)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    value = {"file": private / "letters.txt", "images": private, "run": private / "run"}[key]
    (run / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "prompts": {key: str(value)}}))
    texts = [row.text for row in _run(run)]
    assert [text.endswith(own) for text, own in zip(texts, ["a room", "a hall", "a shed"], strict=True)] == [True] * 3
    (run / "prompts/given.jsonl").unlink()
    with pytest.raises(UserError, match="no whole copy"):
        _run(run)
    assert not any(SECRET.encode() in content for content in _files(run).values())


@pytest.mark.parametrize(
    "name", ["../private/photo.png", "{private}/photo.png", "prompts/link.png", "../received/../private/photo.png"]
)
def test_rows_of_a_received_run_folder_name_no_files_outside(name: str, source: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "private/photo.png", torch.zeros(3, 8, 8))
    _run(_recipe(tmp_path, file="source/p.csv"), tmp_path / "received")
    (tmp_path / "received/prompts/link.png").symlink_to(tmp_path / "private/photo.png")
    folder = RunFolder(tmp_path / "received")
    path = name.format(private=tmp_path / "private")
    for hostile in (Prompt(prompt="a", text="x", image=path), Prompt(prompt="a", text="x", videos=(path,))):
        manifests.given_prompts(folder).path.write_text(hostile.model_dump_json() + "\n")
        with pytest.raises(UserError, match="outside the run folder"):
            _run(tmp_path / "received")
    with pytest.raises(UserError, match="outside the run folder"):
        generate._with_absolute_clips(Prompt(prompt="a", text="x", videos=(path,)), folder)


def test_a_broken_image_is_named_before_anything_is_copied(source: Path, tmp_path: Path) -> None:
    (source / "a.png").write_bytes((source / "a.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"1 of 1 first frames cannot be used: .*a.png"):
        _run(_recipe(tmp_path, file="source/p.csv"), tmp_path / "run")
    assert not (tmp_path / "run/prompts").exists()
