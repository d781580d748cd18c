"""One clip never ends a batch: what happens to files that cannot be read, and to errors that nobody expected."""

import json
import logging
import os
from pathlib import Path

import attempts
import pytest
import torch
from safetensors import SafetensorError

from videogpa.config import ScoreConfig, WorkersConfig, score_config
from videogpa.critics.base import CriticInput, ReconstructionFailed
from videogpa.critics.sfm import SfmCritic
from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.records import Clip, Prompt, Reconstruction, Score
from videogpa.report.tables import distinct_names
from videogpa.scoring import frame_store
from videogpa.stages import compare
from videogpa.stages.clip_files import clip_name, find_videos
from videogpa.stages.score import score_clips, score_files
from videogpa.storage.run_folder import RunFolder
from videogpa.video import write_image, write_video
from videogpa.workers import open_pool

BAD = 0.9
"""Brightness of the clips that the critic fails on."""


def declines(critic: SfmCritic, clip: CriticInput) -> Reconstruction:
    """A critic that declines every clip at once, and has a bug that bright clips provoke."""
    if clip.frames.mean() > BAD - 0.1:
        raise {"oom": torch.OutOfMemoryError("CUDA"), "disk": OSError(28, "No space left on device")}.get(
            ERROR[0], KeyError("x")
        )
    raise ReconstructionFailed("declined")


ERROR = ["bug"]


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(SfmCritic, "reconstruct", declines)
    monkeypatch.setattr("test_score_errors.ERROR", ["bug"])
    folder = tmp_path / "clips"
    for name, level in (("a", 0.2), ("b", BAD), ("c", 0.3)):
        write_video(folder / f"{name}.mp4", torch.full((10, 3, 32, 32), level), 8)
    return folder


def statuses(rows: list[Score]) -> dict[str, str]:
    return {Path(row.clip).stem: row.status for row in rows}


def test_an_unexpected_error_is_the_row_of_its_clip_and_is_tried_again(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    with caplog.at_level(logging.DEBUG, "videogpa"):
        rows = score_files([str(clips)], ScoreConfig(), tmp_path / "out")
    assert statuses(rows) == {"a": "failed", "b": "error", "c": "failed"}
    [reason] = [row.reason for row in rows if row.status == "error"]
    assert reason is not None
    assert reason.startswith("an unexpected error of the program: KeyError: 'x', at test_score_errors.py:")
    assert str(tmp_path) not in reason
    assert "1 of 3 clips ended in an unexpected error" in caplog.text
    assert "Traceback" in caplog.text  # at the level of debugging
    assert "unexpected error of the program" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    monkeypatch.setattr("test_score_errors.BAD", 2.0)  # the bug is mended
    assert statuses(score_files([str(clips)], ScoreConfig(), tmp_path / "out")) == dict.fromkeys("abc", "failed")


def test_the_command_shows_the_traceback_with_debug_alone_and_exits_with_one(clips: Path, tmp_path: Path):
    out = str(tmp_path / "out")
    ran = attempts.run_shell("score", str(clips), "--out", out)
    assert ran.status == 1
    assert "error" in ran.out
    assert "1 of 3 clips ended in an unexpected error" in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in attempts.run_shell("score", str(clips), "--out", out, "--debug").err
    (clips / "b.mp4").unlink()
    assert attempts.run_shell("score", str(clips), "--out", out).status == 0


@pytest.mark.parametrize(("error", "kind"), [("oom", torch.OutOfMemoryError), ("disk", OSError)])
def test_what_the_other_clips_would_meet_too_ends_the_batch(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, kind: type[Exception]
):
    monkeypatch.setattr("test_score_errors.ERROR", [error])
    with pytest.raises(kind):
        score_files([str(clips)], ScoreConfig(), tmp_path / "out")
    lines = (tmp_path / "out" / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    assert [Path(json.loads(line)["clip"]).stem for line in lines] == ["a"]  # finished work is kept


def test_the_clips_of_a_run_go_on_too(clips: Path, tmp_path: Path):
    folder = RunFolder(tmp_path)
    rows = [Clip(clip=f"p/{name}", prompt="p", seed=0, path=f"clips/{name}.mp4", fingerprint=name) for name in "abc"]
    with open_pool(WorkersConfig()) as pool:
        scores = score_clips(rows, [Prompt(prompt="p", text="")], [ScoreConfig()], folder, pool)
        assert statuses(scores) == {"a": "failed", "b": "error", "c": "failed"}
        with pytest.raises(
            MissingInput, match=r"clips\.jsonl has clips of 1 prompt that prompts\.jsonl does not have, such as p"
        ):
            score_clips(rows, [], [ScoreConfig()], folder, pool)


def test_clips_too_small_for_the_networks_are_rows(tmp_path: Path):
    """The miniature network takes small frames as they are, and LPIPS cannot look at them."""
    noise = torch.rand(4, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    write_video(tmp_path / "a.mp4", noise, 8, crf=0)
    write_video(tmp_path / "b.mp4", torch.rand(4, 3, 2, 64), 8, crf=0)
    config = score_config(critic="vggt", options={"weights": "tiny:vggt"}, frames=4)
    rows = {Path(row.clip).stem: row for row in score_files([str(tmp_path)], config, tmp_path / "out")}
    assert {row.status for row in rows.values()} == {"failed", "unreadable"}
    assert "64 x 2 pixels; one side may be 16 times as long" in (rows["b"].reason or "")


def test_what_may_not_be_read_has_a_row_and_what_may_not_be_looked_into_is_said(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    os.mkfifo(clips / "pipe.mp4")
    (clips / "gone.mp4").symlink_to("nowhere.mp4")
    (clips / "closed.mp4").write_bytes(b"x")
    (clips / "x.mp4").mkdir()
    (clips / "x.mp4" / "c.mp4").write_bytes((clips / "c.mp4").read_bytes())
    (clips / "secret").mkdir()
    read, look = Path.open, os.scandir

    def may_read(path: Path, *given: object, **named: object) -> object:
        if path.name == "closed.mp4":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *given, **named)

    def may_look(path: str) -> object:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(Path, "open", may_read)
    monkeypatch.setattr(os, "scandir", may_look)
    rows = score_files([str(clips)], ScoreConfig(), tmp_path / "out")
    found = {Path(row.clip).relative_to(clips).as_posix(): (row.status, row.reason) for row in rows}
    assert found["closed.mp4"] == ("unreadable", "may not be read (permission denied)")
    assert found["pipe.mp4"] == ("unreadable", "is a pipe, a device or a socket, not a video")
    assert found["gone.mp4"] == ("unreadable", "there is no such file")
    assert found["x.mp4/c.mp4"][0] == "failed"
    assert "secret may not be looked into (Permission denied)" in caplog.text


def test_names_that_are_no_utf8_are_escaped_and_kept_on_resume(clips: Path, tmp_path: Path):
    odd = os.fsdecode(os.fsencode(clips) + b"/caf\xe9.mp4")
    Path(odd).write_bytes((clips / "a.mp4").read_bytes())
    out = tmp_path / "out"
    rows = score_files([str(clips), odd], ScoreConfig(), out)
    assert r"caf\xe9.mp4" in {Path(row.clip).name for row in rows}
    assert len(rows) == 4
    kept = (out / "scores.jsonl").read_bytes()
    assert len(score_files([odd], ScoreConfig(), out)) == 1
    assert score_files([str(clips)], ScoreConfig(), out)
    assert sorted((out / "scores.jsonl").read_bytes().splitlines()) == sorted(kept.splitlines())
    assert r"caf\xe9.mp4" in (out / "report.html").read_text(encoding="utf-8")
    assert r"caf\xe9.mp4" in attempts.run_shell("score", odd, "--out", str(out)).out.replace("\n", "")
    same = Path(os.fsdecode(os.fsencode(clips) + rb"/caf\xe9.mp4"))
    same.write_bytes(b"")
    with pytest.raises(InvalidInput, match="two files are both shown as"):
        score_files([str(clips)], ScoreConfig(), out)


def test_what_is_found_in_folders(tmp_path: Path):
    for name in ("a.wmv", "b.M2TS", "c.avif", "d.ogv", "._a.mp4", ".hidden.mp4", ".cache/e.mp4", "f.webp", "g.gif", "h.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" if name == "c.avif" else b"RIFF\0\0\0\0WEBPVP8 ")
    for folder, files in {
        "frames": ("frame_0001.png", "frame_0002.png"),
        "mixed": ("1.png", "2.png", "a.mp4"),
        "photos": ("beach.jpg", "dog.jpg"),
        "one": ("1.png",),
        "hashes": ("0f1.jpg", "1a2.jpg"),
    }.items():
        (tmp_path / folder).mkdir()
        for file in files:
            write_image(tmp_path / folder / file, torch.zeros(3, 8, 8))
    found = [path.relative_to(tmp_path).as_posix() for path in find_videos([str(tmp_path)])]
    assert found == ["a.wmv", "b.M2TS", "d.ogv", "frames", "g.gif", "mixed/a.mp4"]  # the AVIF and the WebP file are stills
    assert find_videos([str(tmp_path / "frames")]) == [tmp_path / "frames"]
    assert find_videos([str(tmp_path / ".hidden.mp4")]) == [tmp_path / ".hidden.mp4"]  # named by hand
    with pytest.raises(MissingInput, match="the folder holds no video, and no pictures that are numbered"):
        find_videos([str(tmp_path / "photos")])
    with pytest.raises(InvalidInput, match="is one clip, of numbered pictures"):
        compare.from_folders([str(tmp_path / "frames"), str(tmp_path / "mixed")])


def test_a_folder_of_frames_is_scored_and_is_scored_again_when_a_frame_changes(clips: Path, tmp_path: Path):
    frames = tmp_path / "frames"
    for number in range(10):
        write_image(frames / f"{number}.png", torch.full((3, 32, 32), 0.2))
    [row] = score_files([str(frames)], ScoreConfig(), tmp_path / "out")
    assert (row.status, row.reason) == ("failed", "declined")
    (frames / "5.png").unlink()
    [row] = score_files([str(frames)], ScoreConfig(), tmp_path / "out")
    assert row.status == "unreadable"
    assert "numbered 4 and 6 one after the other" in (row.reason or "")


def test_clips_of_the_same_name_are_told_apart():
    clips = ["a/clips/001.mp4", "b/clips/001.mp4", "b/clips/002.mp4", "003.mp4", "x/a/clips/001.mp4"]
    assert list(distinct_names(clips).values()) == [
        "a/clips/001.mp4",
        "b/clips/001.mp4",
        "clips/002.mp4",
        "003.mp4",
        "x/a/clips/001.mp4",
    ]
    assert distinct_names([]) == {}
    assert clip_name("x/é.mp4") == "x/é.mp4"


def test_a_full_disk_under_a_long_clip_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(frame_store, "save_file", full)
    maps = torch.ones(1, 8, 8)
    frame = Reconstruction(torch.zeros(1, 3, 8, 8), maps, maps, torch.eye(3)[None], torch.eye(4)[None])
    with pytest.raises(UserError, match=r"cannot be kept in .* \(No space left on device\).*TMPDIR"):
        frame_store.FrameStore(tmp_path).append(frame, [0])
