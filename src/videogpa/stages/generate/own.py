"""Clips that exist already: checked, and copied into the run."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from videogpa.config import GenerateConfig
from videogpa.errors import UserError
from videogpa.records import Clip
from videogpa.runs import atomic_path, fingerprint, path_fingerprint
from videogpa.video import UnreadableVideo, probe


@dataclass(frozen=True)
class OwnClip:
    """A clip that a prompt brings: where it lies, and its row, whose file goes into the folder `into`."""

    source: Path
    row: Clip
    into: Path
    size: tuple[int, int, int]
    """Frames, height and width that it must have."""

    @property
    def fingerprint(self) -> str:
        """Of the file's content and of the size asked for."""
        if not self.source.is_file():
            raise UserError(f"the clip {self.source} of prompt {self.row.prompt!r} is gone")
        return fingerprint("own clip", path_fingerprint(self.source), self.size)


def own_clip(prompt: str, number: int, source: Path, config: GenerateConfig, into: Path) -> OwnClip:
    """Plan to take a prompt's clip with that number into the run."""
    name = f"{prompt}/{number}"
    row = Clip(clip=name, prompt=prompt, seed=None, path=f"clips/{name}{source.suffix.lower()}")
    return OwnClip(source, row, into, (config.frames, config.height, config.width))


def adopt(clip: OwnClip) -> Clip:
    """Copy the clip into the run, and return its row.

    Raises:
        UserError: If it is not a video, or not of the size that the recipe says.
    """
    try:
        found = probe(clip.source)
    except UnreadableVideo as error:
        raise UserError(f"a clip of prompt {clip.row.prompt!r} cannot be used: {error}") from None
    size = (found.frames, found.height, found.width)
    if size != clip.size:
        raise UserError(
            f"{clip.source} is {size} (frames, height, width), where the recipe says {clip.size}: training takes clips of one "
            "size. Convert it, or set generate.frames, height and width."
        )
    with atomic_path(clip.into / clip.row.path) as temporary:
        shutil.copyfile(clip.source, temporary)
    return clip.row
