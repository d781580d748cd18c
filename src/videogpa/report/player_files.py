"""Where the players and 3D views of clips lie, and what a page needs to know of them. Nothing here imports torch.

A player is three files with one name: a video (.mp4) in which the panels lie side by side, so that all of them show the same
frame at any time; a thumbnail (.jpg); and what the page must know of them (.json). A clip's 3D view (.space) lies beside them.
"""

import base64
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from videogpa.storage.files import atomic_path
from videogpa.text_files import shown

PLAYERS = "players"  # the folder of players, beside a report
SUFFIXES = (".mp4", ".jpg", ".json")

MOST_EMBEDDED = 50
"""How many players a page holds. A page of more refers to their files, which stay beside it, and loads those in view."""

MOST_SPACES = 50
"""How many views a page holds: a page that opens without a server cannot load them from files beside it."""

ERROR_SCALE = 0.3
"""The root mean squared error over RGB at the bright end of the colour map: one scale for all clips, to compare them by."""

_LARGEST_JSON, _LARGEST_SPACE = 1 << 16, 1 << 20  # bytes of a file that goes into a page: a larger one was not written here

_INFERNO = (
    *("0 0 4", "20 11 52", "57 9 99", "97 19 110", "133 33 107", "169 46 94"),
    *("203 65 73", "230 93 47", "247 130 18", "252 174 18", "245 219 76", "252 255 164"),
)
"""The colour map of the errors, "inferno", at twelve even steps: red, green and blue, 0 to 255."""

LEGEND = f"linear-gradient(to right, {', '.join(f'rgb({color})' for color in _INFERNO)})"
"""The colours of the error map as a CSS gradient from left to right."""

_log = logging.getLogger(__name__)


class Panel(BaseModel):
    """A part of the video: the panels lie from left to right, their upper edges at its upper edge."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    left: int = Field(ge=0)
    """Where it begins, in pixels of the video."""
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class Player(BaseModel):
    """What is in a video of panels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    panels: tuple[Panel, ...] = Field(min_length=1, max_length=64)
    frames: int = Field(ge=1)
    rate: float = Field(gt=0, allow_inf_nan=False)
    """Frames per second."""


@dataclass(frozen=True)
class ShownPlayer:
    """A player in a page, with the addresses of its files: their content, or where they lie beside the page."""

    player: Player
    video: str
    thumbnail: str
    embedded: bool


def player_path(folder: Path, *names: str) -> Path:
    """Return the name of the files of a player, without a suffix. It is a hash, since names of clips may be of any length."""
    return folder / hashlib.sha256(" ".join(names).encode()).hexdigest()[:16]


def player_files(path: Path) -> list[Path]:
    """Return the files of a player."""
    return [path.with_name(path.name + suffix) for suffix in SUFFIXES]


def space_path(player: Path) -> Path:
    """Return the file of the 3D view beside a player."""
    return player.with_name(f"{player.name}.space")


def save_space(player: Path, space: bytes) -> None:
    """Write a clip's view beside its player, whole or not at all."""
    with atomic_path(space_path(player)) as temporary:
        temporary.write_bytes(space)


def embedded_or_linked(folder: Path, paths: Sequence[Path | None]) -> list[ShownPlayer | None]:
    """Return players as a page shows them: up to `MOST_EMBEDDED` as a part of it, more as files beside it.

    Args:
        folder: The folder of the page.
        paths: The players' paths relative to it, without suffix; None where there is none.

    Returns:
        A player for each path; None where files are missing or damaged, or lead to others: a link could name any file of the
        user's.
    """
    found = [None if path is None else _read(folder / path) for path in paths]
    embedded = sum(player is not None for player in found) <= MOST_EMBEDDED
    return [
        None if path is None or player is None else ShownPlayer(player, *_addresses(folder, path, embedded), embedded)
        for path, player in zip(paths, found, strict=True)
    ]


def _addresses(folder: Path, path: Path, embedded: bool) -> tuple[str, str]:
    video, thumbnail, _ = player_files(path)
    if not embedded:
        return quote(video.as_posix()), quote(thumbnail.as_posix())
    return _data(folder / video, "video/mp4"), _data(folder / thumbnail, "image/jpeg")


def _data(file: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def _read(path: Path) -> Player | None:
    files = player_files(path)
    if not all(map(_is_own, files)):
        return None
    try:
        with files[-1].open("rb") as stream:
            return Player.model_validate_json(stream.read(_LARGEST_JSON))
    except ValidationError:
        _log.warning("%s is damaged: the report does not show this clip. Remove it, and score the clip again", shown(files[-1]))
        return None


def spaces_of(players: Mapping[str, Path | None], folder: Path) -> dict[str, str]:
    """Return the 3D views beside players, as a page holds them: base64.

    Args:
        players: Of each clip that the page shows, by its anchor, where its player lies in the folder; the best clip first.
        folder: The folder of the page.

    Returns:
        The views by anchor, those of the best and the worst clips if there are more than `MOST_SPACES`. Clips without a view,
        such as those that version 0.1 scored, are left out.
    """
    paths = {anchor: space_path(folder / player) for anchor, player in players.items() if player is not None}
    found = [anchor for anchor, path in paths.items() if _is_own(path) and path.stat().st_size <= _LARGEST_SPACE]
    half = MOST_SPACES // 2
    chosen = found if len(found) <= MOST_SPACES else [*found[:half], *found[-half:]]
    return {anchor: base64.b64encode(paths[anchor].read_bytes()).decode() for anchor in chosen}


def _is_own(path: Path) -> bool:
    """Whether it is a file, and no link, which could lead to any file of the user's."""
    return path.is_file() and not path.is_symlink()
