"""Shapes and types of every function of the package are checked while the tests run, and only then."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything of Hugging Face is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is: see videogpa.cli
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray puts its workers behind everything else, such as the other tests

from jaxtyping import install_import_hook

install_import_hook("videogpa", "beartype.beartype")

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _log_level() -> Iterator[None]:
    """Put the level of the package's log back: a command that ran in this process has set its own."""
    log = logging.getLogger("videogpa")
    before = log.level
    yield
    log.setLevel(before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and large weights that may lie beside the checkout; tests that need it are skipped without."""
    if not SHARED.is_dir():
        pytest.skip(f"no real clips or large weights at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def golden() -> Path:
    """What the original implementations return, for small inputs: see golden/README.md."""
    return GOLDEN


@pytest.fixture(scope="session")
def golden_vggt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small VGGT as a folder of `config.json` and `weights.safetensors`; `case.safetensors` holds the original's outputs."""
    from golden_networks import write_network  # torch is not imported before it is needed

    return write_network(GOLDEN / "vggt_small", tmp_path_factory.mktemp("vggt_small"))


@pytest.fixture(scope="session")
def golden_da3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Depth Anything 3 as a folder, like `golden_vggt`."""
    from golden_networks import write_network

    return write_network(GOLDEN / "da3_small", tmp_path_factory.mktemp("da3_small"))
