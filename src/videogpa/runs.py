"""The run folder: manifests of whole rows, atomic files, fingerprints, and one writer at a time.

Every stage follows the same three steps, so that a killed run continues where it was and ends with the same result:
`Manifest.resume` drops stale rows and says what is left to do, `Manifest.append` adds each row once its files are on disk,
and `Manifest.settle` puts the rows in the order of the work list.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError

from videogpa.errors import UserError
from videogpa.records import Row

R = TypeVar("R", bound=Row)

_SAMPLE_BYTES = 1 << 20  # of each end of a file: enough to tell checkpoints apart without reading gigabytes


class RunFolderBusy(UserError):  # noqa: N818 - a state, said plainly
    """Another process works in the folder."""


def fingerprint(*parts: object) -> str:
    """Hash settings and inputs, given as anything JSON can say (pydantic models included), to 16 hex digits."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_jsonable)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _jsonable(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot fingerprint a {type(value).__name__}")


def path_fingerprint(path: Path) -> str:
    """Hash a file, or every file below a folder: its name, size, and first and last megabyte."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path) if path.is_dir() else ''}:{size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLE_BYTES))
            if size > _SAMPLE_BYTES:
                stream.seek(max(_SAMPLE_BYTES, size - _SAMPLE_BYTES))
                digest.update(stream.read())
    return digest.hexdigest()[:16]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` when the block ends well, and is removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        with _disk_errors(path):
            yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it takes the place of `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with _disk_errors(path):
            yield temporary
        for file in [*temporary.rglob("*"), temporary]:
            _sync(file)
        if path.exists():
            remove_folder(path)
        temporary.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder so that it is never there in part: under its name it is whole or gone."""
    doomed = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.rename(doomed)
    shutil.rmtree(doomed)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn what safetensors says of a full disk, in an error of its own, into the system's error."""
    try:
        yield
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: readers see the old one or the new one, whole."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Manifest(Generic[R]):
    """A JSONL file of rows, each whole or absent, with a key made of one or more of their fields."""

    def __init__(self, path: Path, row_type: type[R], key: str, *, files: Callable[[R], list[Path]] | None = None) -> None:
        """Open the manifest at `path`.

        `key` names the fields that tell rows apart, separated by spaces. `files` names what a row promises on disk; a row
        whose files are gone is redone.
        """
        self.path = path
        self._row_type = row_type
        self._fields = key.split()
        self._files = files or (lambda row: [])

    def key(self, row: R) -> str:
        """The row's name among its peers."""
        return " ".join(str(getattr(row, field)) for field in self._fields)

    def rows(self) -> list[R]:
        """Read all whole rows. A torn last line, left by a killed writer, is passed over.

        Raises:
            UserError: If a whole line is not a row of this kind: it was edited, or comes from another version.
        """
        if not self.path.exists():
            return []
        *whole, _torn = self.path.read_text(encoding="utf-8").split("\n")
        return [self._parse(line, number) for number, line in enumerate(whole, start=1)]

    def _parse(self, line: str, number: int) -> R:
        try:
            return self._row_type.model_validate_json(line)
        except ValidationError as error:
            problem = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise UserError(
                f"{self.path}, line {number}, is not a {self._row_type.__name__} row of this version ({problem}). "
                "Mend the line, or remove the file to have it made again."
            ) from None

    def resume(self, wanted: Mapping[str, str]) -> list[str]:
        """Keep the rows whose key and fingerprint are wanted and whose files exist; return the keys still to be made."""
        kept: dict[str, R] = {}
        for row in self.rows():
            current = wanted.get(self.key(row)) == row.fingerprint
            if current and all(file.exists() for file in self._files(row)):
                kept[self.key(row)] = row
        if self.path.exists():
            self._rewrite(list(kept.values()))
        return [key for key in wanted if key not in kept]

    def append(self, row: R) -> None:
        """Add one row. Its files must be on disk already."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = (row.model_dump_json() + "\n").encode()
        with self.path.open("ab", buffering=0) as stream:
            before = stream.tell()
            try:
                if stream.write(line) != len(line):
                    raise OSError(f"disk full: {self.path} could not take a whole row")
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(before)
                raise

    def settle(self, order: Mapping[str, str]) -> list[R]:
        """Put the rows in the order of the work list, and return them. To be called when all are made.

        Leaves a file even without rows: the next stage can then tell "nothing was found" from "was not run".
        """
        by_key = {self.key(row): row for row in self.rows()}
        rows = [by_key[key] for key in order if key in by_key]
        self._rewrite(rows)
        return rows

    def _rewrite(self, rows: list[R]) -> None:
        text = "".join(row.model_dump_json() + "\n" for row in rows)
        if not self.path.exists() or self.path.read_text(encoding="utf-8") != text:
            write_text(self.path, text)


class RunFolder:
    """A folder that one run owns. Paths in its manifests are relative to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def folder(self, name: str) -> "RunFolder":
        """A part of the run that is laid out like a run of its own, as the evaluation's base and aligned clips are."""
        return RunFolder(self.path / name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the system lets go of it when the process ends, however it ends.

        Raises:
            RunFolderBusy: If another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                raise RunFolderBusy(
                    f"{self.path} is being worked on by {stream.read().strip() or 'another process'}. "
                    "Wait for it to end, or choose another folder with --out."
                ) from None
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {socket.gethostname()}")
            stream.flush()
            self._sweep()
            yield
            self._sweep()  # what a killed worker of this very run was writing

    def _sweep(self) -> None:
        """Remove what a killed process was writing: temporary files and folders that never got their name."""
        for path in sorted(self.path.rglob(".*.tmp*")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
