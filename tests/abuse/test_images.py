"""Broken, hostile and unusual pictures: each is read rightly or refused in a sentence with its path."""

import os
import random
import stat
import struct
import tempfile
import zlib
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from attempts import attempt
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features
from torch import Tensor

from videogpa.config import PromptsConfig
from videogpa.stages.prompts import check_images, plan
from videogpa.video import read_image

FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", *(["AVIF"] if features.check("avif") else [])]
MODES = ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "F", "I", "YCbCr"]
OTHERS = ["EPS", "PDF", "ICO", "JPEG2000", "PPM", "TGA", "SGI", "PCX", "DDS", "ICNS"]


def good(pixels: Tensor) -> None:
    assert (pixels.ndim, pixels.shape[0]) == (3, 3)
    assert torch.equal(pixels, pixels.clamp(0, 1))


def encoded(format: str, mode: str, size: tuple[int, int], *, exif: Image.Exif | None = None) -> bytes:
    """A picture of noise in a format, or in its nearest mode that the format takes."""
    picture = Image.effect_noise(size, 90).convert("RGB").convert("L" if mode in ("I;16", "F", "I") else mode)
    if mode in ("I;16", "F", "I"):
        types = {"I;16": np.uint16, "F": np.float32, "I": np.int32}
        picture = Image.fromarray((np.asarray(picture) / (255 if mode == "F" else 1)).astype(types[mode]))
    stream = BytesIO()
    extra = {} if exif is None else {"exif": exif}
    try:
        picture.save(stream, format, **extra)
    except (OSError, ValueError):
        picture.convert("RGB").save(stream := BytesIO(), format, **extra)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, kind: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    rows = zlib.compress(bytes((3 * width + 1) * height) if width * height < 1000 else b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff(**tags: int) -> bytes:
    """A TIFF of 8-bit grey without its pixels, whose tags are the given numbers (`t322=...`)."""
    known = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1} | {int(name[1:]): value for name, value in tags.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(known.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(known)) + entries + bytes(400)


BOMB = zlib.compress(bytes(1 << 26))
CRAFTED = {
    "declares 3,600 million pixels": png(60000, 60000),
    "declares 81 million pixels": png(9000, 9000),
    "a side of zero": png(0, 7),
    "a text that unpacks to 64 MiB": png(4, 4, chunk(b"zTXt", b"a\0\0" + BOMB)),
    "a profile that unpacks to 64 MiB": png(4, 4, chunk(b"iCCP", b"a\0\0" + BOMB)),
    "an international text that unpacks to 64 MiB": png(4, 4, chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB)),
    "a depth that there is not": png(4, 4, depth=7),
    "a bitmap of 10^9 columns": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 200, 0, 0, 54, 40, 10**9, 1, 1, 24, 0, 0, 1, 1, 0, 0),
    "an animation of 65,535 x 65,535": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"," + bytes(9) + b"\2\0;",
    "tiles of 2^31 pixels": tiff(t322=1 << 16, t323=1 << 15, t324=200, t325=64),
    "a preview of a raw photo": tiff(t254=1, t273=200, t278=8, t279=64),
    "a TIFF of 2^31 samples": tiff(t277=1 << 31, t273=200, t278=8, t279=64),
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(100),
    "a video": b"\0\0\0\x18ftypisom" + bytes(100),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "a page": b"<!DOCTYPE html><html>",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "empty": b"",
    "noise": random.Random(0).randbytes(4000),
    "WebP that declares 16,383 x 16,383": b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xfe\x3f\0\xfe\x3f\0" + bytes(40),
}


@given(
    st.sampled_from(FORMATS),
    st.sampled_from(MODES),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**32),
    st.sampled_from(["whole", "whole", "cut", "bytes", "head", "doubled", "zeros"]),
)
def test_pictures_of_any_mode_whole_and_damaged(format: str, mode: str, size: tuple[int, int], seed: int, damage: str) -> None:
    chance = random.Random(seed)
    content = bytearray(encoded(format, mode, size))
    if damage == "cut":
        content = content[: chance.randrange(len(content))]
    elif damage == "doubled":
        content = content[: chance.randrange(len(content))] + content
    elif damage == "zeros":
        start = chance.randrange(len(content))
        content[start : start + 40] = bytes(40)
    elif damage in ("bytes", "head"):
        for _ in range(chance.randint(1, 20)):
            content[chance.randrange(min(len(content), 64) if damage == "head" else len(content))] = chance.randrange(256)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"first frame.{chance.choice(FORMATS).lower()}"
        path.write_bytes(content)
        known = damage == "whole" and not (format == "TIFF" and mode == "I")
        attempt(
            "images",
            lambda: read_image(path),
            check=good,
            names=path.name,
            expect="right result" if known else None,
            seconds=10,
        )


@given(st.integers(0, 2**32), st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]))
def test_damaged_exif(seed: int, format: str) -> None:
    chance = random.Random(seed)
    exif = Image.Exif()
    exif[0x0112] = chance.randrange(12)
    exif[0x010F] = "x" * 40
    exif[0x0131] = "software"
    content = bytearray(encoded(format, "RGB", (9, 7), exif=exif))
    start = max(content.find(b"II*\0"), content.find(b"MM\0*"), 0)
    for _ in range(chance.randint(1, 8)):
        content[min(start + chance.randrange(60), len(content) - 1)] = chance.choice((0, 255, chance.randrange(256)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(content)
        attempt("images", lambda: read_image(path), check=good, names="photo.jpg", seconds=10)


@pytest.mark.parametrize("kind", CRAFTED)
def test_crafted_pictures(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "crafted.png"
    path.write_bytes(CRAFTED[kind])
    attempt("images", lambda: read_image(path), expect="clear sentence", names="crafted.png", seconds=5)


def test_formats_outside_the_list_are_not_opened_under_any_name(tmp_path: Path) -> None:
    """Pillow would run Ghostscript for an EPS called .png."""
    path = tmp_path / "innocent.png"
    for format in OTHERS:
        Image.new("RGB", (16, 16)).save(path, format)
        attempt("images", partial(read_image, path), expect="clear sentence", names="innocent.png")


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "locked.png").write_bytes(png(4, 4))
    (tmp_path / "locked.png").chmod(0)
    paths = [tmp_path / "pipe.png", tmp_path / "loop.png", tmp_path, tmp_path / "absent.png", tmp_path / "n\0l.png"]
    paths += [Path("/dev/zero"), Path("/proc/kmsg"), Path("/proc/self/environ"), tmp_path / ("long" * 100)]
    paths += [] if os.geteuid() == 0 else [tmp_path / "locked.png"]
    for path in paths:
        attempt("images", partial(read_image, path), expect="clear sentence", names=path.name.split("\0")[0][:100], seconds=5)
    message = attempt("images", lambda: check_images(paths), expect="clear sentence", names="pipe.png")
    assert f"{len(paths)} of {len(paths)} first frames" in str(message)
    assert stat.S_ISFIFO((tmp_path / "pipe.png").stat().st_mode)


def test_a_folder_of_heic_alone_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "photo.heic").write_bytes(CRAFTED["HEIC"])
    attempt(
        "images", lambda: plan(PromptsConfig(images=tmp_path)), expect="clear sentence", names="photo.heic: convert them to PNG"
    )
