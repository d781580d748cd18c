"""The 3D view of a report: which points it shows, and that the page's script draws them."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Tab
from torch import Tensor

from videogpa.critics.base import ReconstructionFailed
from videogpa.maths.cameras import camera_centers
from videogpa.records import Reconstruction, Score
from videogpa.report.player_files import MOST_SPACES, save_space, spaces_of
from videogpa.report.scores import ClipCard, write_score_report
from videogpa.report.space import MOST_POINTS, Space, make_space, packed, space_of


def in_chromium(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.slow(pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")(test))


def unpacked(data: bytes) -> Space:
    """Read the format with other means than the page's script does."""
    raw = zlib.decompress(data)
    count, cameras = struct.unpack("<2I", raw[:8])
    numbers = torch.from_numpy(np.frombuffer(raw, "<f4", 10 + 15 * cameras, 8).copy())
    planes = np.frombuffer(raw, np.uint8, offset=8 + 4 * len(numbers)).reshape(9, count)
    assert len(raw) == 8 + 4 * len(numbers) + 9 * count
    steps = planes[0:6:2].astype(int) * 256 + planes[1:6:2]
    levels = torch.from_numpy(steps.cumsum(axis=1) % 65536).float().T
    colors = torch.from_numpy(planes[6:].astype(int).cumsum(axis=1) % 256).float().T
    low, sides, eye, size, corners = numbers.split([3, 3, 3, 1, 15 * cameras])
    return Space(low + levels / 16383 * sides, colors / 63, eye, size.item(), corners.reshape(cameras, 5, 3))


def test_what_is_packed_is_read_again() -> None:
    generator = torch.Generator().manual_seed(3)
    points, colors = 8 * torch.rand(500, 3, generator=generator) - 3, torch.rand(500, 3, generator=generator)
    space = Space(points, colors, torch.tensor([0.0, 0.1, -1.0]), 0.02, torch.rand(4, 5, 3, generator=generator))
    again = unpacked(packed(space))
    torch.testing.assert_close(again.points, points, atol=8 / 16383 / 2 + 1e-5, rtol=0)
    torch.testing.assert_close(again.colors, colors, atol=1 / 63 / 2 + 1e-5, rtol=0)
    torch.testing.assert_close(again.eye, space.eye)
    torch.testing.assert_close(again.corners, space.corners)
    assert again.size == pytest.approx(0.02)


def test_a_wall_is_a_plane_before_the_middle_camera(make_wall: Callable[..., Reconstruction]) -> None:
    """The wall lies at depth 2, and the cameras move along it, looking straight at it."""
    wall = make_wall(frames=5)
    space = space_of(wall)
    distance = float((space.eye).norm())
    assert distance == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(space.points[:, 2], torch.zeros(len(space.points)), atol=1e-5, rtol=0)
    unit = 2 / float(-space.eye[2])  # of the world, in that of the view
    steps = camera_centers(wall.camera_from_world).diff(dim=0) / unit
    torch.testing.assert_close(space.corners[:, 0].diff(dim=0), steps, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(space.corners[2, 0], space.eye)
    edges = space.corners[2, 1:] - space.eye  # the corners of the picture, one unit ahead
    torch.testing.assert_close(edges[:, 2], torch.ones(4))
    torch.testing.assert_close(edges[1, 0] - edges[0, 0], torch.tensor(1.0))  # the focal length is the width of the picture
    assert edges[0, 0] < 0 < edges[1, 0]  # the first corner is the upper left one
    assert edges[0, 1] < 0 < edges[3, 1]


def test_a_view_is_small_and_takes_its_points_from_all_frames(make_wall: Callable[..., Reconstruction]) -> None:
    wall = make_wall(frames=10, height=144, width=256)
    shades = torch.linspace(0, 1, 10)[:, None, None, None].expand_as(wall.images)
    space = space_of(replace(wall, images=shades))
    assert 0.5 * MOST_POINTS < len(space.points) <= MOST_POINTS
    _, counts = space.colors[:, 0].unique(return_counts=True)
    assert len(counts) == 10
    assert counts.min() > 0.8 * counts.max()
    assert len(make_space(wall)) < 100_000


def test_points_of_a_critic_are_shown_as_it_placed_them(make_wall: Callable[..., Reconstruction]) -> None:
    wall = make_wall(frames=2)
    placed = torch.zeros(2, 48, 64, 3)
    placed[..., 2] = torch.arange(64) / 64 + 3.0
    assert space_of(replace(wall, points=placed)).points[:, 2].std() > 0.05
    assert space_of(wall).points[:, 2].std() < 1e-5


def test_the_few_points_of_a_poor_clip_are_all_shown_and_far_ones_are_not(make_wall: Callable[..., Reconstruction]) -> None:
    wall = make_wall(frames=3, height=144, width=256)
    known = torch.zeros_like(wall.depth)
    known[0, 7, 11:21] = 2.0
    known[1, 9, 3] = 1000.0
    assert len(space_of(replace(wall, depth=known)).points) == 10
    with pytest.raises(ReconstructionFailed, match="no pixel has a usable depth"):
        make_space(replace(wall, depth=torch.zeros_like(wall.depth)))


def test_a_page_takes_only_views_that_were_written_beside_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_space(tmp_path / name, b"view")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link.space").symlink_to(tmp_path / "secret")
    (tmp_path / "large.space").write_bytes(bytes(2 << 20))
    strips = {name: Path(name) for name in ("a", "link", "large", "missing", "b")}
    assert spaces_of({**strips, "none": None}, tmp_path) == {"a": "dmlldw==", "b": "dmlldw=="}
    many = {str(i): Path("a") for i in range(60)}
    chosen = spaces_of(many, tmp_path)
    assert len(chosen) == MOST_SPACES
    assert [*chosen][24:26] == ["24", "35"]  # the best and the worst half of them


# In a browser

SCRIPT = """
  const [first, second, third] = [...document.querySelectorAll("details.space")];
  const frames = (count) => new Promise((done) => {
    const step = () => (count-- ? requestAnimationFrame(step) : done());
    step();
  });
  const open = async (details) => {
    details.open = true;
    await new Promise((done) => setTimeout(done, 300));
    await frames(3);
    return details.querySelector("canvas");
  };
  const seen = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const differ = (a, b) => a.reduce((count, value, i) => count + (i % 4 === 0 && value !== b[i]), 0) / (a.length / 4);
  const centre = (canvas, [red, green, blue]) => {
    const [data, found] = [seen(canvas), []];
    for (let i = 0; i < data.length; i += 4) {
      if (data[i] === red && data[i + 1] === green && data[i + 2] === blue && data[i + 3] === 255) found.push(i / 4);
    }
    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const [x, y] = [mean(found.map((i) => i % canvas.width)), mean(found.map((i) => Math.floor(i / canvas.width)))];
    return [x / canvas.width - 0.5, y / canvas.height - 0.5];
  };
  const pointer = (target, name, x, y, more = {}) =>
    target.dispatchEvent(new PointerEvent(name, { clientX: x, clientY: y, pointerId: 1, bubbles: true, ...more }));
  const drag = async (canvas, x, y, more = {}) => {
    pointer(canvas, "pointerdown", 100, 100, more);
    pointer(window, "pointermove", 100 + x, 100 + y, more);
    pointer(window, "pointerup", 100 + x, 100 + y, more);
    await frames(3);
  };
  const press = async (canvas, key, more = {}) => {
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
    await frames(3);
  };
"""


def looked_at(tab: Tab, folder: Path, body: str, views: list[bytes]) -> Any:
    """Open a page with these views, run the body of a script in it, and return what that returns."""
    cards = []
    for number, view in enumerate(views):
        save_space(folder / f"{number}", view)
        score = Score(clip=f"{number}.mp4", critic="sfm", status="ok", loo_error=0.1 + number / 10)
        cards.append(ClipCard(score, Path(f"{number}")))
    write_score_report(folder / "report.html", cards, title="Views")
    tab.open(folder / "report.html")
    result = tab.js(f"(async () => {{ {SCRIPT} {body} }})()")
    assert [line for line in tab.console if "willReadFrequently" not in line] == []  # these tests read the canvas
    tab.console.clear()
    assert [address for address in tab.fetched[1:] if not address.startswith("data:")] == []
    return result


def a_few_points(places: list[list[float]], colors: Tensor) -> bytes:
    """Large points where they are named, seen by one camera."""
    eye = torch.tensor([0.0, 0.0, -1.0])
    return packed(Space(torch.tensor(places), colors, eye, 0.05, eye.expand(1, 5, 3)))


@in_chromium
def test_the_view_turns_moves_and_zooms(tab: Tab, tmp_path: Path, make_wall: Callable[..., Reconstruction]) -> None:
    body = """
      const canvas = await open(first);
      const start = seen(canvas);
      const result = { covered: start.filter((value, i) => i % 4 === 3 && value).length / (start.length / 4) };
      await drag(canvas, 150, 0);
      const turned = seen(canvas);
      result.turned = differ(start, turned);
      await drag(canvas, 80, 40, { shiftKey: true });
      const moved = seen(canvas);
      result.moved = differ(turned, moved);
      canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -200, bubbles: true, cancelable: true }));
      await frames(3);
      result.wheelWithoutFocus = differ(moved, seen(canvas));
      canvas.focus();
      canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -200, bubbles: true, cancelable: true }));
      await frames(3);
      const zoomed = seen(canvas);
      result.zoomed = differ(moved, zoomed);
      for (const key of ["ArrowLeft", "ArrowUp", "-"]) await press(canvas, key);
      result.pressed = differ(zoomed, seen(canvas));
      await press(canvas, "0");
      result.reset = differ(start, seen(canvas));
      pointer(canvas, "pointerdown", 100, 100);
      pointer(canvas, "pointerdown", 200, 100, { pointerId: 2 });
      pointer(window, "pointermove", 300, 100, { pointerId: 2 });
      await frames(3);
      result.pinched = differ(start, seen(canvas));
      first.open = false;
      await frames(3);
      result.closed = [canvas.width, canvas.height];
      await open(first);
      result.again = differ(start, seen(canvas));
      return result;"""
    result = looked_at(tab, tmp_path, body, [make_space(make_wall(frames=4))])
    assert result["covered"] > 0.1
    for action in ("turned", "moved", "zoomed", "pressed", "pinched"):
        assert result[action] > 0.05, action
    assert (result["wheelWithoutFocus"], result["reset"], result["again"]) == (0, 0, 0)
    assert result["closed"] == [0, 0]


@in_chromium
def test_points_are_drawn_where_they_are(tab: Tab, tmp_path: Path) -> None:
    """Half a turn about a point takes what is to its right to its left, and what is below it stays there."""
    colors = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    body = """
      const canvas = await open(first);
      const all = () => [[255, 0, 0], [0, 255, 0], [0, 0, 255]].map((color) => centre(canvas, color));
      const result = { start: all() };
      const half = Math.max(canvas.clientWidth, canvas.clientHeight);
      await drag(canvas, half, 0);
      result.behind = all();
      await press(canvas, "0");
      for (let i = 0; i < 3; i++) await press(canvas, "ArrowDown", { shiftKey: true });
      result.moved = all();
      return result;"""
    places = [[0.0, 0.0, -0.3], [0.3, 0.0, -0.3], [0.0, 0.2, -0.3]]
    result = looked_at(tab, tmp_path, body, [a_few_points(places, colors)])
    (middle, right, below), (still, left, beneath) = result["start"], result["behind"]
    assert middle == pytest.approx([0, 0], abs=0.01)
    assert right[0] > 0.05
    assert below[1] > 0.05
    assert below[0] == pytest.approx(0, abs=0.01)
    assert still == pytest.approx([0, 0], abs=0.01)
    assert left[0] < -0.05
    assert beneath[1] > 0.05
    assert result["moved"][0][1] == pytest.approx(3 * 0.04 * 2 * 1 / 1, rel=0.2)


@in_chromium
def test_a_sentence_stands_where_no_view_is(tab: Tab, tmp_path: Path, make_wall: Callable[..., Reconstruction]) -> None:
    """Of two views one is damaged; the other is opened by a browser that cannot decompress."""
    body = """
      const shown = (details) => ["canvas", ".missing"].map((part) => !details.querySelector(part).hidden);
      await open(first);
      const damaged = shown(first);
      const own = DecompressionStream;
      delete window.DecompressionStream;
      await open(second);
      const old = shown(second);
      window.DecompressionStream = own;
      second.open = false;
      await open(second);
      return { damaged, old, mended: shown(second) };"""
    view = make_space(make_wall(frames=2))
    result = looked_at(tab, tmp_path, body, [view[: len(view) // 2], view])
    assert result == {"damaged": [False, True], "old": [False, True], "mended": [True, False]}
