"""`videogpa score` on real clips of the miniature world, judged by the real weight-free critic."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

import videogpa
from videogpa.config import ScoreConfig
from videogpa.errors import UserError
from videogpa.measures import MEASURES
from videogpa.records import Score
from videogpa.report.tables import ranked, score_table, short_names
from videogpa.scoring.optical_flow import mean_flow
from videogpa.stages.score import find_videos, score_files
from videogpa.video import read_frames, write_video

pytestmark = pytest.mark.slow

FEW = ScoreConfig(frames=5)  # of the 25 frames of the real clip 12 are read
PAPER = ("error_3dcs", "mse", "lpips", "psnr", "ssim", "motion", "mvcs")
OURS = (
    "loo_mse",
    "loo_lpips",
    "loo_error",
    "loo_coverage",
    "epipolar",
    "jerk",
    "registered",
    "points",
    "focal_widths",
    "seconds",
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A real clip, a frozen one, noise, and files that are no videos."""
    folder = tmp_path_factory.mktemp("clips")
    real = read_frames(shared / "clips/realestate/10.mp4", 25)
    write_video(folder / "real.mp4", real[:, :, ::2, ::2].contiguous(), 8)
    write_video(folder / "frozen.mp4", real[:1, :, ::4, ::4].repeat(12, 1, 1, 1), 8)
    write_video(folder / "noise.mp4", torch.rand(12, 3, 96, 128, generator=torch.Generator().manual_seed(0)), 8)
    write_video(folder / "short.mp4", real[:3, :, ::4, ::4].contiguous(), 8)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video")
    (folder / "notes.txt").write_text("not looked at")
    return folder


@pytest.fixture(scope="module")
def results(clips: Path) -> tuple[Path, list[Score]]:
    out = clips.parent / "scores"
    return out, score_files([str(clips)], FEW, out)


def test_every_clip_has_a_row_with_numbers_or_a_reason(results: tuple[Path, list[Score]]) -> None:
    rows = {Path(row.clip).stem: row for row in results[1]}
    assert set(rows) == {"real", "frozen", "noise", "short", "empty", "text"}
    assert rows["real"].status == "ok"
    assert [name for name in (*PAPER, *OURS) if getattr(rows["real"], name) is None] == []
    assert rows["real"].loo_error == pytest.approx(rows["real"].loo_mse + rows["real"].loo_lpips)  # type: ignore[operator]
    assert rows["frozen"].status in ("failed", "no_parallax")
    assert rows["noise"].status in ("failed", "no_parallax")
    for name in ("short", "empty", "text"):
        assert rows[name].status == "unreadable"
    assert "3 frames" in (rows["short"].reason or "")
    for name in ("frozen", "noise", "short", "empty", "text"):
        assert rows[name].reason
        assert (rows[name].loo_error, rows[name].error_3dcs) == (None, None)
    assert rows["frozen"].flow == pytest.approx(0.0, abs=1e-4)


def test_the_files_say_the_same_and_what_the_columns_mean(results: tuple[Path, list[Score]]) -> None:
    out, rows = results
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert {"clip", "critic", "status", "reason", *PAPER, *OURS} <= set(lines[0])
    with (out / "scores.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [line["clip"] for line in table] == [row.clip for row in rows]
    assert float(table[0]["loo_error"]) == rows[0].loo_error
    columns = json.loads((out / "columns.json").read_text())
    assert columns["loo_error"]["better"] == "lower"
    assert columns["psnr"]["better"] == "higher"
    assert set(columns) == set(MEASURES)
    report = (out / "report.html").read_text()
    assert "real.mp4" in report
    assert rows[-1].reason is not None
    assert len(report) < 10_000_000


def test_a_batch_with_nothing_left_to_do_ends_without_loading_torch(
    results: tuple[Path, list[Score]], clips: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(results[0], tmp_path / "scores")
    heavy = "torch", "numpy", "cv2", "av", "pycolmap", "ray"
    code = f"import sys, videogpa.cli as cli; cli.main(sys.argv[1:]); sys.exit(repr([m for m in {heavy} if m in sys.modules]))"
    kept = (out / "scores.jsonl").read_text().splitlines()
    done = [str(clips / f"{name}.mp4") for name in ("real", "frozen", "noise")]  # files that cannot be read are tried again
    arguments = ["score", *done, "--out", str(out), "--frames", str(FEW.frames), "--workers", "2"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert ended.stderr.splitlines()[-1] == "[]"
    assert "real.mp4" in ended.stdout
    assert sorted((out / "scores.jsonl").read_text().splitlines()) == sorted(kept)


def test_scoring_again_keeps_what_is_there_and_redoes_what_changed(results: tuple[Path, list[Score]], clips: Path) -> None:
    out, rows = results
    kept = (out / "scores.jsonl").read_bytes()
    assert score_files([str(clips)], FEW, out) == rows
    assert (out / "scores.jsonl").read_bytes() == kept
    assert (out / "report.html").read_text(encoding="utf-8").count('<details class="space">') == 1  # the 3D view was kept
    (clips / "short.mp4").write_bytes((clips / "empty.mp4").read_bytes())  # another file under the old name
    again = {Path(row.clip).stem: row for row in score_files([str(clips)], FEW, out)}
    assert again["short"].reason == again["empty"].reason
    assert again["real"] == next(row for row in rows if row.clip.endswith("real.mp4"))


def test_rows_and_pictures_of_clips_that_are_not_asked_for_stay(
    results: tuple[Path, list[Score]], clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores"
    shutil.copytree(results[0], out)
    before = {row.clip for row in results[1]}
    other = tmp_path / "other.mp4"
    other.write_text("this is no video either")
    [row] = score_files([str(other)], FEW, out)
    assert row.clip == str(other)  # what is returned is what was asked for
    other.unlink()
    score_files([str(clips / "text.mp4")], FEW, out)
    lines = [json.loads(line)["clip"] for line in (out / "scores.jsonl").read_text().splitlines()]
    assert sorted(lines) == sorted({*before, str(other)})  # each once, and also the one whose file is gone
    with (out / "scores.csv").open() as stream:
        assert sorted(line["clip"] for line in csv.DictReader(stream)) == sorted(lines)
    page = (out / "report.html").read_text()
    assert "other.mp4" in page
    assert page.count("data:image/jpeg;base64") == (results[0] / "report.html").read_text().count("data:image/jpeg;base64") > 0


def test_two_critics_share_a_folder_and_are_ranked_apart(clips: Path, tmp_path: Path) -> None:
    clip = str(clips / "text.mp4")
    for critic in ("sfm", "oracle", "sfm"):
        [row] = score_files([clip], ScoreConfig(critic=critic), tmp_path)
        assert row.critic == critic
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [row["critic"] for row in rows] == ["oracle", "sfm"]
    assert "1 clip scored by oracle, sfm" in (tmp_path / "report.html").read_text()
    ranking = [Score(clip=f"{critic}{n}", critic=critic, status="ok", loo_error=n) for n in (2, 1) for critic in ("b", "a")]
    assert [row.clip for row in ranked(ranking)] == ["a1", "a2", "b1", "b2"]


def test_from_python_a_path_and_a_tensor_give_the_row_of_the_command(results: tuple[Path, list[Score]], clips: Path) -> None:
    expected = next(row for row in results[1] if row.clip.endswith("real.mp4"))
    given = videogpa.score(read_frames(clips / "real.mp4"), critic="sfm", frames=FEW.frames)
    same = {"fingerprint", "clip", "seconds"}
    assert given.model_dump(exclude=same) == expected.model_dump(exclude=same)
    geometry = videogpa.reconstruct(clips / "real.mp4", frames=5)
    assert geometry.depth.shape[0] == geometry.camera_from_world.shape[0] == 5


def test_impossible_input_from_python_is_refused() -> None:
    with pytest.raises(ValueError, match="3 frames, fewer than the 10"):
        videogpa.score(torch.zeros(3, 3, 32, 32))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        videogpa.score(torch.full((10, 3, 32, 32), 2.0))
    with pytest.raises(UserError, match="oracle, sfm"):
        videogpa.score(torch.zeros(10, 3, 32, 32), critic="vgtt")


def test_finding_videos(tmp_path: Path) -> None:
    for name in ("a.mp4", "sub/b.MOV", "sub/c[1].webm", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = lambda *paths: [p.name for p in find_videos([str(tmp_path / path) for path in paths])]  # noqa: E731
    assert names("") == ["a.mp4", "b.MOV", "c[1].webm"]
    assert names("sub/*", "a.mp4", "sub") == ["b.MOV", "c[1].webm", "a.mp4"]
    assert names("sub/c[1].webm") == ["c[1].webm"]
    assert names("d.txt") == ["d.txt"]  # named by hand: tried, and its row will say what it is
    for nothing in ("e.mp4", "*.avi"):
        with pytest.raises(UserError, match="no video at"):
            names(nothing)


def test_ranking_puts_unranked_rows_last() -> None:
    rows = [
        Score(clip="c", critic="x", status="failed"),
        Score(clip="p", critic="x", status="partial", loo_error=0.01),
        Score(clip="b", critic="x", status="ok", loo_error=0.2),
        Score(clip="a", critic="x", status="ok", loo_error=0.1),
    ]
    assert [row.clip for row in ranked(rows)] == ["a", "b", "p", "c"]


def test_short_names_leave_out_what_all_share() -> None:
    assert short_names(["x/y/a.mp4", "x/z/a.mp4"]) == ["y/a.mp4", "z/a.mp4"]
    assert short_names(["x/y/a.mp4"]) == ["a.mp4"]
    assert short_names([]) == []


def test_flow_measures_a_shift_in_image_widths() -> None:
    texture = torch.nn.functional.interpolate(
        torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0)), (160, 320), mode="bicubic"
    ).clamp(0, 1)[0]
    moving = torch.stack([texture[:, :, 4 * i : 4 * i + 256] for i in range(5)])
    assert mean_flow(moving) == pytest.approx(4 / 256, rel=0.1)
    assert mean_flow(moving[:1].repeat(3, 1, 1, 1)) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="two frames"):
        mean_flow(moving[:1])


def test_where_pixels_are_named_the_table_shows_the_backgrounds_error() -> None:
    row = Score(clip="a.mp4", critic="sfm", status="ok", loo_error=0.409, background_error=0.181, flow=0.093, error_3dcs=0.5)
    text = io.StringIO()
    Console(file=text, width=80).print(score_table([row]))
    assert "background error" in text.getvalue()
    assert "0.181" in text.getvalue()
    assert "0.093" in text.getvalue()  # motion stays beside it


def test_names_are_whole_in_80_columns() -> None:
    names = [f"truck-left/candidate-{n:04d}.mp4" for n in (1, 2)]
    rows = [Score(clip=names[0], critic="sfm", status="ok", loo_error=0.1, flow=0.02, error_3dcs=0.6)]
    rows += [Score(clip=names[1], critic="sfm", status="no_parallax", reason="the camera does not move")]
    text = io.StringIO()
    Console(file=text, width=80).print(score_table(rows))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert [any(name.partition("/")[2] in line for line in lines) for name in names] == [True, True]
    assert not any("…" in line for line in lines)
