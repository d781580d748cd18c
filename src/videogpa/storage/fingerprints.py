"""Fingerprints: short hashes of settings and inputs. A result is made again if its fingerprint no longer matches."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from videogpa.renames import HASHED_AS

_SAMPLE_BYTES = 1 << 20  # read at each end of a file: enough to distinguish checkpoints without reading gigabytes


def fingerprint(*parts: object) -> str:
    """Hash settings and inputs to 16 hex digits.

    Args:
        parts: Anything that JSON can hold, pydantic models and paths included. A renamed setting is hashed under its old name,
            so that a run folder of an earlier version is continued and not made again.
    """
    named = json.loads(json.dumps(parts, default=_jsonable), object_hook=_with_hashed_names)
    canonical = json.dumps(named, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _with_hashed_names(mapping: dict[str, Any]) -> dict[str, Any]:
    return {HASHED_AS.get(name, name): value for name, value in mapping.items()}


def _jsonable(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot fingerprint a {type(value).__name__}")


def path_fingerprint(path: Path) -> str:
    """Hash a file, or every file below a folder.

    Args:
        path: The file or folder. Of each file the size and the first and last megabyte count, and below a folder its name too.

    Returns:
        16 hexadecimal digits.
    """
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
