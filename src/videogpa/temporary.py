"""Temporary folders of this program: gone when they are closed, and swept by the next start if their process was killed."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videogpa.errors import UserError

_NAME = re.compile(r"videogpa-([0-9]{1,10})-[a-z0-9_]{8}")
_OF_RAY = f"{os.sep}ray{os.sep}"  # in the path of a program of Ray; a reader of its logs here has none
_LOCK = ".lock"  # held while the folder is in use: a process id alone says nothing where containers share the folder


def temporary_root() -> Path:
    """Return the system's folder for temporary files: that of TMPDIR, TEMP or TMP, else /tmp or its like.

    Raises:
        UserError: If nothing can be written to any of them.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise UserError(
            "no folder for temporary files can be written to: make room there, or set TMPDIR (on Windows TEMP) to another "
            "folder"
        ) from None


@contextmanager
def temporary_folder(root: Path | None = None) -> Iterator[Path]:
    """Make an empty folder for temporary files, which is removed with all that is in it when the block ends.

    Args:
        root: The folder that it is made in; by default that of the system for temporary files.

    Yields:
        The folder. A file `.lock` in it shows other processes that it is in use.

    Raises:
        UserError: If it cannot be made; the message names the folder of the system.
    """
    from filelock import FileLock  # imported here because every command looks for folders to sweep, and few make one

    root = root or temporary_root()
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"videogpa-{os.getpid()}-", dir=root))
    except OSError as error:
        raise UserError(
            f"no temporary folder can be made in {root} ({error.strerror}): make room there, or set TMPDIR (on Windows "
            "TEMP) to another folder"
        ) from None
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire()
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def sweep(root: Path | None = None) -> list[Path]:
    """Remove the temporary folders that killed processes of this program and this user have left, and return them.

    Args:
        root: The folder that they lie in; by default that of the system for temporary files.
    """
    try:
        root = root or temporary_root()
        found = [path for path in root.iterdir() if _is_abandoned(path)]
    except (OSError, UserError):
        return []  # a command that needs the folder says what is wrong with it
    for path in found:
        _end_processes_of(path)
        shutil.rmtree(path, ignore_errors=True)
    return found


def _end_processes_of(folder: Path) -> None:
    """End the processes that a killed Ray of ours has left: they notice its end within a minute, and write here until then."""
    import psutil

    ended = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            works_here = any(str(folder) in part for part in command) or (
                "".join(command[:1]).startswith("ray::")
                and any(file.path.startswith(f"{folder}{os.sep}") for file in process.open_files())
            )
            if works_here and any(part.startswith("ray::") or _OF_RAY in part for part in command):
                process.kill()
                ended.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    psutil.wait_procs(ended, timeout=3)


def _is_abandoned(path: Path) -> bool:
    named = _NAME.fullmatch(path.name)
    if named is None:
        return False
    import psutil
    from filelock import FileLock, Timeout

    if psutil.pid_exists(int(named[1])) or path.is_symlink() or not path.is_dir():
        return False
    if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
        return False
    if (path / _LOCK).is_symlink() or not (path / _LOCK).is_file():
        return not any(path.iterdir())  # killed between making the folder and its lock
    lock = FileLock(path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return False
    lock.release()
    return True
