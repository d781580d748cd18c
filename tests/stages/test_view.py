"""`videogpa view`: what it writes is read back by rerun's own reader, and what it opens is reached from this machine alone."""

import io
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from tests.abuse.attempts import run_shell
from tests.report.conftest import wall

from videogpa.config import score_config
from videogpa.errors import InvalidInput, UserError
from videogpa.maths.cameras import invert
from videogpa.records import Reconstruction, Scene, Score
from videogpa.report.recording import MAPS, write_recording
from videogpa.scoring.reprojection import Render, render_leave_one_out
from videogpa.stages import view as stage
from videogpa.video import write_video
from videogpa.world.prompts import view as rendered

needs_rerun = pytest.mark.skipif(find_spec("rerun") is None, reason="rerun is not installed: pip install 'videogpa[view]'")
FRAMES = 5


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reconstruction, Render]:
    """A wall, of which some pixels have no depth."""
    reconstruction = wall(frames=FRAMES)
    reconstruction.depth[:, :8] = 0
    render = render_leave_one_out(reconstruction)
    file = tmp_path_factory.mktemp("recording") / "wall.rrd"
    row = Score(
        clip="a `wall`\n\n![x](http://example.invalid/x.png).mp4", critic="sfm", status="ok", loo_error=0.1234, flow=0.02
    )
    write_recording(file, row, reconstruction, render)
    return file, reconstruction, render


@pytest.fixture(scope="module")
def entities(recorded: tuple[Path, Reconstruction, Render]) -> dict[str, list[dict[str, Any]]]:
    """What rerun reads from the file: of each entity the rows, each with its filled columns."""
    from rerun.chunk import RrdReader

    found: dict[str, list[dict[str, Any]]] = {}
    for chunk in RrdReader(recorded[0]).stream().to_chunks():
        batch = chunk.to_record_batch()
        columns = batch.select([name for name in batch.schema.names if name != "log_time"])  # of nanoseconds
        rows = found.setdefault(chunk.entity_path, [])
        rows += [{name: value for name, value in row.items() if value is not None} for row in columns.to_pylist()]
    return {name: sorted(rows, key=lambda row: row.get("frame", 0)) for name, rows in found.items()}


@needs_rerun
def test_cloud_and_cameras_are_those_of_the_reconstruction(
    recorded: tuple[Path, Reconstruction, Render], entities: dict[str, list[dict[str, Any]]]
) -> None:
    _, reconstruction, _ = recorded
    [cloud] = entities["/world/cloud"]
    assert len(cloud["Points3D:positions"]) == len(cloud["Points3D:colors"]) == FRAMES * 40 * 64
    assert {round(z, 4) for _, _, z in cloud["Points3D:positions"]} == {2.0}
    first = reconstruction.images[0, :, 8, 0].mul(255).round().int().tolist()
    assert cloud["Points3D:colors"][0] == int.from_bytes(bytes([*first, 255]), "big")
    cameras = [name for name in entities if name.startswith("/world/cameras/")]
    assert len(cameras) == 2 * FRAMES  # where it stands, and what it sees
    poses = invert(reconstruction.camera_from_world)
    for i in range(FRAMES):
        [place] = entities[f"/world/cameras/{i + 1}"]
        assert place["Transform3D:translation"][0] == pytest.approx(poses[i, :3, 3].tolist())
        assert place["Transform3D:mat3x3"][0] == pytest.approx(np.eye(3).flatten().tolist())
        seen = {name: value for row in entities[f"/world/cameras/{i + 1}/frame"] for name, value in row.items()}
        assert seen["Pinhole:resolution"] == [[64.0, 48.0]]
        columns = [64, 0, 0, 0, 64, 0, 32.5, 24.5, 1]  # by columns, and pixels counted from the edge
        assert seen["Pinhole:image_from_camera"][0] == pytest.approx(columns)
        picture = _decoded(seen["EncodedImage:blob"])
        assert (picture - reconstruction.images[i]).abs().mean() < 0.02


@needs_rerun
def test_every_map_has_a_row_for_every_frame(
    recorded: tuple[Path, Reconstruction, Render], entities: dict[str, list[dict[str, Any]]]
) -> None:
    _, reconstruction, render = recorded
    for name in (*MAPS, "plot/error", "world/now", "world/now/view"):
        assert [row["frame"] for row in entities[f"/{name}"]] == list(range(1, FRAMES + 1)), name
    for i in range(FRAMES):
        depth = np.frombuffer(bytes(entities["/depth"][i]["DepthImage:buffer"][0]), np.float32).reshape(48, 64)
        np.testing.assert_array_equal(depth, reconstruction.depth[i].numpy())
        confidence = np.frombuffer(bytes(entities["/confidence"][i]["DepthImage:buffer"][0]), np.float32)
        assert set(confidence.tolist()) == {1.0}
        covered = render.covered[i]
        shown = _decoded(entities["/render"][i]["EncodedImage:blob"])
        assert (shown - render.images[i]).abs()[:, covered].mean() < 0.03
        assert shown[:, :6].mean() == pytest.approx(0.6, abs=0.02)  # grey where no other frame's points are
        error = (render.images[i] - reconstruction.images[i]).square().mean(0)[covered].mean().sqrt().item()
        assert entities["/plot/error"][i]["Scalars:scalars"][0] == pytest.approx(error, rel=1e-4)
    about = entities["/about"][0]["TextDocument:text"][0]
    assert about.splitlines()[0].startswith(
        "`a 'wall'\\n\\n![x](http://example.invalid/x.png).mp4` by"
    )  # a name stays in its quotes
    assert "`0.1234`" in about


@needs_rerun
def test_the_viewer_listens_on_loopback_alone_and_leaves_no_trace(
    recorded: tuple[Path, Reconstruction, Render], tmp_path: Path
) -> None:
    """Without a window, so that it runs everywhere; where there is no graphics at all it ends after it has listened."""
    package = find_spec("rerun_cli")
    assert package is not None
    program = next(file for name in stage._VIEWERS if (file := Path(package.submodule_search_locations[0]) / name).is_file())
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "FORCE_RERUN_ANALYTICS": "1"}
    command = [*stage.viewer_command(program, recorded[0]), "--headless"]
    listening: Counter[str] = Counter()
    with subprocess.Popen(command, env=stage.viewer_environment(home), stderr=subprocess.PIPE) as viewer:
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end and viewer.poll() is None and listening.total() < 20:
                listening.update(_addresses(viewer.pid))
                time.sleep(0.02)
        finally:
            viewer.kill()
    assert set(listening) == {"127.0.0.1"}
    assert [file for file in tmp_path.rglob("*") if "rerun" in file.parts] == []  # analytics would be kept there


def _addresses(process: int) -> list[str]:
    """Return the addresses at which a process listens, and those it is connected with elsewhere."""
    try:
        found = psutil.Process(process).net_connections("inet")
    except psutil.NoSuchProcess:
        return []
    return [connection.laddr.ip if connection.status == psutil.CONN_LISTEN else connection.raddr.ip for connection in found]


def test_the_viewer_is_told_to_listen_on_loopback_and_to_send_nothing() -> None:
    command = stage.viewer_command(Path("rerun"), Path("clip.rrd"))
    assert command[command.index("--bind") + 1] == "127.0.0.1"
    given = {"FORCE_RERUN_ANALYTICS": "1", "TELEMETRY_ENABLED": "true", "RUST_LOG": "debug", "DISPLAY": ":0"}
    expected = {"CI": "1", "TELEMETRY_ENABLED": "false", "RUST_LOG": "debug", "DISPLAY": ":0"}
    assert stage.viewer_environment(given) == expected


@needs_rerun
def test_a_clip_is_viewed_from_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip of the miniature world becomes a recording; beside it are the clips and names that are refused."""
    clip = rendered(Scene(seed=3, camera="orbit-left", frames=9, height=32, width=32)).images
    write_video(tmp_path / "clips/room.mp4", clip, 8)
    arguments = ["--critic", "vggt", "--weights", "tiny:vggt", "--frames", "4"]
    saved = tmp_path / "room.rrd"
    ran = run_shell("view", str(tmp_path / "clips/room.mp4"), *arguments, "--save", str(saved))
    assert ran.status == 0, ran.err
    assert "room.mp4" in ran.out
    assert f"rerun --bind 127.0.0.1 {saved}" in "".join(ran.err.splitlines())
    assert saved.read_bytes()[:4] in (b"RRF2", b"RRIO")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if sys.platform.startswith("linux"):
        with pytest.raises(UserError, match=r"no display here .* --save clip\.rrd"):
            stage.view(str(tmp_path / "clips/room.mp4"), score_config(critic="sfm"))
    write_video(tmp_path / "clips/still.mp4", clip[:1].expand(9, -1, -1, -1), 8)
    with pytest.raises(InvalidInput, match="holds 2 clips"):
        stage.view(str(tmp_path / "clips"), score_config(critic="sfm"), saved)
    failed = run_shell("view", str(tmp_path / "clips/still.mp4"), "--frames", "4", "--save", str(tmp_path / "still.rrd"))
    assert failed.status == 1
    assert "nothing to look at" in failed.err
    assert not (tmp_path / "still.rrd").exists()


def test_no_other_file_than_a_recording_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"a clip")
    with pytest.raises(InvalidInput, match=r"ends in \.rrd"):
        stage.view(str(tmp_path / "clip.mp4"), score_config(critic="sfm"), tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == b"a clip"


def test_without_rerun_a_sentence_says_how_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    ran = run_shell("view", str(tmp_path / "clip.mp4"), "--save", str(tmp_path / "clip.rrd"))
    assert ran.status == 1
    assert "pip install 'videogpa[view]'" in ran.err
    assert "Traceback" not in ran.err


def _decoded(blob: list[Any]) -> torch.Tensor:
    picture = np.array(Image.open(io.BytesIO(bytes(blob[0]))))
    return torch.from_numpy(picture).permute(2, 0, 1) / 255
