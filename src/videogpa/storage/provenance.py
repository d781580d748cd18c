"""Provenance: which code, on which machine, made a run. It is written into the run's recipe.yaml."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import yaml

from videogpa import __version__
from videogpa.config import Recipe
from videogpa.config.paths import with_own_prompts, with_paths_inside
from videogpa.storage.files import write_text
from videogpa.storage.run_folder import RunFolder, whole_run

PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "pycolmap", "opencv-python-headless", "av", "numpy")


def write_recipe(recipe: Recipe, folder: RunFolder) -> None:
    """Write the complete recipe with its provenance to recipe.yaml. The file is left alone if nothing in it has changed.

    Paths inside the run folder are relative to it, others absolute; the prompts are the run's own copy of them.
    """
    whole = with_own_prompts(recipe.model_dump(mode="json"), folder.path)
    content = {**with_paths_inside(whole, folder.path, whole_run(folder.path) or folder.path), "provenance": provenance()}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    path = folder / "recipe.yaml"
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def provenance() -> dict[str, Any]:
    """Return versions, git commit and hardware, as far as they can be found out."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "videogpa": __version__,
        "commit": git_commit(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "cpu": {"cores": psutil.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30)},
        "gpu": device,
    }


def package_version(name: str) -> str | None:
    """Return the version of an installed distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit of the checkout that the package runs from, with `-dirty` if files have changed; None without git."""
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
