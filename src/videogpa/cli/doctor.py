"""`videogpa doctor`: versions, hardware and weights of this machine, and which recipes it can run."""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
from rich.table import Table

from videogpa import __version__, hub
from videogpa.bundled import TINY, recipes_folder
from videogpa.config import Recipe, load_recipe
from videogpa.critics.cards import Card, cards_of
from videogpa.critics.networks.weights import in_hubs_cache
from videogpa.errors import MissingInput
from videogpa.judges import cards as judge_cards
from videogpa.registry import CRITICS, JUDGES
from videogpa.scoring.lpips import VGG_VARIABLE, find_vgg
from videogpa.storage.provenance import PACKAGES, git_commit, package_version

GIB = 2**30


def report() -> Iterator[Table]:
    """Yield the tables of the report."""
    yield _table("versions", ("what", "version"), _versions())
    yield _table("machine", ("what", "value"), _machine())
    yield _table("weights", ("what", "where"), _weights())
    yield _table("recipes", ("recipe", "fits", "why"), _recipes())


def _table(title: str, headings: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _versions() -> Iterator[tuple[str, str]]:
    yield "videogpa", f"{__version__} ({git_commit() or 'not from a checkout'})"
    yield "python", platform.python_version()
    for name in PACKAGES:
        yield name, package_version(name) or "not installed"


def _machine() -> Iterator[tuple[str, str]]:
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    yield "processor", f"{psutil.cpu_count()} cores, {os.environ.get('OMP_NUM_THREADS', 'all')} of them for OpenMP"
    yield "memory", f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    yield "disk here", f"{disk.free / GIB:.0f} of {disk.total / GIB:.0f} GiB free"
    gpus = gpu_memory()
    for name, total in gpus:
        yield "GPU", f"{name}, {total / GIB:.0f} GiB"
    if not gpus:
        yield "GPU", "none that torch can use"


def gpu_memory() -> list[tuple[str, int]]:
    """Return name and memory in bytes of every GPU that torch can use."""
    import torch

    properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [(device.name, device.total_memory) for device in properties]


def _weights() -> Iterator[tuple[str, str]]:
    yield "LPIPS alex", "ships with the package"
    try:
        vgg: object = find_vgg() or f"not here: fetched on first use of --lpips-net vgg, or named by {VGG_VARIABLE}"
    except MissingInput as error:
        vgg = error
    yield "LPIPS vgg", str(vgg)
    for name in CRITICS:
        for card in cards_of(name):
            if card.parameters is not None:
                yield f"critic {name}", f"{card.weights}: {_weights_state(card)}"
    for name in JUDGES:
        for card in judge_cards.cards_of(name):
            here = hub.is_hub_id(card.weights) and in_hubs_cache(card.weights)
            yield f"judge {name}", f"{card.weights}: {'in the hub cache' if here else 'not here, and not fetched unless named'}"
    for path in sorted(recipes_folder().glob("*.yaml")):
        model = load_recipe(path).model
        yield f"model of {path.stem}", f"{model.path}: {_model_state(model.path)}"


def _weights_state(card: Card) -> str:
    if card.weights.startswith(TINY):
        return "ships with the package"
    return "in the hub's cache" if in_hubs_cache(card.weights) else f"not here: {card.download} on first use"


def _model_state(path: str) -> str:
    if path.startswith("toy:"):
        return "made on first use"
    if path.startswith(TINY):
        return "ships with the package"
    if Path(path).exists():
        return "a folder of this machine"
    folder = hub.cached(path, patterns=("model_index.json",))
    here = folder is not None and (folder / "model_index.json").is_file()
    return "in the hub's cache" if here else "not here; fetched on first use"


def _recipes() -> Iterator[tuple[str, str, str]]:
    for path in sorted(recipes_folder().glob("*.yaml")):
        lacking = shortfalls(load_recipe(path), psutil.virtual_memory().total, gpu_memory())
        yield path.stem, "no" if lacking else "yes", "; ".join(lacking) or "all it needs is here"


def shortfalls(recipe: Recipe, memory: int, gpus: list[tuple[str, int]]) -> list[str]:
    """Return what the recipe needs and a machine of so many bytes of memory, with these GPUs, lacks."""
    needs, largest = recipe.needs, max((total for _, total in gpus), default=0)
    lacking = []
    if needs.gpu_gib * GIB > largest:
        lacking.append(f"needs a GPU with {needs.gpu_gib:g} GiB, the largest here has {largest / GIB:.0f}")
    if needs.memory_gib * GIB > memory:
        lacking.append(f"needs {needs.memory_gib:g} GiB of memory, {memory / GIB:.0f} are here")
    return lacking
