"""What the benchmarks share: the name of the machine, its clock, and processes of their own for what is measured."""

import multiprocessing
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")


def processor() -> str:
    """Return the number and the name of the CPU's cores, as far as the system tells."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    return f"{len(names)} cores, {names[0]}" if names else platform.processor()


def accelerator(device: str) -> str:
    """Return the name of the GPU that is measured."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "no GPU"


def clocked(function: Callable[[], T], device: str) -> tuple[T, float]:
    """Return what a function returns, and its seconds: on a GPU those that pass, on a CPU those that the process works.

    The latter other work on the machine disturbs less. They are those that pass on an idle machine if one thread works.
    """
    on_gpu = device.startswith("cuda")
    clock = time.perf_counter if on_gpu else time.process_time
    if on_gpu:
        torch.cuda.synchronize()
    start = clock()
    found = function()
    if on_gpu:
        torch.cuda.synchronize()
    return found, clock() - start


def apart(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a process of its own, so that its peak of memory is its own too."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
