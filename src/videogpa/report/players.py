"""Make small videos that a page plays, of panels side by side: see `videogpa.report.player_files`."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from videogpa.report.panels import MOST_FRAMES, small
from videogpa.report.player_files import Panel, Player, player_files, player_path
from videogpa.storage.files import atomic_path, write_text
from videogpa.storage.fingerprints import path_fingerprint
from videogpa.video import jpeg_bytes, probe, read_frames_at, sample_indices, write_video

RATE = 5.0  # judged frames a second: they lie far apart, and at the speed of the clip each would stand still for too long

_THUMBNAIL = 144  # pixels of the longer side: twice of what the table shows, for screens of twice the density
_QUALITY, _CRF = 70, 30  # of JPEG and x264
_BLOCK = 16  # pixels: panels begin at whole blocks of H.264, so that no colour runs from one into the next
_AT_ONCE = 16  # frames in memory at their full size


def write_player(path: Path, panels: Mapping[str, Float[Tensor, "frames 3 _ _"]], *, rate: float = RATE) -> None:
    """Write the files of a player, each whole or not at all, the JSON file last.

    Args:
        path: Their name without a suffix.
        panels: RGB in [0, 1] by title, from left to right; all with the same number of frames.
        rate: Frames per second.
    """
    video, thumbnail, described = player_files(path)
    first = next(iter(panels.values()))
    places, left = [], 0
    for title, frames in panels.items():
        height, width = frames.shape[-2:]
        places.append(Panel(title=title, left=left, width=width, height=height))
        left += width + -width % _BLOCK
    write_video(video, _side_by_side(list(panels.values())), fps=rate, crf=_CRF)
    with atomic_path(thumbnail) as temporary:
        temporary.write_bytes(jpeg_bytes(small(first[len(first) // 2], _THUMBNAIL), _QUALITY))
    write_text(described, Player(panels=tuple(places), frames=len(first), rate=rate).model_dump_json() + "\n")


def keep_in_step(folder: Path, paths: Mapping[str, Path]) -> Path:
    """Make a player of clips that play in step, unless it is there.

    Args:
        folder: Where players are kept, under a fingerprint of the clips.
        paths: The clips by their titles.

    Returns:
        The player's path, without suffix.

    Raises:
        UnreadableVideo: If a clip cannot be read.
    """
    player = player_path(folder, *(f"{title} {path_fingerprint(path)}" for title, path in paths.items()))
    if not all(file.exists() for file in player_files(player)):
        panels, rate = clips_in_step(paths)
        write_player(player, panels, rate=rate)
    return player


def clips_in_step(paths: Mapping[str, Path]) -> tuple[dict[str, Float[Tensor, "frames 3 _ _"]], float]:
    """Return small copies of clips, each stretched to the length of the longest, and the frames per second of these.

    Args:
        paths: The clips by their titles.

    Returns:
        As many frames of every clip, `MOST_FRAMES` at most, RGB in [0, 1]: those at the same share of its length.

    Raises:
        UnreadableVideo: If a clip cannot be read.
    """
    infos = {title: probe(path) for title, path in paths.items()}
    count = min(max(info.frames for info in infos.values()), MOST_FRAMES)
    seconds = max(info.frames / info.fps for info in infos.values())
    return {title: _sampled(path, infos[title].frames, count) for title, path in paths.items()}, count / seconds


def _side_by_side(panels: Sequence[Float[Tensor, "frames 3 _ _"]]) -> Float[Tensor, "frames 3 height width"]:
    """Join panels from left to right, each filled up to whole blocks and to the height of the highest."""
    height = max(panel.shape[-2] for panel in panels)
    return torch.cat([pad(p, (0, -p.shape[-1] % _BLOCK, 0, height - p.shape[-2]), mode="replicate") for p in panels], dim=-1)


def _sampled(path: Path, total: int, count: int) -> Float[Tensor, "frames 3 _ _"]:
    """Return `count` small frames of a clip of `total`, evenly spread; of a shorter clip some are repeated."""
    chosen = sample_indices(total, min(total, count))
    left, parts = iter(chosen), []
    while block := list(islice(left, _AT_ONCE)):
        parts.append(small(read_frames_at(path, block, scale_down=True)))
    return torch.cat(parts)[[round(i * (len(chosen) - 1) / max(count - 1, 1)) for i in range(count)]]
