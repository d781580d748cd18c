"""Broken files for tests that load models: bytes and values of JSON that are changed, and other files in a file's place."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

ODD_VALUES = st.sampled_from(
    [10**9, 10**7, -1, 0, 1, 3, 2.5, 1e300, float("inf"), float("nan"), 10**40, True, None, "8", "", [], {}, [1, 2], [[]], "é"]
)
"""Values that a setting may be given by an accident or an attacker."""


def pieces(text: bytes) -> st.SearchStrategy[bytes]:
    """Damaged forms of a text: torn, overwritten, with bytes put in or left out, or in another encoding."""
    places = st.integers(0, len(text) - 1)
    return st.one_of(
        places.map(lambda n: text[:n]),
        st.tuples(places, st.binary(min_size=1, max_size=4)).map(lambda x: text[: x[0]] + x[1] + text[x[0] + len(x[1]) :]),
        st.tuples(places, st.binary(min_size=1, max_size=4)).map(lambda x: text[: x[0]] + x[1] + text[x[0] :]),
        st.tuples(places, st.integers(1, 40)).map(lambda x: text[: x[0]] + text[x[0] + x[1] :]),
        st.binary(max_size=64),
        st.sampled_from(
            [
                text.decode().encode("utf-16"),
                b"\xef\xbb\xbf" + text,
                text + bytes(16),
                b"[" * 100_000,
                b'{"a":' * 100_000,
                b"null",
                b"[]",
                b"{}",
                b"1" * 5000,
                text.rstrip()[:-1] + b', "depth": 1, "depth": 2}',
            ]
        ),
    )


def linked(source: Path, target: Path) -> Path:
    """Copy a folder by hard links, which cost nothing. A file of the copy is replaced, never written to."""
    shutil.copytree(source, target, copy_function=_link)
    return target


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy(source, target)


def replace(path: Path, content: bytes) -> None:
    """Put another file in the place of a linked one."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def changed_json(path: Path, key: str, value: Any) -> bytes:
    """Return the text of a JSON file with another value under a key."""
    return json.dumps({**json.loads(path.read_text(encoding="utf-8")), key: value}).encode()


IN_ITS_PLACE: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "a loop of links": lambda path: path.symlink_to(path.name),
    "a dangling link": lambda path: path.symlink_to("gone"),
    "nothing": lambda path: None,
    "an empty file": lambda path: path.write_bytes(b""),
    "a git-lfs pointer": lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
    "an HTML page": lambda path: path.write_bytes(b"<!doctype html><html>404</html>"),
    "a pickle": lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/ran'\ntR."),
    "a zip archive": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(40)),
    "GGUF": lambda path: path.write_bytes(b"GGUF" + bytes(40)),
    "a header that is too large": lambda path: path.write_bytes((2**40).to_bytes(8, "little") + b"{" + bytes(40)),
    "a header that ends nowhere": lambda path: path.write_bytes((2**20).to_bytes(8, "little") + b'{"a":' + bytes(40)),
    "noise": lambda path: path.write_bytes(bytes(range(128, 256)) * 8),
}
"""What can stand where a file was expected."""


def put(path: Path, what: str) -> None:
    """Put something else in the place of a file."""
    path.unlink(missing_ok=True)
    IN_ITS_PLACE[what](path)
