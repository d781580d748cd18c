"""Fingerprints: short hashes of settings and inputs, which tell whether what was made before is still what is wanted."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

_SAMPLE_BYTES = 1 << 20  # of each end of a file: enough to tell checkpoints apart without reading gigabytes


def fingerprint(*parts: object) -> str:
    """Hash settings and inputs, given as anything JSON can say (pydantic models included), to 16 hex digits."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_jsonable)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _jsonable(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot fingerprint a {type(value).__name__}")


def path_fingerprint(path: Path) -> str:
    """Hash a file, or every file below a folder: its name, size, and first and last megabyte."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path) if path.is_dir() else ''}:{size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLE_BYTES))
            if size > _SAMPLE_BYTES:
                stream.seek(max(_SAMPLE_BYTES, size - _SAMPLE_BYTES))
                digest.update(stream.read())
    return digest.hexdigest()[:16]
