"""The rank and number of processes, where `accelerate launch` or `torchrun` has started more than one."""

import os


def world_size() -> int:
    """Return the number of processes that were started together; it is 1 if this process is alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Return whether this is the process that writes files and shows progress: the one of rank 0, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0
