"""Hostile and broken clips: damaged bytes, headers that lie about sizes, lists of other files, and what is no file at all."""

import os
import resource
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from attempts import attempt, run_shell, shell
from broken import put
from hypothesis import given
from hypothesis import strategies as st

from videogpa.video import probe, read_frames, read_frames_at, write_image
from videogpa.video.files import MOST_PIXELS

KINDS = {
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("mpeg4", "yuv420p"),
    "webm": ("libvpx", "yuv420p"),
    "avi": ("mjpeg", "yuvj420p"),
    "gif": ("gif", "rgb8"),
    "apng": ("apng", "rgb24"),
    "webp": ("libwebp_anim", "bgra"),
    "ts": ("mpeg2video", "yuv420p"),
    "flv": ("flv", "yuv420p"),
}
FRAMES, HEIGHT, WIDTH = 5, 48, 64
DECLARED = st.sampled_from(
    [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 8192, 12_000, 10**9, 2**31 - 1, 2**31, 2**32 - 1]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def sound(folder: Path) -> dict[str, bytes]:
    """The bytes of a small clip of every kind."""
    return {suffix: encoded(folder / f"sound.{suffix}", *coding) for suffix, coding in KINDS.items()}


def encoded(path: Path, codec: str, pix_fmt: str) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, pix_fmt
        for number in range(FRAMES):
            pixels = np.full((HEIGHT, WIDTH, 3), 40 * number, np.uint8)
            pixels[:, 8 * number : 8 * number + 16] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    return path.read_bytes()


def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Overwrite, tear, cut or repeat a few pieces, mostly of the header and of the index, which stand first and last."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        low, high = draw(st.sampled_from([(0, 200), (max(len(data) - 700, 0), len(data)), (0, len(data))]))
        at = draw(st.integers(low, max(min(high, len(data)) - 1, low)))
        match draw(st.sampled_from(["number", "bytes", "tear", "cut", "repeat"])):
            case "number":
                size = draw(st.sampled_from([1, 2, 4]))
                value = draw(DECLARED) % 256**size
                data[at : at + size] = value.to_bytes(size, draw(st.sampled_from(["big", "little"])))
            case "bytes":
                new = draw(st.binary(min_size=1, max_size=8))
                data[at : at + len(new)] = new
            case "tear":
                del data[max(at, 1) :]
            case "cut":
                del data[at : at + draw(st.integers(1, 40))]
            case "repeat":
                data[at:at] = data[at : at + 64] * draw(st.integers(1, 8))
    return bytes(data)


def read_all(path: Path) -> torch.Tensor:
    """Read a clip as the scorer does: describe it first, then read some frames."""
    info = probe(path)
    return read_frames_at(path, sorted({0, info.frames // 2, info.frames - 1}), scale_down=True)


def are_frames(frames: torch.Tensor) -> None:
    assert frames.ndim == 4
    assert frames.shape[1] == 3
    assert frames.shape[2] * frames.shape[3] <= MOST_PIXELS
    low, high = frames.aminmax()
    assert 0 <= low <= high <= 1


@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_damaged_bytes(folder: Path, sound: dict[str, bytes], data: st.DataObject, kind: str):
    path = folder / f"damaged.{data.draw(st.sampled_from([kind, 'mp4']))}"
    path.write_bytes(data.draw(st.composite(damaged)(sound[kind])))
    attempt("clips: damaged", lambda: read_all(path), check=are_frames, names=path.name)


def patched(content: bytes, at: int, fmt: str, *values: int) -> bytes:
    return content[:at] + struct.pack(fmt, *values) + content[at + struct.calcsize(fmt) :]


def large_gif(content: bytes, width: int, height: int) -> bytes:
    return patched(content, 6, "<HH", width % 65_536, height % 65_536)


def large_webp(content: bytes, width: int, height: int) -> bytes:
    return content[:24] + (width % 2**24).to_bytes(3, "little") + (height % 2**24).to_bytes(3, "little") + content[30:]


def large_apng(content: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", width % 2**31, height % 2**31) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def large_avi(content: bytes, width: int, height: int) -> bytes:
    return patched(content, content.index(b"strf") + 12, "<ii", width % 2**31, height % 2**31)


def large_mp4(content: bytes, width: int, height: int) -> bytes:
    return patched(content, content.index(b"avc1") + 28, ">HH", width % 65_536, height % 65_536)


LARGE: dict[str, Callable[[bytes, int, int], bytes]] = {
    "gif": large_gif,
    "webp": large_webp,
    "apng": large_apng,
    "avi": large_avi,
    "mp4": large_mp4,
}
SIDES = st.sampled_from([0, 1, 2, 5000, 6325, 8192, 12_000, 16_000, 16_384, 46_341, 65_535, 2**24 - 1, 2**31 - 1])


@given(st.sampled_from(sorted(LARGE)), SIDES, SIDES)
def test_sizes_that_a_header_declares_take_no_memory(folder: Path, sound: dict[str, bytes], kind: str, width: int, height: int):
    path = folder / f"large.{kind}"
    path.write_bytes(LARGE[kind](sound[kind], width, height))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    attempt("clips: declared sizes", lambda: read_all(path), check=are_frames, names=path.name)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    assert grown < 2000, f"{grown} MiB"  # three frames of the most pixels, as they are decoded and scaled down


@given(DECLARED, DECLARED, DECLARED)
def test_numbers_of_frames_that_an_index_declares(folder: Path, sound: dict[str, bytes], frames: int, chunk: int, times: int):
    path = folder / "many.mp4"
    content = sound["mp4"]
    for box, offset, value in ((b"stsz", 8, 10), (b"stsz", 12, frames), (b"stsc", 16, chunk), (b"stts", 12, times)):
        content = patched(content, content.index(box) + offset, ">I", value)
    path.write_bytes(content)
    attempt("clips: declared frames", lambda: read_all(path), check=are_frames, names="many.mp4")


ENTRIES = st.sampled_from(
    [
        "target.ts",
        "file:target.ts",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:9/a.ts",
        "concat:a|b",
        "../a",
        "\0",
        "é",
    ]
)
TEXTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n",
    "m3u8 of variants": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{0}\n",
    "m3u8 with a key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{0}"\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n',
    "ffconcat": "ffconcat version 1.0\nfile '{0}'\n",
    "ffconcat without its first line": "file '{0}'\n",
    "pls": "[playlist]\nFile1={0}\nNumberOfEntries=1\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na={0}\n",
    "mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{0}</BaseURL></Period></MPD>',
    "smil": "<smil><body><video src='{0}'/></body></smil>",
    "asx": "<asx version='3.0'><entry><ref href='{0}'/></entry></asx>",
    "ffmeta": ";FFMETADATA1\ntitle={0}\n",
    "avs": 'DirectShowSource("{0}")\n',
    "subtitles": "1\n00:00:00,000 --> 00:00:01,000\n{0}\n",
    "text": "{0}\n",
}


@given(
    st.sampled_from(sorted(TEXTS)),
    ENTRIES,
    st.sampled_from(["mp4", "m3u8", "ts", "ffconcat", "sdp", "avi", "txt", "%d.png"]),
    st.booleans(),
)
def test_lists_of_other_files_are_not_followed(
    folder: Path, sound: dict[str, bytes], kind: str, entry: str, suffix: str, marked: bool
):
    (folder / "target.ts").write_bytes(sound["ts"])
    path = folder / f"list.{suffix}"
    path.write_text(("\ufeff" if marked else "") + TEXTS[kind].format(entry), encoding="utf-8")
    attempt("clips: lists of files", lambda: read_all(path), expect="clear sentence", names=path.name)


@pytest.mark.parametrize(
    "what", ["a pipe", "a device", "a folder", "a loop of links", "a dangling link", "an empty file", "a git-lfs pointer",
             "an HTML page", "a zip archive", "noise"],
)  # fmt: skip
def test_what_is_no_video(folder: Path, what: str):
    path = folder / f"{what.replace(' ', '-')}.mp4"
    put(path, what)
    attempt("clips: no videos", lambda: read_frames(path), expect="clear sentence", names=path.name)


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "frame_"]), st.integers(0, 30), st.integers(1, 4)), min_size=0, max_size=9),
    st.sampled_from(["sound", "sizes", "noise", "a pipe", "hidden"]),
)
def test_folders_of_pictures(names: list[tuple[str, int, int]], rest: str):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "frames"
        folder.mkdir()
        for number, (before, frame, digits) in enumerate(names):
            size = 8 + (rest == "sizes") * number
            write_image(folder / f"{before}{frame:0{digits}}.png", torch.zeros(3, size, 8))
        if rest in ("noise", "a pipe"):
            put(folder / "frame_0031.png", rest)
        if rest == "hidden":
            (folder / "._frame_0001.png").write_bytes(b"x")
        attempt("clips: folders of pictures", lambda: read_frames(folder), check=are_frames, names="frames")


@given(st.data())
def test_batches_of_hostile_clips_have_a_row_for_each(sound: dict[str, bytes], data: st.DataObject):
    """Names of any bytes, damaged files, pipes: the command ends with a row for each, and the status of success."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.fsencode(name).decode()) / "clips"
        folder.mkdir()
        made = set()
        for number in range(data.draw(st.integers(1, 4))):
            odd = data.draw(st.binary(max_size=12)).replace(b"/", b"").replace(b"\0", b"")
            kind = data.draw(st.sampled_from(sorted(KINDS)))
            path = folder / os.fsdecode(b"%d" % number + odd + b"." + kind.encode())
            what = data.draw(st.sampled_from(["sound", "damaged", "a pipe", "a dangling link", "noise"]))
            if what in ("sound", "damaged"):
                path.write_bytes(sound[kind] if what == "sound" else data.draw(st.composite(damaged)(sound[kind])))
            else:
                put(path, what)
            made.add(path)
        out = str(Path(name) / "out")
        command = ("score", str(folder), "--frames", "2", "--out", out)  # too few for the critic, which says so at once
        attempt("clips: batches", lambda: shell(*command), expect="right result", seconds=60)
        rows = (Path(out) / "scores.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(rows) == len(made)
        assert run_shell(*command).status == 0
        assert sorted((Path(out) / "scores.jsonl").read_text(encoding="utf-8").splitlines()) == sorted(rows)
