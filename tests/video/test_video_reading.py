"""Every codec file here is made by the test itself; the real clips are read as well where they are at hand."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videogpa.video import UnreadableVideo, probe, read_frames, reading, sample_indices

BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)


def moving_picture(frames: int, height: int, width: int) -> torch.Tensor:
    """Smooth colours under a bar that walks, so that every frame is another."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    picture = torch.stack([x, y, 1 - x]) * 0.6 + 0.2
    clip = picture.repeat(frames, 1, 1, 1)
    for i in range(frames):
        left = i * max(width - 6, 1) // max(frames - 1, 1)
        clip[i, :, :, left : left + 6] = 0.9
    return clip


def encode(
    path: Path,
    clip: torch.Tensor,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: list[int] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *clip.shape[-2:], pix_fmt
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(clip):
            pixels = np.ascontiguousarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def decode_all(path: Path) -> torch.Tensor:
    """The slow twin: every frame in order, picked from by nobody."""
    with av.open(str(path)) as container:
        return reading.stack(path, container_frames(path), container.decode(video=0))


def container_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@given(st.integers(1, 500), st.data())
def test_sampling_is_uniform_with_both_ends(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, total))
    indices = sample_indices(total, count)
    assert indices[0] == 0
    assert len(set(indices)) == count
    assert indices == sorted(indices)
    if count > 1:
        assert indices[-1] == total - 1
        step = (total - 1) / (count - 1)
        assert max(abs(index - i * step) for i, index in enumerate(indices)) <= 0.5 + 1e-9


def test_sampling_by_hand() -> None:
    assert sample_indices(49, 10) == [0, 5, 11, 16, 21, 27, 32, 37, 43, 48]
    assert sample_indices(3, 3) == [0, 1, 2]
    assert sample_indices(7, 1) == [0]
    for total, count in [(3, 4), (3, 0), (0, 1)]:
        with pytest.raises(ValueError, match="cannot choose"):
            sample_indices(total, count)


CODINGS = {
    "b-frames": ("mp4", "libx264", "yuv420p", {"g": "12", "bf": "3", "x264-params": "b-pyramid=normal"}),
    "open groups": ("mkv", "libx264", "yuv420p", {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "open groups, mp4": ("mp4", "libx264", "yuv420p", {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "intra refresh": ("mkv", "libx264", "yuv420p", {"g": "12", "x264-params": "intra-refresh=1"}),
    "one group": ("mp4", "libx264", "yuv420p", {"g": "250"}),
    "hevc, open groups, 10 bit": ("mp4", "libx265", "yuv420p10le", {"x265-params": "keyint=12:open-gop=1:log-level=none"}),
    "vp9": ("webm", "libvpx-vp9", "yuv420p", {"g": "12", "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "10"}),
    "yuv444": ("mp4", "libx264", "yuv444p", {"g": "12"}),
    "10 bit": ("mp4", "libx264", "yuv420p10le", {"g": "12"}),
    "mpeg4": ("mp4", "mpeg4", "yuv420p", {"g": "12", "bf": "2"}),
    "mpeg2 transport stream": ("ts", "mpeg2video", "yuv420p", {"g": "12", "bf": "2"}),
    "h264 transport stream": ("ts", "libx264", "yuv420p", {"g": "12", "bf": "2"}),
    "avi, no presentation times": ("avi", "mpeg4", "yuv420p", {"g": "12", "bf": "2"}),
    "raw h264, no times at all": ("h264", "libx264", "yuv420p", {"g": "12", "bf": "2"}),
    "lossless rgb": ("mkv", "ffv1", "bgr0", {}),
}


@pytest.mark.parametrize("coding", CODINGS)
def test_reads_what_decoding_everything_yields(tmp_path: Path, coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    suffix, codec, pix_fmt, options = CODINGS[coding]
    path = encode(tmp_path / f"clip.{suffix}", moving_picture(60, 48, 64), codec, pix_fmt, options)
    whole = decode_all(path)
    assert len(whole) == 60
    assert probe(path).frames == 60
    for gain in (0, reading._SEEK_GAIN):  # 0: seeks at every chance
        monkeypatch.setattr(reading, "_SEEK_GAIN", gain)
        for count in (1, 2, 4, 7, 60):
            torch.testing.assert_close(read_frames(path, count), whole[sample_indices(60, count)], rtol=0, atol=0)
    assert (whole - moving_picture(60, 48, 64)).abs().mean() < 0.03


def test_seeking_decodes_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "clip.mp4", moving_picture(200, 16, 16), options={"g": "10", "threads": "1"})
    decoded = 0
    advance = reading._advance

    def counting(path, frames, time, awaited):
        def counted():
            nonlocal decoded
            for frame in frames:
                decoded += 1
                yield frame

        return advance(path, counted(), time, awaited)

    monkeypatch.setattr(reading, "_advance", counting)
    read_frames(path, 3)
    assert decoded < 40


@pytest.mark.slow
def test_real_clips(shared: Path) -> None:
    clips = sorted(shared.glob("clips/*/*.mp4"))
    assert len(clips) == 15
    for path in clips:
        info = probe(path)
        assert info.frames in (49, 50)
        frames = read_frames(path, 4)
        indices = sample_indices(info.frames, 4)
        assert frames.shape == (4, 3, info.height, info.width)
        with av.open(str(path)) as container:
            wanted = [frame for i, frame in enumerate(container.decode(video=0)) if i in indices]
        torch.testing.assert_close(frames, reading.stack(path, 4, iter(wanted)), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["cogvid", "realestate"])
def test_agrees_with_opencv(shared: Path, kind: str) -> None:
    path = shared / "clips" / kind / "10.mp4"
    capture = cv2.VideoCapture(str(path))
    theirs = torch.from_numpy(capture.read()[1][:, :, ::-1].copy()).permute(2, 0, 1) / 255
    # OpenCV repeats chroma samples where we interpolate them; colours that were mixed up would differ by 0.05.
    assert (read_frames(path, 1)[0] - theirs).abs().mean() < 0.01


def yuv_planes(rgb: list[float], matrix: tuple[float, float], full: bool, bits: int) -> list[int]:
    """ITU-R BT.601/709: luma and colour differences of one colour, as stored."""
    red, green, blue = rgb
    kr, kb = matrix
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    differences = [(blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))]
    if full:
        peak = 2**bits - 1
        return [round(luma * peak), *(round(d * peak + 2 ** (bits - 1)) for d in differences)]
    scale = 2 ** (bits - 8)
    return [round((219 * luma + 16) * scale), *(round((224 * d + 128) * scale) for d in differences)]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("tag", "matrix"), [(1, BT709), (6, BT601), (5, BT601), (2, BT601)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_colour_matrix_and_range(tmp_path: Path, pix_fmt: str, tag: int, matrix: tuple[float, float], full: bool) -> None:
    rgb = [0.8, 0.3, 0.15]
    bits = 10 if "10" in pix_fmt else 8
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.codec_context.colorspace, stream.codec_context.color_range = tag, 2 if full else 1
        frame = av.VideoFrame(64, 48, pix_fmt)
        for plane, value in zip(frame.planes, yuv_planes(rgb, matrix, full, bits), strict=True):
            dtype = np.uint16 if bits > 8 else np.uint8
            plane.update(np.full(plane.buffer_size // dtype().itemsize, value, dtype).tobytes())
        frame.colorspace, frame.color_range = tag, 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    # Half a step of the stored chroma is 1.2 steps of blue.
    torch.testing.assert_close(read_frames(path)[0, :, 24, 32], torch.tensor(rgb), rtol=0, atol=2 / 255)


def set_matrix(path: Path, a: float, b: float, c: float, d: float) -> None:
    """Write the track header's matrix (ISO/IEC 14496-12, 8.3.2), 16.16 fixed point: it sends (x, y) to (ax + cy, bx + dy)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    for offset, value in zip((0, 4, 12, 16), (a, b, c, d), strict=True):
        data[at + offset : at + offset + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotation(tmp_path: Path, turns: int) -> None:
    clip = torch.full((2, 3, 48, 64), 0.2)
    clip[:, 0, :16, :16] = 0.9  # red at the top left, and nothing symmetric
    path = encode(tmp_path / "clip.mp4", clip)
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]  # y points down: this turns clockwise
    set_matrix(path, cosine, sine, -sine, cosine)
    upright = read_frames(path)
    theirs = torch.from_numpy(cv2.VideoCapture(str(path)).read()[1][:, :, ::-1].copy()).permute(2, 0, 1) / 255
    assert upright.shape[1:] == theirs.shape
    assert (upright[0] - theirs).abs().mean() < 0.02
    assert (upright - torch.rot90(clip, -turns, (2, 3))).abs().mean() < 0.02
    info = probe(path)
    assert (info.height, info.width) == upright.shape[-2:]


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((-1, 0, 0, 1), lambda clip: clip.flip(3)),
        ((1, 0, 0, -1), lambda clip: clip.flip(2)),
        ((0, 1, 1, 0), lambda clip: clip.transpose(2, 3)),
        ((0, -1, -1, 0), lambda clip: clip.transpose(2, 3).flip((2, 3))),
    ],
)
def test_mirrored(tmp_path: Path, matrix: tuple[int, int, int, int], expected: Callable) -> None:
    clip = moving_picture(2, 48, 64)
    path = encode(tmp_path / "clip.mp4", clip)
    set_matrix(path, *matrix)
    assert (read_frames(path) - expected(clip)).abs().mean() < 0.03


def test_slanted_picture_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", moving_picture(2, 48, 64))
    set_matrix(path, 0.8, 0.6, -0.6, 0.8)
    with pytest.raises(UnreadableVideo, match="multiple of 90"):
        read_frames(path)


@pytest.mark.parametrize(("height", "width"), [(47, 63), (48, 63), (1, 16)])
def test_odd_sizes(tmp_path: Path, height: int, width: int) -> None:
    clip = moving_picture(3, height, width)
    path = encode(tmp_path / "clip.mp4", clip, pix_fmt="yuv444p", options={"crf": "1"})
    assert read_frames(path).shape == (3, 3, height, width)
    assert (probe(path).height, probe(path).width) == (height, width)
    assert (read_frames(path) - clip).abs().mean() < 0.01


def test_variable_frame_rate_is_sampled_by_number(tmp_path: Path) -> None:
    times = [0, 10, 20, 500, 510, 520, 2000]
    clip = moving_picture(7, 32, 96)
    path = encode(tmp_path / "clip.mkv", clip, times=times, options={"crf": "1"})
    assert (read_frames(path, 3) - clip[[0, 3, 6]]).abs().mean() < 0.02
    info = probe(path)
    assert info.frames == 7
    assert info.duration == pytest.approx(2.333, abs=0.05)


def test_the_main_video_stream_is_read(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000)
        small, large = (container.add_stream("libx264", rate=25) for _ in range(2))
        small.width, small.height, small.pix_fmt = 32, 32, "yuv420p"
        large.width, large.height, large.pix_fmt = 64, 48, "yuv420p"
        for stream in (small, large):
            for _ in range(5):
                container.mux(stream.encode(av.VideoFrame(stream.width, stream.height, "yuv420p")))
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        silence.rate = 48000
        container.mux(sound.encode(silence))
        for stream in (sound, small, large):
            container.mux(stream.encode(None))
    assert probe(path).frames == len(read_frames(path)) == 5


def test_an_edit_list_is_obeyed(tmp_path: Path) -> None:
    """A clip trimmed without recoding holds packets that no player shows; they are neither frames nor missing."""
    source = encode(tmp_path / "source.mp4", moving_picture(40, 32, 96), options={"g": "20", "bf": "0"})
    path = tmp_path / "trimmed.mp4"
    with av.open(str(source)) as given_, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given_.streams.video[0])
        for packet in given_.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                packet.pts -= 10 * 512  # ten frames of 1/12800 s now lie before the start
                packet.dts -= 10 * 512
                container.mux(packet)
    shown = decode_all(path)
    assert probe(path).frames == len(shown) == 30
    torch.testing.assert_close(read_frames(path, 4), shown[sample_indices(30, 4)], rtol=0, atol=0)


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def truncated(path: Path, share: float, **encoding: object) -> None:
    encode(path, moving_picture(60, 64, 96), **encoding)
    os.truncate(path, int(path.stat().st_size * share))


UNREADABLE = {
    "missing": (lambda path: None, "no such file"),
    "zero bytes": (lambda path: path.touch(), "empty"),
    "folder": (lambda path: path.mkdir(), "folder"),
    "text": (lambda path: path.write_text("This is not a video.\n" * 99), "not a video"),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(9999)), "not a video|no video stream"),
    "audio only": (audio_only, "no video stream"),
    "cut off, index at the end": (lambda path: truncated(path, 0.7), "truncated"),
    "cut off, index at the start": (
        lambda path: truncated(path, 0.7, container_options={"movflags": "+faststart"}),
        "truncated",
    ),
    "cut off a little": (
        lambda path: truncated(path, 0.99, container_options={"movflags": "+faststart"}),
        "truncated",
    ),
    "one frame": (lambda path: encode(path, moving_picture(1, 48, 64)), "holds 1 frame, and 10 are wanted"),
    "few frames": (lambda path: encode(path, moving_picture(9, 48, 64)), "holds 9 frames, and 10 are wanted"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_files_say_why(tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, cause = UNREADABLE[case]
    path = tmp_path / "odd: name 100%.mp4"
    make(path)
    capfd.readouterr()
    with pytest.raises(UnreadableVideo, match=cause) as caught:
        read_frames(path, 10)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    if "frame" not in case:
        with pytest.raises(UnreadableVideo, match=cause):
            probe(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["mkv", "webm", "ts"])
def test_truncated_matroska_and_damaged_streams(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip.{suffix}"
    encoding = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}} if suffix == "webm" else {}
    truncated(path, 0.5, **encoding)
    if suffix == "ts":  # a stream without a length: what is there is a shorter clip
        assert 10 <= probe(path).frames < 60
    else:
        with pytest.raises(UnreadableVideo, match="truncated"):
            read_frames(path, 10)


def test_damage_in_the_middle_is_noticed(tmp_path: Path) -> None:
    """FFmpeg patches what it cannot decode, and would hand out the patched frames without a word."""
    path = encode(tmp_path / "clip.mp4", moving_picture(30, 96, 128))
    sound = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(8):
        at = int(generator.integers(len(sound) // 4, len(sound) * 3 // 4))
        path.write_bytes(sound[:at] + generator.bytes(400) + sound[at + 400 :])
        with pytest.raises(UnreadableVideo, match="damaged"):
            read_frames(path, 4)


def test_a_single_frame_can_be_read(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", moving_picture(1, 48, 64))
    assert read_frames(path).shape == read_frames(path, 1).shape == (1, 3, 48, 64)
    assert probe(path).frames == 1
    with pytest.raises(ValueError, match="cannot read 0"):
        read_frames(path, 0)


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", moving_picture(2, 32, 32))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(UnreadableVideo, match="permission denied"):
        read_frames(path, 2)
