"""Example data for the reports: clips of a flat wall, whose geometry is exact, some of them damaged."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from browser import Tab, chromium

from videogpa.records import Reconstruction, Score
from videogpa.report.panels import draw_panels
from videogpa.report.player_files import PLAYERS, player_path
from videogpa.report.players import write_player
from videogpa.report.scores import ClipCard
from videogpa.scoring.reprojection import Render, render_leave_one_out


def wall(frames: int = 4, height: int = 48, width: int = 64, step: float = 4.0, noise: float = 0.0) -> Reconstruction:
    """A camera that trucks along a textured wall at depth 2, by `step` pixels a frame."""
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(3, height, width + int(step) * frames, generator=generator)
    texture = torch.nn.functional.avg_pool2d(texture[None], 5, 1, 2)[0]
    images = torch.stack([texture[:, :, i * int(step) : i * int(step) + width] for i in range(frames)])
    images = (images + noise * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    camera_from_world = torch.eye(4).repeat(frames, 1, 1)
    camera_from_world[:, 0, 3] = -torch.arange(frames) * step * 2.0 / width
    intrinsics = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]).repeat(frames, 1, 1)
    depth = torch.full((frames, height, width), 2.0)
    return Reconstruction(images, depth, torch.ones_like(depth), intrinsics, camera_from_world)


def card(folder: Path, name: str, noise: float, *, status: str = "ok") -> ClipCard:
    """A clip that was scored, with its player below a folder."""
    reconstruction = wall(noise=noise)
    rendered, covered = render_leave_one_out(reconstruction)
    mse = ((rendered - reconstruction.images).square().mean(1)[covered]).mean().item()
    score = Score(
        clip=name,
        critic="sfm",
        status=status,
        reason="3 of 4 frames have a camera" if status == "partial" else None,
        lpips_net="alex",
        frames=4,
        loo_mse=mse,
        loo_lpips=4 * mse,
        loo_error=5 * mse,
        loo_coverage=covered.float().mean().item(),
        motion=0.1,
        flow=4 / 64,
    )
    player = player_path(Path(PLAYERS), "sfm", name)
    write_player(folder / player, draw_panels(reconstruction, Render(rendered, covered)))
    return ClipCard(score, player)


@pytest.fixture(scope="session")
def make_wall() -> Callable[..., Reconstruction]:
    return wall


@pytest.fixture(scope="session")
def cards_of_session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ClipCard]]:
    folder = tmp_path_factory.mktemp("cards")
    failed = Score(clip="clips/noise.mp4", critic="sfm", status="failed", flow=0.3, reason="2 of 10 frames have a camera")
    cut = Score(clip="clips/</script><b>.mp4", critic="sfm", status="unreadable", reason="is truncated: 3 < 49 frames")
    return folder, [
        card(folder, "clips/rough.mp4", 0.2),
        card(folder, "clips/clean.mp4", 0.0),
        card(folder, "clips/half.mp4", 0.01, status="partial"),
        card(folder, 'clips/a <i>name</i> & "quotes".mp4', 0.1),
        ClipCard(failed),
        ClipCard(cut),
    ]


@pytest.fixture
def cards(tmp_path: Path, cards_of_session: tuple[Path, list[ClipCard]]) -> list[ClipCard]:
    """Clips whose players lie in the test's folder."""
    folder, made = cards_of_session
    shutil.copytree(folder / PLAYERS, tmp_path / PLAYERS)
    return made


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("chromium") / "profile") as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    """A window of a desktop; at the end, nothing may have been said on the console."""
    browser.resize(1280, 1600)
    yield browser
    assert browser.console == []
