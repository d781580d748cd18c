"""The settings of machines: who does the work, and what a machine must have."""

from typing import Annotated

from pydantic import Field

from videogpa.config.base import Config

CLUSTER = r"^(auto|(ray://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5})$"
"""Addresses of a Ray cluster. Ray takes more: `local`, and names of modules that it would import."""


class WorkersConfig(Config):
    """The processes that generate, score and encode. They have no influence on the results.

    Several machines share the run folder through a file system that all see at the same path.
    """

    count: Annotated[int, Field(ge=1, le=1024)] = 1
    """Number of workers. 1 is this process; more need Ray (pip install 'videogpa[ray]')."""
    ray: Annotated[str, Field(pattern=CLUSTER)] | None = Field(default=None, exclude=True)
    """Address of a running Ray cluster, HOST:PORT, or `auto` to find it. It is no setting of a recipe: a recipe that somebody
    else wrote must not choose which machines do the work."""
    gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs of one worker. Default: 1 where there are GPUs."""


class Needs(Config):
    """What a machine must have to run the recipe; `videogpa doctor` compares."""

    gpu_gib: Annotated[float, Field(ge=0)] = 0
    """Memory of the GPU, in GiB."""
    memory_gib: Annotated[float, Field(ge=0)] = 4
    """Memory of the machine, in GiB."""
