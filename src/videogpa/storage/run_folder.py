"""The run folder: it belongs to one run, and one process at a time writes to it."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from videogpa import processes
from videogpa.errors import InvalidInput, UserError
from videogpa.storage.files import is_leftover, is_temporary, remove, require_regular, write_text

LOCK = ".lock"
OWNER = ".videogpa"
"""Marks a folder as one of this program's, and says which process worked in it last."""

ROUNDS = "rounds"
"""The folder of the later rounds of a run, each a run folder of its own: rounds/2, rounds/3, ..."""

FOLDERS = (
    *("prompts", "clips", "latents", "train", "adapter", "evaluation", "model", "best", "strips", "players", "replaced"),
    ROUNDS,
)
"""The folders in a run folder, or a folder of scores, that the program writes into."""
MANIFESTS = (
    *("prompts.jsonl", "clips.jsonl", "scores.jsonl", "pairs.jsonl", "latents.jsonl", "diversity.jsonl"),
    "judgements.jsonl",
)
FILES = (
    *MANIFESTS,
    "recipe.yaml",
    "evaluation.json",
    "rounds.json",
    "report.html",
    "scores.csv",
    "judgements.csv",
    "columns.json",
    "compare.json",
    "compare.html",
    LOCK,
    OWNER,
)
"""The files that the program writes into one."""
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # of file managers: a folder with these alone is empty
_RUN, _SCORES = "run folder", "folder of scores"


def whole_run(folder: Path) -> Path | None:
    """Return the folder of the run that a folder is a later round of; None if it is none."""
    round_, whole = folder.absolute(), folder.absolute().parent.parent
    is_round = round_.parent.name == ROUNDS and round_.name.isdecimal() and (whole / OWNER).is_file()
    return whole if is_round else None


class RunFolderBusy(UserError):  # noqa: N818 - the name of a state
    """Another process works in the folder."""


def refuse_links(paths: Iterable[Path], folder: Path, kind: str, hint: str = "") -> None:
    """Refuse links that lead out of a folder.

    Args:
        paths: What is in it.
        folder: The folder.
        kind: What it is the folder of, for the message.
        hint: What else the message says.

    Raises:
        InvalidInput: If there is such a link.
    """
    root = folder.resolve()
    for path in paths:
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise InvalidInput(
                f"{path} is a link that leads out of the {kind} folder, to {path.resolve()}: nothing is read or written "
                f"there. Remove it{hint}."
            )


class RunFolder:
    """The folder of a run. `folder / "name"` is a path in it; paths in its manifests are relative to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.top = self
        """The whole run's folder, of which this one may be a part."""
        self._when_begun: Callable[[], None] | None = None
        self._replaced: Path | None = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def subfolder(self, name: str) -> "RunFolder":
        """Return a part of the run that is laid out like a run folder, such as `evaluation/base`."""
        part = RunFolder(self.path / name)
        part.top = self.top
        return part

    def when_begun(self, do: Callable[[], None]) -> None:
        """Have something done once, when settings have proved usable: at the first row that is made with them."""
        self.top._when_begun = do

    def begun(self) -> None:
        """Say that the settings have proved usable."""
        do, self.top._when_begun = self.top._when_begun, None
        if do is not None:
            do()

    def replaced(self) -> Path:
        """Return where this run keeps what its settings replace: laid out like this folder, with the recipe of before."""
        if self.top._replaced is None:
            stem = self.top.path / "replaced" / datetime.now().astimezone().strftime("%Y-%m-%d_%H.%M.%S")
            path, number = stem, 1
            while path.exists():
                path, number = stem.with_name(f"{stem.name}.{number}"), number + 1
            recipe = self.top / "recipe.yaml"
            path.mkdir(parents=True)
            if recipe.is_file():
                (path / "recipe.yaml").write_bytes(recipe.read_bytes())
            self.top._replaced = path
        return self.top._replaced / self.path.relative_to(self.top.path)

    @contextmanager
    def lock(self, *, scores: bool = False) -> Iterator[None]:
        """Lock the folder for this process. The system releases the lock when the process ends, however it ends.

        Args:
            scores: Whether it is a folder of scores, which `videogpa score` fills, and not that of a run.

        Raises:
            RunFolderBusy: If another process holds it.
            InvalidInput: If it is a folder of something else, or links in it lead out of it.
        """
        kind = _SCORES if scores else _RUN
        self._require_own(kind)
        self.path.mkdir(parents=True, exist_ok=True)
        require_regular(self / LOCK)
        lock = FileLock(str(self / LOCK))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderBusy(
                f"{self.path} is being worked on by {self._owner() or 'another process'}. "
                "Wait for it to end, or choose another folder with --out."
            ) from None
        try:
            self._refuse_links()
            write_text(self / OWNER, f"{kind} of videogpa: process {os.getpid()} on {socket.gethostname()}\n")
            processes.works_in(self.path)
            self._sweep()
            yield
        finally:
            self._sweep()  # also what workers of this run were writing when they were killed
            lock.release()

    def _owner(self) -> str:
        try:
            return (self / OWNER).read_text(encoding="utf-8").partition(": ")[2].strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _require_own(self, wanted: str) -> None:
        """Refuse a folder that holds other files than those of this program, so that none of them is ever touched."""
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise InvalidInput(f"--out {self.path} is no folder. Choose a new one.")
        found = self._kind()
        if found is None or (found and found != wanted):
            what = f"is a {found}, and no {wanted}" if found else f"holds files, and is no {wanted} of videogpa"
            raise InvalidInput(
                f"{self.path} {what}: nothing is written into it, so that nothing in it is lost. "
                "Choose a new or empty folder with --out."
            )

    def _kind(self) -> str | None:
        """Return which of the two kinds of folders this is; an empty text if it is empty, None if it is another."""
        names = {path.name for path in self.path.iterdir() if not is_temporary(path)} if self.path.is_dir() else set()
        if not names - _LITTER - {LOCK}:
            return ""
        marked = next((kind for kind in (_RUN, _SCORES) if self._mark().startswith(f"{kind} of videogpa")), None)
        if marked is not None:
            return marked
        if "recipe.yaml" in names and b"provenance:" in (self / "recipe.yaml").read_bytes():  # of version 0.1
            return _RUN
        return _SCORES if {"scores.jsonl", "columns.json"} <= names else None

    def _mark(self) -> str:
        try:
            return (self / OWNER).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def _sweep(self) -> None:
        """Remove what killed processes were writing into the program's own folders."""
        for path in self._own_paths():
            if not path.is_symlink() and is_leftover(path):
                remove(path)

    def _refuse_links(self) -> None:
        """Refuse links that lead out of the folder.

        Raises:
            InvalidInput: If there is such a link.
        """
        refuse_links(self._own_paths(), self.path, "run", "; a run on another disk has its whole folder there (--out)")

    def _own_paths(self) -> Iterator[Path]:
        """Yield what is in the folder under names of the program, and all below; no folder that has a lock of its own."""
        left = [path for path in self.path.iterdir() if path.name in (*FOLDERS, *FILES) or is_temporary(path)]
        while left:
            path = left.pop()
            if path.is_dir() and not path.is_symlink() and not is_temporary(path) and not (path / LOCK).exists():
                left += path.iterdir()
            yield path
