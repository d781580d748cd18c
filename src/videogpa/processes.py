"""Which of several processes this is, where `accelerate launch` or `torchrun` has started more than one."""

import os


def world_size() -> int:
    """Return how many processes were started together; 1 if this process is alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Return whether this is the process that writes files and shows progress: the first, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0
