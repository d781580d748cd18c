"""Critics and models of other packages: a tiny one is really installed, listed, and used through the command line."""

import json
import os
import subprocess
import sys
import textwrap
from importlib.metadata import Distribution
from pathlib import Path

import pytest
import torch
from attempts import run_shell, shell

from videogpa.errors import UserError
from videogpa.registry import CRITICS, MODELS, Plugin, Registry, build, load
from videogpa.video import write_video

PYPROJECT = """
    [build-system]
    requires = ["setuptools"]
    build-backend = "setuptools.build_meta"

    [project]
    name = "room-critics"
    version = "1.2"
    description = "A critic and a model for rooms."

    [project.entry-points."videogpa.critics"]
    wall = "room_critics:WallCritic"
    sfm = "room_critics:WallCritic"

    [project.entry-points."videogpa.models"]
    room-t2v = "room_critics:RoomModel"

    [tool.setuptools]
    py-modules = ["room_critics"]
"""

MODULE = '''
    """Critics for rooms."""

    from __future__ import annotations

    from typing import Annotated

    import torch
    from pydantic import Field

    from videogpa.critics.base import CriticInput
    from videogpa.critics.cards import Card
    from videogpa.models.base import Published
    from videogpa.records import Reconstruction


    class WallCritic:
        """Sees a textured wall, and a camera that walks along it.

        Args:
            distance: Distance of the wall in metres.
        """

        CARDS = (Card(weights="none", licence="MIT", commercial=True, memory="1 MB", paper="none"),)

        def __init__(self, distance: Annotated[float, Field(gt=0)] = 4.0) -> None:
            self.distance = distance
            self.details = {"distance": f"{distance:g}"}

        def frames_to_read(self, judged: int) -> int:
            return judged

        def reconstruct(self, clip: CriticInput) -> Reconstruction:
            count, _, height, width = clip.judged_frames.shape
            cameras = torch.eye(4).repeat(count, 1, 1)
            cameras[:, 0, 3] = torch.linspace(0, 0.1, count)
            depth = torch.full((count, height, width), self.distance)
            matrix = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]).repeat(count, 1, 1)
            return Reconstruction(clip.judged_frames, depth, torch.ones_like(depth), matrix, cameras)


    class RoomModel:
        """A text-to-video model of rooms."""

        published = (
            Published("me/rooms", licence="MIT", commercial="yes", parameters="1 M", memory="0.1 GB", paper="none"),
        )
        needs_image = False

        @classmethod
        def check_size(cls, path, *, revision, frames, height, width): ...

        @classmethod
        def load(cls, path, **settings): ...
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has installed the package."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(textwrap.dedent(PYPROJECT))
    (source / "room_critics.py").write_text(textwrap.dedent(MODULE))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.slow
def test_an_installed_package_brings_a_critic_and_a_model(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.pathsep.join((str(installed), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "80"}
    command = [sys.executable, "-m", "videogpa.cli", "list", "critics"]
    critics = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert critics.returncode == 0, critics.stderr
    shown = " ".join(critics.stdout.split())
    assert "wall From room-critics 1.2. A critic and a model for rooms." in shown
    assert "room-critics 1.2 announces 'sfm' in videogpa.critics, which is a name of videogpa itself" in shown

    look_again(monkeypatch, installed)
    details = shell("list", "critics", "wall").out
    assert "    distance: Distance of the wall in metres." in details
    assert "licence         MIT" in details
    assert "me/rooms" in shell("list", "models", "room-t2v").out

    clip = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0)).repeat(10, 1, 1, 1)
    write_video(tmp_path / "clip.mp4", clip, 8)
    out, asked = tmp_path / "scores", [str(tmp_path / "clip.mp4"), "--critic", "wall", "--option", "distance=3"]
    shell("score", *asked, "--out", str(out))
    (row,) = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert (row["critic"], row["status"], row["details"]) == ("wall", "ok", {"distance": "3"})
    assert row["loo_error"] > 0

    [metadata] = installed.glob("room_critics-*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("Version: 1.2", "Version: 1.3"))
    look_again(monkeypatch, installed)
    shell("score", *asked, "--out", str(out))
    (again,) = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert again["fingerprint"] != row["fingerprint"]  # another version may score otherwise

    refused = run_shell("score", str(tmp_path / "clip.mp4"), "--critic", "wall", "--option", "distance=-3")
    assert refused.status == 1
    assert "distance: Input should be greater than 0" in refused.err
    assert "Traceback" not in refused.err


def look_again(monkeypatch: pytest.MonkeyPatch, installed: Path) -> None:
    """Let this process find what is installed, as a new one does; a registry looks once."""
    for registered in (CRITICS, MODELS):
        monkeypatch.delattr(registered, "_outside")
    monkeypatch.syspath_prepend(str(installed))


class Announced(Distribution):
    """A distribution that announces entry points, and no more."""

    def __init__(self, name: str, points: str) -> None:
        self._files = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.5\n", "entry_points.txt": points}

    def read_text(self, filename: str) -> str | None:
        return self._files.get(filename)

    def locate_file(self, path: object) -> Path:
        return Path(str(path))


def registry(monkeypatch: pytest.MonkeyPatch, **packages: str) -> Registry:
    """A registry with one built-in critic, where packages announce `name = target`."""
    points = [
        point
        for name, announced in packages.items()
        for point in Announced(name, f"[videogpa.critics]\n{announced}\n").entry_points
    ]
    monkeypatch.setattr("videogpa.registry.entry_points", lambda group: [p for p in points if p.group == group])
    return Registry("videogpa.critics", {"sfm": CRITICS["sfm"]}, CRITICS.members)


def test_a_built_in_name_wins_and_the_other_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = registry(monkeypatch, rooms="sfm = rooms:Critic")
    assert list(table) == ["sfm"]
    assert table["sfm"].distribution is None
    assert "rooms 0.5 announces 'sfm'" in table.refused["sfm"]
    assert "rooms 0.5 announces 'sfm'" in caplog.text


def test_a_name_that_two_packages_announce_is_given_to_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    table = registry(monkeypatch, rooms="wall = rooms:Critic", halls="wall = halls:Critic")
    assert "wall" not in table
    with pytest.raises(KeyError, match=r"halls 0\.5 and rooms 0\.5 both announce 'wall'"):
        load(table, "wall")


def test_what_cannot_be_imported_or_is_no_critic_is_refused_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    table = registry(monkeypatch, rooms="gone = no_such_module:Critic\nother = collections:OrderedDict")
    assert list(table) == ["sfm", "gone", "other"]
    assert table["gone"] == Plugin("no_such_module:Critic", "", "rooms 0.5")
    with pytest.raises(UserError, match=r"'gone' of rooms 0\.5 .* cannot be imported: No module named 'no_such_module'"):
        load(table, "gone")
    with pytest.raises(UserError, match="does not follow the contract: it lacks CARDS, frames_to_read, reconstruct"):
        build(table, "other", {})


def test_a_built_in_plug_in_is_found_without_looking_at_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    table = registry(monkeypatch)
    monkeypatch.setattr("videogpa.registry.entry_points", None)  # a call would fail
    assert "sfm" in table
    assert table["sfm"] == CRITICS["sfm"]
