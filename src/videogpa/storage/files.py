"""Atomic writes of files and folders.

A reader sees the old version or the new one, each complete, whenever the writer is killed.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Write a file atomically.

    Args:
        path: The file to write. Its folder is made if it is missing.

    Yields:
        A temporary path beside `path`, for the block to write to. It is renamed to `path` when the block ends, and removed if
        the block raises.

    Raises:
        OSError: If the file cannot be written, for example because the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        with _disk_errors(path):
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
        OSError: If a file cannot be written, for example because the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with _disk_errors(path):
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
    doomed = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.rename(doomed)
    shutil.rmtree(doomed)


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
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn the error that safetensors raises on a full disk into the OSError behind it."""
    try:
        yield
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Make the system write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
