from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from videogpa.records import Reconstruction
from videogpa.report.strip_files import ERROR_SCALE, LEGEND, save_strip, strip_path
from videogpa.report.strips import (
    error_colors,
    make_filmstrip,
    make_strip,
)
from videogpa.scoring.reprojection import render_leave_one_out


def decoded(jpeg: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(BytesIO(jpeg)))).permute(2, 0, 1) / 255


def cell(strip: torch.Tensor, row: int, column: int, rows: int) -> torch.Tensor:
    """One picture of a strip, the gaps of 4 pixels left out."""
    height, width = (strip.shape[1] - 4 * (rows - 1)) // rows, (strip.shape[2] - 8) // 3
    top, left = row * (height + 4), column * (width + 4)
    return strip[:, top : top + height, left : left + width]


def test_a_strip_shows_frame_render_and_error(make_wall: Callable[..., Reconstruction]) -> None:
    reconstruction = make_wall(frames=4)
    rendered, covered = render_leave_one_out(reconstruction)
    strip = decoded(make_strip(reconstruction, rendered, covered, frames_shown=2))
    first, render, error = (cell(strip, 0, column, 2) for column in range(3))
    enlarged = reconstruction.images[0].repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert first.shape == enlarged.shape == render.shape == error.shape
    assert (first - enlarged).abs().mean() < 0.03
    assert (cell(strip, 1, 0, 2) - reconstruction.images[3].repeat_interleave(4, 1).repeat_interleave(4, 2)).abs().mean() < 0.03
    seen = covered[0].repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert (render - first).abs()[:, seen].mean() < 0.05  # exact geometry: the render is the frame
    assert error[:, seen].mean() < 0.12  # and the error is the dark end of the map


def test_uncovered_pixels_are_a_grey_checker(make_wall: Callable[..., Reconstruction]) -> None:
    reconstruction = make_wall(frames=2)
    rendered, covered = torch.zeros_like(reconstruction.images), torch.zeros(2, 48, 64, dtype=torch.bool)
    strip = decoded(make_strip(reconstruction, rendered, covered))
    for column in (1, 2):
        picture = cell(strip, 0, column, 2)
        assert picture.min() > 0.55
        assert picture.max() < 0.8
        assert (picture.amax(0) - picture.amin(0)).max() < 0.02  # grey
        assert picture.std() > 0.03  # but not flat


def test_large_frames_shrink(make_wall: Callable[..., Reconstruction]) -> None:
    reconstruction = make_wall(frames=3, height=360, width=640)
    jpeg = make_strip(reconstruction, *render_leave_one_out(reconstruction))
    _, height, width = decoded(jpeg).shape
    assert (height, width) == (3 * 153 + 8, 3 * 272 + 8)
    assert len(jpeg) < 100_000


def test_error_colours() -> None:
    levels = torch.linspace(0, ERROR_SCALE, 256)
    colors = error_colors(levels[None])[:, 0]
    lightness = cv2.cvtColor(colors.T[None].contiguous().numpy(), cv2.COLOR_RGB2LAB)[0, :, 0]
    steps = np.diff(lightness)
    assert steps.min() > -0.1  # never darker for a larger error
    assert steps.max() < 3 * steps.mean()  # and evenly so
    beyond = error_colors(torch.tensor([[ERROR_SCALE, 2 * ERROR_SCALE]]))
    torch.testing.assert_close(beyond[..., 0], beyond[..., 1])
    legend = [
        f"rgb({r} {g} {b})" for r, g, b in colors[:, torch.linspace(0, 255, 12).round().int()].mul(255).round().int().T.tolist()
    ]
    assert f"linear-gradient(to right, {', '.join(legend)})" == LEGEND


def test_a_filmstrip_shows_frames_side_by_side(make_wall: Callable[..., Reconstruction]) -> None:
    strip = decoded(make_filmstrip(make_wall(frames=9).images, 3))
    assert strip.shape == (3, 96, 3 * 128 + 8)
    assert decoded(make_filmstrip(make_wall(frames=2).images, 6)).shape == (3, 96, 2 * 128 + 4)


def test_strips_survive_on_disk(tmp_path: Path) -> None:
    assert not strip_path(tmp_path, "sfm", "a/1.mp4").exists()
    path = save_strip(tmp_path / "strips", "sfm", "a/1.mp4", b"one")
    save_strip(tmp_path / "strips", "vggt", "a/1.mp4", b"two")
    save_strip(tmp_path / "strips", "sfm", "x" * 999, b"long")
    assert strip_path(tmp_path / "strips", "sfm", "a/1.mp4").read_bytes() == b"one"
    assert strip_path(tmp_path / "strips", "vggt", "a/1.mp4").read_bytes() == b"two"
    assert strip_path(tmp_path / "strips", "sfm", "x" * 999).read_bytes() == b"long"
    assert path == strip_path(tmp_path / "strips", "sfm", "a/1.mp4")
    assert len(list((tmp_path / "strips").iterdir())) == 3


def test_more_frames_than_there_are(make_wall: Callable[..., Reconstruction]) -> None:
    reconstruction = make_wall(frames=2)
    strip = decoded(make_strip(reconstruction, *render_leave_one_out(reconstruction), frames_shown=5))
    assert strip.shape[1] == pytest.approx(2 * 192 + 4)
