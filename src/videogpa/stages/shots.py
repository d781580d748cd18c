"""The shots of video files, each of which is scored as a clip of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from videogpa.errors import InvalidInput
from videogpa.text_files import shown
from videogpa.workers import WorkerPool

Part = tuple[str, range | None]
"""The name of a file, and the frames of it that are a clip: a shot, or None for all of them."""


@dataclass(frozen=True)
class _ShotsTask:
    """Finds the shots of named files; a `videogpa.workers.Task`."""

    def load(self) -> Callable[[tuple[str, Path]], tuple[str, list[range]]]:
        return _shots


def _shots(named: tuple[str, Path]) -> tuple[str, list[range]]:
    """Return the shots of a file under its name; none where it cannot be read, which its row then says."""
    from videogpa.scoring.cuts import find_cuts, shots_of
    from videogpa.video import UnreadableVideo, probe

    name, path = named
    try:
        total = probe(path).frames
        return name, shots_of(find_cuts(path, total), total)
    except UnreadableVideo:
        return name, []


def find_shots(files: Mapping[str, Path], pool: WorkerPool) -> dict[str, Part]:
    """Return the clips of files: every shot of a file that is cut, as FILE#FIRST-LAST, and any other file whole.

    Raises:
        InvalidInput: If a shot has the name of a file.
    """
    found = dict(pool.map(_ShotsTask(), [(name, path.absolute()) for name, path in files.items()], label="shots"))
    parts: dict[str, Part] = {}
    for name in files:
        shots = found[name]
        named = (
            {f"{name}#{shot.start}-{shot.stop - 1}": (name, shot) for shot in shots} if len(shots) > 1 else {name: (name, None)}
        )
        for clip in named:
            if clip in parts or (clip != name and clip in files):
                raise InvalidInput(f"a file and a shot of another are both shown as {shown(clip)}: rename the file")
        parts |= named
    return parts
