"""Folders of toy models, which several files of tests load."""

from collections.abc import Callable
from pathlib import Path

import pytest

from videogpa.models import toys


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what builds a toy by its name, once for a file of tests, and returns its folder."""
    root = tmp_path_factory.mktemp("toys")

    def built(name: str) -> Path:
        if not (root / name).exists():
            toys.build(name, root / name)
        return root / name

    return built
