"""Files of clips that a user names: which ones there are, what their rows are called, and whether they have changed."""

import glob
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from videogpa.errors import InvalidInput, MissingInput, UserError
from videogpa.storage.fingerprints import path_fingerprint
from videogpa.text_files import plural, shown
from videogpa.video.picture_names import is_frame_folder, is_picture, is_still_picture

VIDEO_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".m2v", ".vob"),
    *(".wmv", ".asf", ".flv", ".f4v", ".ogv", ".ogg", ".3gp", ".3g2", ".mxf", ".y4m", ".webp", ".avif", ".apng"),
}
"""Endings of the files that count in folders, in small letters."""

_log = logging.getLogger(__name__)


def find_videos(paths: Sequence[str]) -> list[Path]:
    """Return the clips that paths, folders and globs name, each once, in order.

    In folders, files with an ending of `VIDEO_SUFFIXES` are clips, animated ones where pictures have that ending too. A folder
    without such files, with two or more PNG or JPEG files that are named alike but for their number (frame_0001.png), is one
    clip. Hidden files and folders, whose names begin with a dot, are left out.

    Raises:
        MissingInput: If one of the paths names nothing.
        InvalidInput: If there are no paths.
    """
    found: dict[Path, None] = {}
    for path in paths:
        videos = [video for match in _matches(path) for video in _clips_of(match)]
        if not videos:
            in_it = ": the folder holds no video, and no pictures that are numbered like frame_0001.png"
            raise MissingInput(f"no video at {shown(path)}" + (in_it if _exists(path) else ""))
        found |= dict.fromkeys(videos)
    if not found:
        raise InvalidInput("name at least one video, folder or glob, such as: videogpa score clips/")
    return list(found)


def clip_name(path: str | Path) -> str:
    r"""Return what the row of a file is called: its path, in which bytes that are no UTF-8 are written as `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def find_masks(folder: Path, clips: Mapping[str, Path]) -> dict[str, Path]:
    """Return the masks of clips by the clip's name: what lies under `folder` as the clip does, whatever its ending.

    The masks of videos/cats/a.mp4 are folder/videos/cats/a.png, or folder/cats/a.mp4, or folder/a with pictures a_000.png, ...:
    the path that shares most folders with the clip's is taken.

    Args:
        folder: Pictures, videos, and folders of numbered pictures.
        clips: The name of each clip, and its file or folder.

    Raises:
        MissingInput: If there is no such folder, or no clip has a mask in it.
        InvalidInput: If two masks are those of one clip.
    """
    if not folder.is_dir():
        raise MissingInput(f"no folder of masks at {shown(folder)}")
    masks: dict[tuple[str, ...], Path] = {}
    for path in sorted(_walked(folder, pictures=True)):
        place = _parts(path)[len(folder.parts) :]
        if place in masks:
            raise InvalidInput(f"{shown(masks[place])} and {shown(path)} are both masks of one clip: remove one")
        masks[place] = path
    found = {}
    for name, clip in clips.items():
        place = _parts(clip.absolute())
        tails = [place[start:] for start in range(len(place))]
        mask = next((masks[tail] for tail in tails if tail in masks), None)
        if mask is not None:
            found[name] = mask.absolute()
    if not found:
        example = next(iter(clips.values())).stem
        raise MissingInput(
            f"{shown(folder)} has no mask of any of the clips: expected one such as {example}.png or {example}.mp4"
        )
    if len(found) < len(clips):
        _log.warning(
            "%s has masks for %s of %s; what moves in the others is found",
            shown(folder),
            len(found),
            plural(len(clips), "clip"),
        )
    return found


def _parts(path: Path) -> tuple[str, ...]:
    """Return the parts of a path, the last without its ending if it is that of a file."""
    return path.parts if path.is_dir() else path.with_suffix("").parts


def clip_fingerprint(path: Path) -> str:
    """Return the fingerprint of a clip's file or folder; a fixed text if it cannot be read, which its row then says."""
    try:
        return path_fingerprint(path)
    except (UserError, OSError):
        return "unreadable"


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL character
        return False


def _matches(path: str) -> list[Path]:
    """Return the path itself if it exists, whatever characters it holds; else what it matches as a glob."""
    if _exists(path):
        return [Path(path)]
    try:
        return [Path(match) for match in sorted(glob.glob(path, recursive=True))]  # noqa: PTH207 - Path.glob takes no absolute ones
    except ValueError:
        return []


def _clips_of(path: Path) -> list[Path]:
    return sorted(_walked(path)) if path.is_dir() else [path]


def _walked(top: Path, *, pictures: bool = False) -> Iterator[Path]:
    """Yield the clips in a folder and those below it, and pictures if wanted. What may not be looked into is said."""
    for name, folders, names in os.walk(top, onerror=_say):
        folder = Path(name)
        folders[:] = [each for each in folders if not each.startswith(".")]
        files = [each for each in names if not each.startswith(".")]
        videos = [folder / each for each in files if Path(each).suffix.lower() in VIDEO_SUFFIXES]
        clips = [video for video in videos if not is_still_picture(video)]
        yield from clips
        if pictures and not is_frame_folder(files):
            yield from (file for file in map(folder.joinpath, files) if is_picture(file))
        if is_frame_folder(files):
            if clips:
                _log.warning("numbered pictures in %s are not read as a clip, since videos lie beside them", shown(folder))
            else:
                yield folder


def _say(error: OSError) -> None:
    _log.warning("%s may not be looked into (%s): clips in it are left out", shown(str(error.filename)), error.strerror)
