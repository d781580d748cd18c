"""Which file of a folder holds the masks of which clip."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import videogpa
from videogpa.errors import InvalidInput, MissingInput
from videogpa.stages.clip_files import find_masks
from videogpa.video import write_image, write_video


def clips(folder: Path, *names: str) -> dict[str, Path]:
    return {name: folder / "videos" / name for name in names}


def with_masks(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / "masks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder / "masks"


def test_the_mask_that_shares_most_folders_with_the_clip_is_taken(tmp_path: Path) -> None:
    masks = with_masks(tmp_path, "a.png", "cats/a.mp4", "b/00.png", "b/01.png", "notes.txt", ".hidden.png")

    found = find_masks(masks, clips(tmp_path, "a.mp4", "cats/a.mp4", "dogs/a.webm", "b.mp4"))
    assert {name: path.relative_to(masks).as_posix() for name, path in found.items()} == {
        "a.mp4": "a.png",
        "cats/a.mp4": "cats/a.mp4",
        "dogs/a.webm": "a.png",
        "b.mp4": "b",
    }


def test_clips_without_a_mask_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    masks = with_masks(tmp_path, "a.png")

    with caplog.at_level(logging.WARNING):
        assert set(find_masks(masks, clips(tmp_path, "a.mp4", "b.mp4"))) == {"a.mp4"}
    assert "has masks for 1 of 2 clips; what moves in the others is found" in caplog.text


def test_what_cannot_be_matched_is_said(tmp_path: Path) -> None:
    masks = with_masks(tmp_path, "a.png", "a.mp4")

    with pytest.raises(InvalidInput, match="both masks of one clip"):
        find_masks(masks, clips(tmp_path, "a.mp4"))
    (masks / "a.mp4").unlink()
    with pytest.raises(MissingInput, match=r"has no mask of any of the clips: expected one such as c\.png or c\.mp4"):
        find_masks(masks, clips(tmp_path, "c.mov"))
    with pytest.raises(MissingInput, match="no folder of masks"):
        find_masks(tmp_path / "other", clips(tmp_path, "a.mp4"))


def test_a_clip_is_scored_again_when_its_masks_change_and_not_when_they_stay(tmp_path: Path) -> None:
    critic: Any = {"critic": "vggt", "weights": "tiny:vggt", "options": ("device=cpu",), "frames": 4}
    noise = torch.rand(12, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "videos" / name, noise, 8)
    (tmp_path / "masks").mkdir()
    write_image(tmp_path / "masks/a.png", torch.zeros(3, 96, 128))

    def rows() -> dict[str, str]:
        found = videogpa.score_files(tmp_path / "videos", **critic, masks=tmp_path / "masks", out=tmp_path / "scores")
        return {Path(row.clip).name: row.fingerprint for row in found}

    first, again = rows(), rows()
    write_image(tmp_path / "masks/a.png", torch.ones(3, 96, 128))
    changed = rows()
    assert again == first
    assert changed["a.mp4"] != first["a.mp4"]
    assert changed["b.mp4"] == first["b.mp4"]
    with pytest.raises(ValueError, match="with --scene static nothing may"):
        videogpa.score_files(tmp_path / "videos", masks=tmp_path / "masks", scene="static", out=tmp_path / "scores")
