"""Starts commands of the command line in processes that have everything imported already, so that a kill costs a second.

Run as a program. It reads lines of JSON, each of which tells what is to be run and when it is to kill itself (`Killing`),
forks a process for it, and answers with its exit status.
"""

import atexit
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from videogpa import cli

MODULES = (
    *(f"videogpa.stages.{s}" for s in ("prompts", "generate", "score", "pair", "encode", "train", "evaluate", "report")),
    *(
        "videogpa.stages.notes",
        "videogpa.stages.rounds",
        "videogpa.critics.oracle",
        "videogpa.critics.vggt",
        "videogpa.models.toys",
        "videogpa.models.adapters",
    ),
    *("videogpa.models.cogvideox", "videogpa.cli.shell", "videogpa.report.players", "psutil", "filelock"),
)
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate", "os.symlink"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


class Killing:
    """Counts the calls that change files below some folders, and sends a signal at the n-th."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.calls: list[str] = []
        self.fsync = os.fsync
        sys.addaudithook(self.hear)
        os.fsync = self.synced

    def synced(self, descriptor: int) -> None:
        self.count("os.fsync", str(Path(f"/proc/self/fd/{descriptor}").resolve()))
        self.fsync(descriptor)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES):
            path = arguments[0]
            if isinstance(path, (str, bytes, os.PathLike)):
                self.count(event, os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - nothing else is called in a hook

    def count(self, event: str, path: str) -> None:
        if not path.startswith(self.order["below"]):
            return
        self.calls.append(f"{event} {path}")
        if self.order.get("at") == len(self.calls):
            if not self.order["delay"]:
                self.send()
            threading.Thread(target=self.send_later, daemon=True).start()

    def send_later(self) -> None:
        time.sleep(self.order["delay"])
        self.send()

    def send(self) -> None:
        kill = os.killpg if self.order["group"] else os.kill
        kill(os.getpid(), self.order["signal"])


def start(order: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, target)
    killing = Killing(order)
    status = 99  # where something else than SystemExit comes out
    try:
        cli.main(order["arguments"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        for late in (signal.SIGINT, signal.SIGTERM):  # the command has ended
            signal.signal(late, signal.SIG_IGN)
        if status == 99:
            traceback.print_exc()
        atexit._run_exitfuncs()
        Path(order["log"] + ".calls").write_text("\n".join(killing.calls), encoding="utf-8")
        sys.stderr.flush()
        os._exit(status)  # taking down an interpreter with all these modules takes seconds


def serve() -> None:
    for module in MODULES:
        importlib.import_module(module)
    from videogpa.workers.ray_pool import _import_ray

    _import_ray(local=True)
    for line in sys.stdin:
        ended = os.waitpid(start(json.loads(line)), 0)[1]
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
