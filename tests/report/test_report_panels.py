from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from videogpa.records import Reconstruction
from videogpa.report import player_files as files_of_players
from videogpa.report.panels import MOST_FRAMES, draw_panels, error_colors, small
from videogpa.report.player_files import ERROR_SCALE, LEGEND, Player, embedded_or_linked, player_files, player_path
from videogpa.report.players import clips_in_step, keep_in_step, write_player
from videogpa.scoring.regions import BROKEN, STILL
from videogpa.scoring.reprojection import Render, render_leave_one_out
from videogpa.video import probe, read_frames, read_image, write_video


def test_the_panels_are_frame_render_and_error(make_wall: Callable[..., Reconstruction]) -> None:
    reconstruction = make_wall(frames=4)
    render = render_leave_one_out(reconstruction)
    panels = draw_panels(reconstruction, render)
    assert list(panels) == ["frame", "leave-one-out render", "error map"]
    frame, rendered, error = panels.values()
    torch.testing.assert_close(frame, reconstruction.images.repeat_interleave(5, -1).repeat_interleave(5, -2))
    seen = render.covered.repeat_interleave(5, -1).repeat_interleave(5, -2)
    assert (rendered - frame).abs().amax(1)[seen].mean() < 0.05  # exact geometry: the render is the frame
    assert error.amax(1)[seen].mean() < 0.12  # and the error is the dark end of the map


def test_named_pixels_are_a_fourth_panel_in_the_colours_of_their_names(make_wall: Callable[..., Reconstruction]) -> None:
    reconstruction = make_wall(frames=2)
    names = torch.full((2, 48, 64), STILL, dtype=torch.uint8)
    names[:, :, 32:] = BROKEN
    panels = draw_panels(reconstruction, render_leave_one_out(reconstruction), names)
    assert list(panels)[:3] == ["frame", "leave-one-out render", "error map"]
    frame, *_, named = panels.values()
    tint = (named - 0.4 * frame) / 0.6
    torch.testing.assert_close(tint[:, :, 10, 10], torch.tensor([[0.5, 0.5, 0.5]] * 2))
    torch.testing.assert_close(tint[:, :, 10, -10], torch.tensor([[0.9, 0.1, 0.1]] * 2))


def test_uncovered_pixels_are_a_grey_checker(make_wall: Callable[..., Reconstruction]) -> None:
    reconstruction = make_wall(frames=2)
    nothing = Render(torch.zeros_like(reconstruction.images), torch.zeros(2, 48, 64, dtype=torch.bool))
    _, render, error = draw_panels(reconstruction, nothing).values()
    for panel in (render, error):
        assert panel.unique().tolist() == pytest.approx([0.62, 0.72])
        assert (panel.amax(1) == panel.amin(1)).all()  # grey


def test_pictures_fit_a_square_whatever_their_shape() -> None:
    assert small(torch.rand(3, 360, 640)).shape == (3, 180, 320)
    assert small(torch.rand(2, 3, 480, 368)).shape == (2, 3, 320, 245)
    assert small(torch.rand(3, 100, 100)).shape == (3, 300, 300)
    assert small(torch.rand(3, 16, 4000)).shape == (3, 1, 320)


def test_error_colours() -> None:
    levels = torch.linspace(0, ERROR_SCALE, 256)
    colors = error_colors(levels[None])[:, 0]
    lightness = cv2.cvtColor(colors.T[None].contiguous().numpy(), cv2.COLOR_RGB2LAB)[0, :, 0]
    steps = np.diff(lightness)
    assert steps.min() > -0.1  # never darker for a larger error
    assert steps.max() < 3 * steps.mean()  # and evenly so
    beyond = error_colors(torch.tensor([[ERROR_SCALE, 2 * ERROR_SCALE]]))
    torch.testing.assert_close(beyond[..., 0], beyond[..., 1])
    steps = colors[:, torch.linspace(0, 255, 12).round().int()].mul(255).round().int().T.tolist()
    assert f"linear-gradient(to right, {', '.join(f'rgb({r} {g} {b})' for r, g, b in steps)})" == LEGEND


def grey(levels: list[float], height: int, width: int) -> torch.Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, height, width)


def test_panels_lie_side_by_side_in_one_video(tmp_path: Path) -> None:
    """Also where their sizes differ; each shows its own frame at its own place."""
    write_player(tmp_path / "p", {"a": grey([0.0, 0.2, 0.4], 30, 50), "b": grey([1.0, 0.8, 0.6], 40, 31)}, rate=4.0)
    described = Player.model_validate_json((tmp_path / "p.json").read_text())
    assert (described.frames, described.rate, probe(tmp_path / "p.mp4").fps) == (3, 4, 4)
    frames = read_frames(tmp_path / "p.mp4")
    for panel, levels in zip(described.panels, ([0.0, 0.2, 0.4], [1.0, 0.8, 0.6]), strict=True):
        shown = frames[:, :, : panel.height, panel.left : panel.left + panel.width]
        assert (shown - grey(levels, panel.height, panel.width)).abs().max() < 0.03
    assert read_image(tmp_path / "p.jpg").mean() == pytest.approx(0.2, abs=0.02)  # the middle frame of the first panel
    assert {path.name for path in player_files(tmp_path / "p")} == {path.name for path in tmp_path.iterdir()}


def test_clips_of_different_lengths_are_shown_at_the_same_share_of_theirs(tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", grey([i / 8 for i in range(9)], 32, 48), fps=3)
    write_video(tmp_path / "short.mp4", grey([0.0, 0.5, 1.0], 32, 48), fps=3)
    panels, rate = clips_in_step({"long": tmp_path / "long.mp4", "short": tmp_path / "short.mp4"})
    assert panels["long"].mean((1, 2, 3)).tolist() == pytest.approx([i / 8 for i in range(9)], abs=0.02)
    assert panels["short"].mean((1, 2, 3)).tolist() == pytest.approx([0, 0, 0, 0.5, 0.5, 0.5, 1, 1, 1], abs=0.02)
    assert rate == 3


def test_a_long_clip_keeps_its_time_with_fewer_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", torch.rand(2 * MOST_FRAMES, 3, 16, 16), fps=24)
    panels, rate = clips_in_step({"a": tmp_path / "a.mp4"})
    assert (len(panels["a"]), rate) == (MOST_FRAMES, 12)


def test_a_player_of_clips_is_made_once(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", torch.rand(3, 3, 16, 16), fps=3)
    first = keep_in_step(tmp_path / "players", {"a": tmp_path / "a.mp4"})
    made = [file.stat().st_mtime_ns for file in player_files(first)]
    assert keep_in_step(tmp_path / "players", {"a": tmp_path / "a.mp4"}) == first
    assert [file.stat().st_mtime_ns for file in player_files(first)] == made
    write_video(tmp_path / "a.mp4", torch.rand(3, 3, 16, 16), fps=3)
    assert keep_in_step(tmp_path / "players", {"a": tmp_path / "a.mp4"}) != first


def test_names_of_any_length_name_a_player(tmp_path: Path) -> None:
    paths = {
        player_path(tmp_path, "sfm", "a/1.mp4"),
        player_path(tmp_path, "vggt", "a/1.mp4"),
        player_path(tmp_path, "x" * 999),
    }
    assert len(paths) == 3
    assert all(len(path.name) == 16 for path in paths)


def test_players_are_embedded_up_to_a_number_and_linked_beyond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_player(tmp_path / "p q", {"a": grey([0.5], 16, 16)})
    paths = [Path("p q"), None, Path("gone"), Path("p q")]
    monkeypatch.setattr(files_of_players, "MOST_EMBEDDED", 2)
    first, *missing, last = embedded_or_linked(tmp_path, paths)
    assert first is not None
    assert first == last
    assert missing == [None, None]
    assert (first.video[:22], first.thumbnail[:23]) == ("data:video/mp4;base64,", "data:image/jpeg;base64,")
    monkeypatch.setattr(files_of_players, "MOST_EMBEDDED", 1)
    linked = embedded_or_linked(tmp_path, paths)[0]
    assert linked is not None
    assert (linked.video, linked.thumbnail, linked.embedded) == ("p%20q.mp4", "p%20q.jpg", False)


@pytest.mark.parametrize("text", ["", "{}", '{"panels": [], "frames": 1, "rate": 1}', "[" * 70000, '{"frames": NaN}'])
def test_a_damaged_player_is_not_shown(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    write_player(tmp_path / "p", {"a": grey([0.5], 16, 16)})
    (tmp_path / "p.json").write_text(text)
    assert embedded_or_linked(tmp_path, [Path("p")]) == [None]
    assert "is damaged" in caplog.text
