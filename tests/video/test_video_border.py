"""Which files are opened as clips at all, the budgets of what they declare, and clips that are pictures."""

import math
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from videogpa.video import UnreadableVideo, files, probe, read_frames, read_frames_at, reading, write_image


def ramp(frames: int, height: int, width: int) -> torch.Tensor:
    """Frames that differ, in steps of 8 bits."""
    levels = torch.arange(frames * 3 * height * width) * 7 % 256
    return levels.reshape(frames, 3, height, width).float() / 255


def encode(path: Path, clip: torch.Tensor, codec: str, pix_fmt: str, container: str | None = None) -> Path:
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *clip.shape[-2:], pix_fmt
        for picture in clip:
            pixels = np.ascontiguousarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)))
        file.mux(stream.encode(None))
    return path


def pictures(folder: Path, names: list[str], clip: torch.Tensor) -> Path:
    folder.mkdir()
    for name, picture in zip(names, clip, strict=True):
        write_image(folder / name, picture)
    return folder


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a socket": a_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a loop of links": lambda path: path.symlink_to(path.name),
    "a dangling link": lambda path: path.symlink_to("gone.mp4"),
    "a file of the system": lambda path: path.symlink_to("/proc/kmsg"),
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_regular_file_is_refused_without_being_read(tmp_path: Path, what: str):
    path = tmp_path / "clip.mp4"
    NO_FILES[what](path)
    for read in (probe, read_frames):
        with pytest.raises(UnreadableVideo, match=r"clip\.mp4: "):
            read(path)


LISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "HLS of a text": "\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {target}\n",
    "PLS": "[playlist]\nFile1={target}\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{target}</BaseURL></MPD>',
    "XSPF": "<?xml version='1.0'?><playlist><track>{target}</track></playlist>",
}


@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "ts", "ffconcat", "sdp"])
@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_other_files_is_refused_and_the_others_are_not_read(tmp_path: Path, kind: str, suffix: str):
    target = encode(tmp_path / "target.ts", ramp(3, 32, 32), "mpeg2video", "yuv420p")
    os.utime(target, ns=(0, target.stat().st_mtime_ns))  # read last in 1970
    path = tmp_path / f"clip.{suffix}"
    path.write_text(LISTS[kind].format(target=target.name), encoding="utf-8")
    with pytest.raises(UnreadableVideo, match=r"is a playlist|is a list|describes a stream|is an XML text"):
        probe(path)
    assert target.stat().st_atime_ns == 0


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/a.mp4", "concat:a.ts|b.ts", "subfile,,start,0,end,9,,:a.ts", "data:,x", "-"]
)
def test_protocols_are_names_of_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "a.ts", ramp(3, 32, 32), "mpeg2video", "yuv420p")
    with pytest.raises(UnreadableVideo, match="there is no such file"):
        probe(name)


def test_frames_are_refused_by_the_size_that_a_header_declares(tmp_path: Path):
    gif = encode(tmp_path / "a.gif", ramp(3, 32, 32), "gif", "rgb8")
    sound = gif.read_bytes()
    for width, height in ((12_000, 12_000), (65_535, 65_535), (65_535, 700)):
        gif.write_bytes(sound[:6] + struct.pack("<HH", width, height) + sound[10:])
        with pytest.raises(UnreadableVideo, match="40,000,000 pixels"):
            read_frames(gif)
    with pytest.raises(UnreadableVideo, match=r"8,192 x 8,192 pixels; the most are 40,000,000"):
        files.require_size(gif, 8192, 8192)
    files.require_size(gif, 4320, 8192)


def test_frames_are_refused_by_the_number_that_a_header_declares(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", ramp(3, 32, 32), "libx264", "yuv420p")
    data = bytearray(path.read_bytes())
    for box, offset in ((b"stsz", 12), (b"stsc", 16), (b"stts", 12)):
        at = data.index(box) + offset
        data[at : at + 4] = struct.pack(">I", 10**8)
    at = data.index(b"stsz") + 8
    data[at : at + 4] = struct.pack(">I", 10)  # bytes of every frame
    path.write_bytes(data)
    with pytest.raises(UnreadableVideo, match="declares 100,000,000 frames; the most are 1,000,000"):
        probe(path)


CONTAINERS = {
    "wmv": ("wmv2", "yuv420p"),
    "flv": ("flv", "yuv420p"),
    "ogv": ("libtheora", "yuv420p"),
    "3gp": ("mpeg4", "yuv420p"),
    "m2ts": ("mpeg2video", "yuv420p"),
    "mts": ("libx264", "yuv420p"),
    "webp": ("libwebp_anim", "bgra"),
    "apng": ("apng", "rgb24"),
    "gif": ("gif", "rgb8"),
}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_kind_of_file_that_folders_are_searched_for_is_read(tmp_path: Path, suffix: str):
    codec, pix_fmt = CONTAINERS[suffix]
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    smooth = torch.linspace(0.1, 0.9, 5)[:, None, None, None].expand(5, 3, 48, 64)
    path = encode(tmp_path / f"a.{suffix}", smooth, codec, pix_fmt)
    frames = read_frames(path)
    assert probe(path).frames == len(frames) == 5
    assert probe(path).fps == pytest.approx(10, rel=0.01)
    torch.testing.assert_close(
        frames.mean((1, 2, 3)), smooth.mean((1, 2, 3)), rtol=0, atol=0.05
    )  # a gif's colours are dithered
    torch.testing.assert_close(read_frames_at(path, [1, 4]), frames[[1, 4]], rtol=0, atol=0)


def test_a_still_or_damaged_webp_is_no_clip(tmp_path: Path):
    path = tmp_path / "a.webp"
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(UnreadableVideo, match="still picture"):
        probe(path)
    stack = [Image.new("RGB", (8, 8), (40 * i, 9, 9)) for i in range(4)]
    stack[0].save(path, save_all=True, append_images=stack[1:], lossless=True)
    sound = path.read_bytes()
    assert read_frames(path)[:, 0, 0, 0].mul(255).tolist() == [0, 40, 80, 120]
    path.write_bytes(sound[:24] + b"\xff\x3f\x00\xff\x3f\x00" + sound[30:])
    with pytest.raises(UnreadableVideo, match="16,384 x 16,384 pixels; the most"):
        probe(path)
    path.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(UnreadableVideo, match="damaged"):
        read_frames(path)


def test_a_folder_of_numbered_pictures_is_a_clip_in_the_order_of_the_numbers(tmp_path: Path):
    clip = ramp(12, 16, 24)
    folder = pictures(tmp_path / "a", [f"frame_{i}.png" for i in range(0, 24, 2)], clip)
    (folder / "notes.txt").touch()
    (folder / "._frame_0.png").touch()
    torch.testing.assert_close(read_frames(folder), clip, rtol=0, atol=0)
    torch.testing.assert_close(read_frames(folder, 3), clip[[0, 6, 11]], rtol=0, atol=0)
    info = probe(folder)
    assert (info.frames, info.height, info.width) == (12, 16, 24)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["1.png", "2.png", "4.png"], "numbered 2 and 4 one after the other, where others are 1 apart"),
        (["1.png", "01.png", "2.png"], "there twice"),
        (["1.png", "2.png", "x.png"], "not one of two or more pictures"),
        (["a1.png", "b2.png", "a3.png"], "not one of two or more pictures"),
        (["1.png"], "not one of two or more pictures"),
        ([], "is a folder, not a video"),
    ],
)
def test_pictures_with_a_gap_or_names_of_other_kinds_are_no_clip(tmp_path: Path, names: list[str], reason: str):
    folder = pictures(tmp_path / "a", names, ramp(len(names), 8, 8))
    with pytest.raises(UnreadableVideo, match=reason):
        read_frames(folder)


def test_a_broken_frame_of_a_folder_is_named(tmp_path: Path):
    folder = pictures(tmp_path / "a", ["1.png", "2.png"], ramp(2, 8, 8))
    (folder / "2.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableVideo, match=r"has a frame that cannot be read: .*2\.png"):
        read_frames(folder)


def test_large_frames_are_scaled_down_by_areas_and_small_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clip = ramp(3, 90, 160)
    path = encode(tmp_path / "a.mkv", clip, "ffv1", "bgr0")
    whole = read_frames(path)
    torch.testing.assert_close(read_frames_at(path, [0, 2], scale_down=True), whole[[0, 2]], rtol=0, atol=0)
    monkeypatch.setattr(reading, "LARGE", 90 * 160 - 1)
    monkeypatch.setattr(reading, "SCALED", 30 * 53 + 60)
    small = read_frames_at(path, [0, 2], scale_down=True)
    height, width = small.shape[-2:]
    assert height * width <= 30 * 53 + 60
    assert math.isclose(width / height, 16 / 9, rel_tol=0.05)
    by_hand = cv2.resize(whole[2].permute(1, 2, 0).numpy(), (width, height), interpolation=cv2.INTER_AREA)
    torch.testing.assert_close(small[1].permute(1, 2, 0), torch.from_numpy(by_hand), rtol=0, atol=1e-5)
