"""Workers that Ray runs, on this machine or on a cluster (https://docs.ray.io).

Ray replaces a killed worker and repeats its item; results come back to this process, which alone writes rows. A Ray that is
started here listens on loopback only, shows no dashboard, reports no usage and leaves no files behind.
"""

import logging
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import psutil

from videogpa.config import WorkersConfig
from videogpa.errors import UserError
from videogpa.processes import own_sigterm
from videogpa.temporary import temporary_folder, temporary_root
from videogpa.workers.clusters import require_cluster
from videogpa.workers.pool import Task
from videogpa.workers.progress import progress

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 80 * 2**20  # about the smallest that Ray accepts: only descriptions of items and rows pass through it
LONGEST_ROOT = 11
"""Bytes of the path in which Ray can have its folder: its sockets lie 92 further, and macOS takes 103 (Linux 107)."""
_PATIENCE = 5  # seconds until processes that were killed are gone
RETRIES = 3  # of an item whose worker was killed: an item that kills every worker must end


class _Worker:
    """One worker. It loads the task at its first item, so that an error in loading reaches the caller as it is.

    Args:
        task: The work.
        folder: What relative paths start from; None leaves it to the cluster.
    """

    def __init__(self, task: Task[Any, Any], folder: str | None) -> None:
        if folder is not None:
            os.chdir(folder)
        self._task = task
        self._do: Callable[[Any], Any] | None = None

    def do(self, item: Any) -> Any:
        if self._do is None:
            self._do = self._task.load()
        return self._do(item)


class RayPool:
    """Workers of a cluster, or of a Ray that is started here and runs until the pool is closed."""

    def __init__(self, config: WorkersConfig) -> None:
        self._config = config
        if find_spec("ray") is None:
            raise UserError("several workers need Ray: pip install 'videogpa[ray]', or leave out --workers and --ray")
        self._resources = ExitStack()
        self._workers: tuple[Task[Any, Any], list[Any]] | None = None

    @cached_property
    def _ray(self) -> ModuleType:
        """Ray, which is imported at the first item: a batch with nothing left to do ends without it."""
        return _import_ray(local=self._config.ray is None)

    def __enter__(self) -> "RayPool":
        return self

    def __exit__(self, *error: object) -> None:
        if self._config.ray is not None:  # a Ray of our own ends with all that it runs
            self._stop_workers()
        self._resources.close()

    def map(self, task: Task[Item, Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
        """Do the task's work on every item; results come in the order in which they are finished."""
        if not items:
            return
        workers = self._workers_for(task)  # first: Ray must be imported by `_import_ray`, which sets its environment
        from ray.util import ActorPool

        pool = ActorPool(workers)
        for item in items:
            pool.submit(lambda worker, item: worker.do.remote(item), item)
        with progress(label, len(items)) as advance:
            while pool.has_next():
                yield self._next(pool)
                advance("")

    def _next(self, pool: Any) -> Any:
        try:
            return pool.get_next_unordered()
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BaseException):
                raise error.cause from error
            raise
        except self._ray.exceptions.RayActorError as error:
            raise UserError(
                f"workers died {RETRIES + 1} times over the same item: they may lack memory, so try fewer workers. Finished "
                f"work is kept. Ray reports: {error}"
            ) from None

    def _workers_for(self, task: Task[Any, Any]) -> list[Any]:
        """Return the workers of the last call if their task was equal, else new ones."""
        if self._workers is not None and self._workers[0] == task:
            return self._workers[1]
        if self._workers is None:
            self._start()
        self._stop_workers()
        cpus, gpus = self._shares()
        worker = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES)(_Worker)
        folder = str(Path.cwd()) if self._config.ray is None else None
        workers = [worker.remote(task, folder) for _ in range(self._config.count)]
        self._workers = (task, workers)
        return workers

    def _stop_workers(self) -> None:
        for worker in self._workers[1] if self._workers else ():
            self._ray.kill(worker)
        self._workers = None

    def _start(self) -> None:
        """Connect to the cluster, or start Ray on this machine."""
        started: list[psutil.Process] = []
        options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        folder = str(self._resources.enter_context(temporary_folder(_root_for_sockets())))
        if self._config.ray is None:
            options |= {"num_cpus": self._config.count * self._cores(), "object_store_memory": OBJECT_STORE_BYTES}
            options |= {"include_dashboard": False, "_node_ip_address": LOOPBACK}
            options |= {"_temp_dir": str(Path(folder, "r"))}  # Ray lets everybody write to its folder, so it lies in ours
            self._resources.callback(_end, started)
        else:
            require_cluster(self._config.ray)
        self._resources.callback(self._ray.shutdown)  # registered first, for a start that is interrupted
        self._resources.callback(_family, psutil.Process().children(), started)
        try:
            with _at(folder), own_sigterm():
                self._ray.init(address=self._config.ray or "local", **options)
        except (ConnectionError, ValueError) as error:
            where = f"no Ray cluster at {self._config.ray}" if self._config.ray else "Ray does not start on this machine"
            raise UserError(f"{where}: {error}") from None
        if self._config.ray is None and self._ray.util.get_node_ip_address() != LOOPBACK:
            raise UserError(f"Ray would listen on {self._ray.util.get_node_ip_address()}: it was imported before videogpa")
        self._check_resources()

    def _cores(self) -> int:
        """Return the CPU cores of one worker. On this machine each gets an even share, which is also its number of threads."""
        return 1 if self._config.ray is not None else max(1, (psutil.cpu_count() or 1) // self._config.count)

    def _shares(self) -> tuple[int, float]:
        """Return the CPU cores and GPUs of one worker."""
        gpus = self._ray.cluster_resources().get("GPU", 0.0)
        return self._cores(), (1.0 if gpus else 0.0) if self._config.gpus is None else self._config.gpus

    def _check_resources(self) -> None:
        """Refuse workers that do not fit, since Ray would let them and their items wait for ever."""
        resources = self._ray.cluster_resources()
        for kind, each in zip(("CPU", "GPU"), self._shares(), strict=True):
            available = resources.get(kind, 0.0)
            if each * self._config.count > available:
                raise UserError(
                    f"{self._config.count} workers of {each:g} {kind} each, and there are only {available:g}: lower --workers"
                    + (" or workers.gpus" if kind == "GPU" else "")
                )


@contextmanager
def _at(folder: str) -> Iterator[None]:
    """Work in another folder for a moment.

    Ray has its workers import modules from the folder in which it was started. A folder of clips from somebody else may hold a
    `torch.py`, so it is started in an empty one.
    """
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _family(before: Collection[psutil.Process], found: list[psutil.Process]) -> None:
    """Add the children of this process that were not there before, with all of their descendants, to those found."""
    for child in psutil.Process().children():
        if child not in before:
            with suppress(psutil.NoSuchProcess):
                found += [child, *child.children(recursive=True)]


def _end(processes: list[psutil.Process]) -> None:
    """End the processes that still run.

    Those that Ray's own processes have started, such as its agents, otherwise notice their end within a minute, and write files
    until then.
    """
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=_PATIENCE)


def _root_for_sockets() -> Path | None:
    """Return the folder for Ray's own: that of the system for temporary files, or /tmp where its path is too long for sockets.

    Raises:
        UserError: If neither can be used.
    """
    root = temporary_root()
    if os.name == "nt" or len(os.fsencode(root)) <= LONGEST_ROOT:  # Ray uses no such sockets on Windows
        return root
    short = Path("/tmp")
    if not os.access(short, os.W_OK | os.X_OK):
        raise UserError(
            f"the folder for temporary files, {root}, has a path that is too long for the sockets of Ray ({LONGEST_ROOT} "
            "bytes at most), and /tmp cannot be written to: set TMPDIR to a shorter path, or leave out --workers"
        )
    _log.info("the path of %s is too long for the sockets of Ray: they are in /tmp", root)
    return short


def _import_ray(*, local: bool) -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # workers without a GPU see the same ones as we do
    if local:
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray puts workers behind all other programs of a machine
        # Ray's switch for systems whose firewalls object to open ports. Without it, Ray replaces 127.0.0.1 by the machine's
        # outer address and listens there. It is read when Ray is imported.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Other users of this machine reach the loopback too, and whoever reaches a Ray runs code in it. So it wants a word that
        # this process and its children alone know; Ray's own would lie in a file of the home folder that everybody may read.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    module: ModuleType = ray
    return module
