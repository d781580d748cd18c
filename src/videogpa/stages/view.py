"""Looking at one clip in 3D, without a run: score it, and open its reconstruction in rerun's viewer or write it to a file."""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from videogpa.config import ScoreConfig
from videogpa.errors import InvalidInput, UserError
from videogpa.records import Score
from videogpa.report.recording import require_rerun, write_recording
from videogpa.scoring.scorer import ScoredClip, Scorer
from videogpa.stages.clip_files import clip_name, find_videos
from videogpa.temporary import temporary_folder
from videogpa.text_files import plural, shown

SUFFIX = ".rrd"
_VIEWERS = ("Rerun.app/Contents/MacOS/Rerun", "rerun", "rerun.exe")  # in rerun's own package, on macOS, Linux and Windows

_log = logging.getLogger(__name__)


def view(path: str, config: ScoreConfig, save: Path | None = None) -> Score:
    """Score one clip, and show what it was reconstructed as.

    Args:
        path: A video file, or a folder of a clip's frames.
        config: The critic, and which frames it judges.
        save: The file that the recording is written to; by default rerun's viewer is opened, and waited for.

    Returns:
        The clip's row.

    Raises:
        MissingInput: If there is no such clip.
        InvalidInput: If the path names several clips, `save` does not end in .rrd, or the clip could not be reconstructed.
        UserError: If rerun is not installed, there is no display, or the viewer fails.
    """
    if save is not None and save.suffix != SUFFIX:
        raise InvalidInput(f"--save writes a recording of rerun, whose name ends in {SUFFIX}; got {shown(str(save))}")
    require_rerun()
    viewer = None if save is not None else _viewer()
    clips = find_videos([path])
    if len(clips) > 1:
        raise InvalidInput(f"`videogpa view` shows one clip; {shown(path)} holds {plural(len(clips), 'clip')}")
    with Scorer.from_config(config) as scorer:
        scored = scorer.score_clip(clips[0], clip=clip_name(clips[0]))
    if save is not None:
        _write(save, scored)
    else:
        with temporary_folder() as folder:
            recording = folder / f"clip{SUFFIX}"
            _write(recording, scored)
            _show(viewer_command(viewer or _viewer(), recording))
    return scored.score


def _write(file: Path, scored: ScoredClip) -> None:
    if scored.reconstruction is None or scored.render is None:
        row = scored.score
        raise InvalidInput(f"there is nothing to look at: {shown(row.clip)} has the status `{row.status}`: {row.reason}")
    write_recording(file, scored.score, scored.reconstruction, scored.render)


def _viewer() -> Path:
    """Return the program of rerun's viewer.

    Raises:
        UserError: If there is none, or no display.
    """
    without = f"write a file with --save clip{SUFFIX}, and open it on a machine that has one"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError(f"there is no display here to open rerun's viewer on: {without}")
    package = find_spec("rerun_cli")
    folders = map(Path, package.submodule_search_locations or ()) if package is not None else ()
    programs = [folder / name for folder in folders for name in _VIEWERS if (folder / name).is_file()]
    if not programs:
        raise UserError(f"rerun is installed here without its viewer: {without}")
    return programs[0]


def viewer_command(viewer: Path, recording: Path) -> list[str]:
    """Return the line that opens a recording in a window of its own.

    The viewer listens for programs that send it more. By its own default it does so on all addresses of the machine, and a
    viewer that is open already would be sent the recording, whatever that one listens on: `rerun.spawn` cannot say otherwise.
    """
    return [str(viewer), "--bind", "127.0.0.1", "--port", "auto", "--hide-welcome-screen", str(recording)]


def viewer_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which the viewer sends nothing to its makers.

    Rerun's analytics (to tel.rerun.io, from its second start on) have a switch in a file of the user's, which is not ours to
    change, and are off where the variable CI is set, unless FORCE_RERUN_ANALYTICS is. Its messages of no consequence go too.
    """
    own = {name: value for name, value in environment.items() if name != "FORCE_RERUN_ANALYTICS"}
    return {"RUST_LOG": "error", **own, "CI": "1", "TELEMETRY_ENABLED": "false"}


def _show(command: list[str]) -> None:
    """Open the viewer, and wait until it is closed.

    Raises:
        UserError: If it fails.
    """
    _log.info("rerun's viewer is opened; close its window to end this command")
    try:
        ended = subprocess.run(command, env=viewer_environment(os.environ), stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise UserError(f"rerun's viewer cannot be started ({error.strerror}): write a file with --save") from None
    if ended.returncode:
        raise UserError(
            f"rerun's viewer ended with status {ended.returncode}; what it said stands above. It needs a graphics card or "
            f"a software renderer (Mesa): write a file with --save clip{SUFFIX}, and open it elsewhere"
        )
