"""Pictures of files: every mode, orientation and transparency gives the right pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from videogpa.video import UnreadableImage, read_image

COLORS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
EXACT = torch.from_numpy(COLORS).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp"])
def test_lossless_formats_keep_every_bit(ending: str, tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / f"a.{ending}", lossless=True)
    assert torch.equal(read_image(tmp_path / f"a.{ending}"), EXACT)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", *(["avif"] if features.check("avif") else [])])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_obeyed_once(ending: str, orientation: int, tmp_path: Path) -> None:
    """A quadrant of light in a corner of the stored picture ends in the corner that EXIF 2.32 names."""
    stored = np.zeros((64, 96, 3), np.uint8)
    stored[:32, :48] = 255  # row 0, column 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{ending}", exif=exif)
    pixels = read_image(tmp_path / f"a.{ending}")
    turned = orientation >= 5
    assert pixels.shape == ((3, 96, 64) if turned else (3, 64, 96))
    bottom, right = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    corners = pixels[0, 4 :: pixels.shape[1] - 9, 4 :: pixels.shape[2] - 9]
    expected = torch.zeros(2, 2)
    expected[int(bottom), int(right)] = 1
    torch.testing.assert_close(corners, expected, atol=0.05, rtol=0)


def test_what_is_transparent_is_laid_on_white(tmp_path: Path) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (5, 7, 1), dtype=np.uint8)
    share = torch.from_numpy(alpha).permute(2, 0, 1).float() / 255
    for ending in ("png", "tif"):
        Image.fromarray(np.concatenate([COLORS, alpha], 2)).save(tmp_path / f"a.{ending}")
        torch.testing.assert_close(read_image(tmp_path / f"a.{ending}"), EXACT * share + 1 - share, atol=1e-6, rtol=0)
    grey = Image.fromarray(COLORS).convert("L")
    grey.save(tmp_path / "key.png", transparency=grey.getpixel((2, 1)))
    assert read_image(tmp_path / "key.png")[:, 1, 2].tolist() == [1, 1, 1]
    palette = Image.fromarray(COLORS).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "key.gif", transparency=palette.getpixel((3, 2)))
    assert read_image(tmp_path / "key.gif")[:, 2, 3].tolist() == [1, 1, 1]


def test_grey_of_12_and_16_bits_one_bit_and_floats(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 35).round().astype(np.uint16).reshape(5, 7)
    exact = torch.from_numpy(ramp.astype(np.float32) / 65535).expand(3, -1, -1)
    for ending in ("png", "tif"):
        Image.fromarray(ramp).save(tmp_path / f"a.{ending}")
        assert torch.equal(read_image(tmp_path / f"a.{ending}"), exact)
    Image.fromarray(ramp).save(tmp_path / "inverted.tif", tiffinfo={262: 0})  # WhiteIsZero
    torch.testing.assert_close(read_image(tmp_path / "inverted.tif"), 1 - exact)
    floats = (ramp / 65535).astype(np.float32)
    Image.fromarray(floats).save(tmp_path / "float.tif")
    assert torch.equal(read_image(tmp_path / "float.tif")[2], torch.from_numpy(floats))
    Image.fromarray(ramp > 30000).save(tmp_path / "bits.png")
    assert torch.equal(read_image(tmp_path / "bits.png")[0], torch.from_numpy(ramp > 30000).float())


def test_numbers_without_a_known_range_are_refused(tmp_path: Path) -> None:
    for values in (np.full((4, 4), 200.0, np.float32), np.full((4, 4), np.nan, np.float32), np.full((4, 4), 7, np.int32)):
        Image.fromarray(values).save(tmp_path / "range.tif")
        with pytest.raises(UnreadableImage, match=r"range\.tif.*range is unknown"):
            read_image(tmp_path / "range.tif")


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.tif")
    for name in ("print.jpg", "print.tif"):
        torch.testing.assert_close(read_image(tmp_path / name)[:, 4, 4], torch.tensor([1.0, 0, 0]), atol=0.02, rtol=0)


def test_the_first_picture_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for ending in ("gif", "webp", "png", "tif"):
        frames[0].save(
            tmp_path / f"a.{ending}",
            save_all=True,
            append_images=frames[1:],
            **({"lossless": True} if ending == "webp" else {}),
        )
        assert read_image(tmp_path / f"a.{ending}")[:, 4, 4].tolist() == [1, 0, 0]
