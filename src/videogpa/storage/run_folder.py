"""The run folder: it belongs to one run, and one process at a time writes to it."""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videogpa.errors import UserError


class RunFolderBusy(UserError):  # noqa: N818 - the name of a state
    """Another process works in the folder."""


class RunFolder:
    """The folder of a run. `folder / "name"` is a path in it; paths in its manifests are relative to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def subfolder(self, name: str) -> "RunFolder":
        """Return a part of the run that is laid out like a run folder, such as `evaluation/base`."""
        return RunFolder(self.path / name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for this process. The system releases the lock when the process ends, however it ends.

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
            self._sweep()  # what workers of this run were writing when they were killed

    def _sweep(self) -> None:
        """Remove the temporary files and folders that killed processes have left."""
        for path in sorted(self.path.rglob(".*.tmp*")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
