"""Atomic writes of files and folders, what killed writers have left of them, and damaged files, which are set aside.

A reader sees the old version or the new one, each complete, whenever the writer is killed. Until then the new version has a
temporary name that says which process of which machine writes it, so that nothing else is ever taken for one.
"""

import errno
import hashlib
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psutil
from safetensors import SafetensorError

from videogpa.errors import InvalidInput

_MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_TEMPORARY = re.compile(r"\.videogpa-(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]{1,10})-(new|old)-.+", re.DOTALL)
_LONGEST_NAME = 200  # bytes of a file's name that a temporary name repeats; file systems take 255
_A_DAY = 86_400  # seconds after which a writer on another machine counts as dead
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF}  # of file systems that cannot sync a folder


def link_or_copy(source: Path, path: Path) -> None:
    """Make a file of the program's appear under a second name, without taking its space twice where the system can do that.

    Only for files that are replaced and never changed in place.
    """
    with atomic_path(path) as temporary:
        try:
            temporary.hardlink_to(source)
        except OSError:  # a file system without such links
            shutil.copyfile(source, temporary)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Write a file atomically.

    Args:
        path: The file to write. Its folder is made if it is missing.

    Yields:
        A temporary path beside `path`, for the block to write to. It is renamed to `path` when the block ends, and removed if
        the block raises.

    Raises:
        InvalidInput: If there is something else than a regular file at `path`.
        OSError: If the file cannot be written, for example because the disk is full.
    """
    require_regular(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with disk_errors(path):
            yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Write a folder atomically.

    Args:
        path: The folder to write. What was there before is replaced.

    Yields:
        An empty temporary folder beside `path`, for the block to write to. It is renamed to `path` when the block ends, and
        removed if the block raises.

    Raises:
        InvalidInput: If there is something else than a folder at `path`.
        OSError: If a file cannot be written, for example because the disk is full.
    """
    if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
        raise InvalidInput(f"{path} is a file, a link or a device, and is not replaced by a folder. Remove it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with disk_errors(path):
            yield temporary
        for file in [*temporary.rglob("*"), temporary]:
            sync(file)
        if path.exists():
            remove_folder(path)
        temporary.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder so that it is never incomplete: it is renamed before its files are deleted."""
    doomed = temporary_path(path, "old")
    path.rename(doomed)
    shutil.rmtree(doomed)


def temporary_path(path: Path, age: Literal["new", "old"] = "new") -> Path:
    """Return the name beside `path` under which this process writes its new version, or deletes its old one."""
    name = path.name.encode()[-_LONGEST_NAME:].decode(errors="ignore")  # its end, which is the kind of file
    return path.with_name(f".videogpa-{_MACHINE}-{os.getpid()}-{age}-{name}")


def is_leftover(path: Path) -> bool:
    """Return whether a file or folder is one that a process which is dead by now was writing or deleting.

    To be asked of a folder that this process writes nothing into at that time. A process of another machine counts as dead if
    it has written nothing for a day.
    """
    name = _TEMPORARY.fullmatch(path.name)
    if name is None:
        return False
    written = path.lstat().st_mtime
    if name["machine"] != _MACHINE:
        return time.time() - written > _A_DAY
    process = int(name["process"])
    if process == os.getpid():
        return True
    try:
        return bool(psutil.Process(process).create_time() > written + 1)  # another process has been given the number since
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def is_temporary(path: Path) -> bool:
    """Return whether a file or folder has a temporary name of this program."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def move(path: Path, to: Path) -> None:
    """Rename a file, so that it is on the disk under its new name even if the machine stops; folders are made as needed."""
    to.parent.mkdir(parents=True, exist_ok=True)
    sync(path)
    path.replace(to)
    sync(to.parent)


def require_regular(path: Path) -> None:
    """Refuse to write over what is no regular file: a device, a pipe, a link, a folder.

    Raises:
        InvalidInput: If there is such a thing at `path`.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    if not stat.S_ISREG(mode):
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise InvalidInput(f"{path} is {kind} and no file, and is not written to. Give another path, or remove it.")


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to `<name>.damaged`, or the next free number after that, and return the new path.

    It can then be looked at, and is made again under its own name.
    """
    aside = path.with_name(f"{path.name}.damaged")
    number = 0
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.damaged.{number}")
    path.rename(aside)
    sync(path.parent)
    return aside


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the error that safetensors raises on a full disk into the OSError behind it."""
    try:
        yield
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, with the same bytes on every system: no line end is changed."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode())


def sync(path: Path) -> None:
    """Have the system write a file, or a folder's list of files, to the disk. Windows has no such thing for a folder."""
    folder, windows = path.is_dir(), os.name == "nt"
    if folder and windows:
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (folder and error.errno in _NO_SYNC):
            raise
    finally:
        os.close(descriptor)
