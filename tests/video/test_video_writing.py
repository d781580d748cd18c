import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from videogpa.video import UnreadableImage, jpeg_bytes, probe, read_frames, read_image, write_image, write_video


def moving_picture(frames: int, height: int, width: int) -> torch.Tensor:
    """Smooth colours under a bar that walks, so that every frame is another."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    picture = torch.stack([x, y, 1 - x]) * 0.6 + 0.2
    clip = picture.repeat(frames, 1, 1, 1)
    for i in range(frames):
        left = i * max(width - 6, 1) // max(frames - 1, 1)
        clip[i, :, :, left : left + 6] = 0.9
    return clip


def test_written_video_comes_back(tmp_path: Path) -> None:
    clip = moving_picture(9, 64, 96)
    path = tmp_path / "folder" / "clip.mp4"
    write_video(path, clip, 8)
    info = probe(path)
    assert (info.frames, info.fps, info.height, info.width, info.duration) == (9, 8, 64, 96, 9 / 8)
    assert -10 * (read_frames(path) - clip).square().mean().log10() > 35
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it loads


def test_flat_colours_survive_writing(tmp_path: Path) -> None:
    for rgb in ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.9, 0.1, 0.2], [0.1, 0.2, 0.9]):
        clip = torch.tensor(rgb)[None, :, None, None].expand(2, 3, 32, 32)
        write_video(tmp_path / "clip.mp4", clip, 8)
        torch.testing.assert_close(read_frames(tmp_path / "clip.mp4"), clip, rtol=0, atol=2.5 / 255)


def test_odd_sizes_grow_by_their_last_row_and_column(tmp_path: Path) -> None:
    clip = moving_picture(3, 47, 63)
    write_video(tmp_path / "clip.mp4", clip, 29.97)
    back = read_frames(tmp_path / "clip.mp4")
    assert back.shape == (3, 3, 48, 64)
    assert (back[..., :47, :63] - clip).abs().mean() < 0.01
    assert probe(tmp_path / "clip.mp4").fps == pytest.approx(29.97, abs=1e-4)


def test_written_video_is_bit_identical(tmp_path: Path) -> None:
    clip = torch.rand(12, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    for name in "ab":
        write_video(tmp_path / f"{name}.mp4", clip, 8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("wrong", ["range", "nan", "none", "late"])
def test_failed_writing_leaves_nothing(tmp_path: Path, wrong: str) -> None:
    clip = moving_picture(5, 32, 32)
    clip = {"range": clip * 2 - 1, "nan": clip * torch.nan, "none": clip[:0], "late": clip.clone()}[wrong]
    if wrong == "late":
        clip[4] = 255.0
    with pytest.raises(ValueError, match=r"expected RGB in \[0, 1\]|cannot write"):
        write_video(tmp_path / "clip.mp4", clip, 8)
    assert list(tmp_path.iterdir()) == []


def test_images(tmp_path: Path) -> None:
    image = moving_picture(1, 31, 45)[0]
    path = tmp_path / "image.png"
    write_image(path, image)
    torch.testing.assert_close(read_image(path), image, rtol=0, atol=0.5001 / 255)
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "image.jpg").write_bytes(jpeg_bytes(image, 90))
    assert (read_image(tmp_path / "image.jpg") - image).abs().mean() < 0.03
    assert len(jpeg_bytes(image, 30)) < len(jpeg_bytes(image, 90))


def test_unusual_images(tmp_path: Path) -> None:
    grey = (np.arange(6, dtype=np.uint16).reshape(2, 3) * 13107).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey16.png")
    torch.testing.assert_close(read_image(tmp_path / "grey16.png")[1], torch.arange(6).reshape(2, 3) / 5)
    turned = Image.fromarray(np.zeros((2, 3, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (3, 3, 2)
    (tmp_path / "text.png").write_text("no picture")
    for name, cause in [("text.png", "not a picture"), ("absent.png", "No such file")]:
        with pytest.raises(UnreadableImage, match=f"{re.escape(name)}.*{cause}"):
            read_image(tmp_path / name)
