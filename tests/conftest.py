"""Shapes and types of every function of the package are checked while the tests run, and only then."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything of Hugging Face is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is: see videogpa.cli

from jaxtyping import install_import_hook

install_import_hook("videogpa", "beartype.beartype")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden data and real clips that lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no golden data at {SHARED}")
    return SHARED
