"""Run folders that are no run folders, damaged, or hostile: nothing of the user's is lost, nothing outside is touched."""

import json
import logging
import os
from pathlib import Path

import pytest
from attempts import attempt
from hypothesis import given
from hypothesis import strategies as st

from videogpa.prompts.output import write_prompts
from videogpa.records import Clip
from videogpa.storage import manifests
from videogpa.storage.manifests import Manifest
from videogpa.storage.run_folder import RunFolder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lock(folder: Path, scores: bool) -> None:
    with RunFolder(folder).lock(scores=scores):
        pass


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize(
    "name", ["train/mine.py", "adapter/weights", ".z.tmpl", "notes.txt", "clips/holiday.mp4", "recipe.yaml"]
)
def test_a_folder_of_the_user_is_refused_and_stays_as_it_is(name: str, scores: bool, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    attempt("run folder: --out", lambda: lock(tmp_path, scores), expect="clear sentence", names="--out")
    assert contents(tmp_path) == {name: b"mine"}


def test_a_run_is_no_folder_of_scores_and_the_other_way_round(tmp_path: Path) -> None:
    for first in (False, True):
        folder = tmp_path / str(first)
        lock(folder, first)
        (folder / "scores.jsonl").touch()
        attempt("run folder: --out", lambda at=folder, other=not first: lock(at, other), expect="clear sentence", names="--out")
        attempt("run folder: --out", lambda at=folder, same=first: lock(at, same), expect="right result")


@pytest.mark.parametrize("name", [".lock", "clips", "clips/p", "clips.jsonl", "recipe.yaml", "best", "diversity.jsonl"])
def test_a_link_that_leads_out_of_a_run_is_refused_and_nothing_is_written_there(name: str, tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    lock(run, False)
    outside.write_text("private")
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    attempt("run folder: links", lambda: lock(run, False), expect="clear sentence", names=name)
    assert outside.read_text() == "private"


OUTSIDE = ["../x", "a/../../x", "/etc/x", "C:x", "C:\\x", "\\\\host\\x", "a\x00b", "", "a\\..\\..\\x", "link/x"]


@pytest.mark.parametrize("column", ["clip", "prompt", "path", "latents"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_of_a_row_that_leads_outside_is_refused(name: str, column: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "link").symlink_to(tmp_path)
    row = {"clip": "p/0", "prompt": "p", "seed": 0, "path": "clips/p/0.mp4", column: name}
    (run / "clips.jsonl").write_text(json.dumps(row) + "\n")
    attempt("run folder: paths", manifests.clips(RunFolder(run)).rows, expect="clear sentence", names=f"line 1: {column}")


LINE = '{"fingerprint":"a","clip":"%s","prompt":"p","seed":0,"path":"x.mp4","latents":null}'
BROKEN = [
    b"\xff\xfe\x00", b"garbage", b"\x00" * 40, b"[1]", b"{}", b"null", b'{"clip": "2"}', b"[" * 100_000, b'{"clip":' * 9_000,
    (LINE % "2").replace("0", "9" * 5000).encode(), (LINE % "2").replace('"p"', "7").encode(), (LINE % "\u00e9").encode()[:27],
    (LINE % "2").replace('"prompt"', '"clip"').encode(), (LINE % "\\ud800").encode(),
]  # fmt: skip


@given(middle=st.sampled_from(BROKEN) | st.binary(max_size=60).filter(lambda line: line.strip() and b"\n" not in line))
def test_a_damaged_row_is_set_aside_and_made_again_and_the_others_stay(
    middle: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("run") / "clips.jsonl"
    whole = [(LINE % name).encode() for name in "13"]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n\n".join([whole[0], middle, whole[1]]) + b"\n")
    rows = Manifest(path, Clip, "clip")
    made: list[str] = []

    def make(keys: list[str]) -> list[Clip]:
        made.extend(keys)
        return [Clip(clip=key, prompt="p", seed=0, path="x.mp4") for key in keys]

    def check(found: list[Clip]) -> None:
        assert [row.clip for row in found] == ["1", "2", "3"]
        assert made == ["2"]
        assert middle + b"\n" in path.with_name("clips.jsonl.damaged").read_bytes()

    attempt("run folder: rows", lambda: rows.update(dict.fromkeys("123", "a"), make), expect="right result", check=check)


def test_a_damaged_row_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "clips.jsonl").write_bytes((LINE % "1").encode() + b"\n\xff\n")
    with caplog.at_level(logging.WARNING):
        assert len(manifests.clips(RunFolder(tmp_path)).rows()) == 1
    assert "line 2: it is no UTF-8 text" in caplog.text
    assert "clips.jsonl.damaged" in caplog.text


def test_rows_stay_until_something_new_is_made_and_are_then_kept_aside_with_their_files(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "recipe.yaml").write_text("old")
    rows = manifests.clips(folder)
    (tmp_path / "clips/p").mkdir(parents=True)
    for seed in (0, 1):
        (tmp_path / f"clips/p/{seed}.mp4").write_text(f"old {seed}")
        rows.append(Clip(clip=f"p/{seed}", prompt="p", seed=seed, path=f"clips/p/{seed}.mp4", fingerprint="a"))
    before = contents(tmp_path)

    def fails(keys: list[str]) -> list[Clip]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows.update({"p/0": "b", "p/1": "b"}, fails)
    assert contents(tmp_path) == before

    def make(keys: list[str]) -> list[Clip]:
        row = Clip(clip="p/0", prompt="p", seed=0, path="clips/p/0.mp4")
        (rows.staging / row.path).parent.mkdir(parents=True)
        (rows.staging / row.path).write_text("new")
        return [row]

    rows.update({"p/0": "b"}, make)
    [aside] = (tmp_path / "replaced").iterdir()
    assert (tmp_path / "clips/p/0.mp4").read_text() == "new"
    assert [row.fingerprint for row in rows.rows()] == ["b"]
    kept = contents(aside)
    assert kept.pop("recipe.yaml") == b"old"
    assert kept == {name: before[name] for name in ("clips.jsonl", "clips/p/0.mp4", "clips/p/1.mp4")}
    assert list(tmp_path.glob(".videogpa-*")) == []


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "device"])
def test_prompts_are_written_to_regular_files_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "target")
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/null")
    attempt("run folder: --out", lambda: write_prompts([], path), expect="clear sentence", names=str(path))
    assert not path.is_file()
