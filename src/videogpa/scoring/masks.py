"""Masks of a user's own: which pixels of a clip belong to what moves by itself. They take the place of what we find.

A mask is a picture, which holds for all frames, or a clip of as many frames as the clip that it is about: a video, or a folder
of numbered pictures, as DAVIS has them. Black is what stands still; white, or the colour of an object, is what moves.
"""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Bool, Float
from torch import Tensor

from videogpa.errors import InvalidInput
from videogpa.pixels import Frames, as_frames
from videogpa.text_files import plural
from videogpa.video import UnreadableImage, UnreadableVideo, probe, read_frames_at, read_image
from videogpa.video.picture_names import is_picture

Masks = str | Path | Frames
"""A file or folder, or one picture or as many as the clip has frames, in any form that `videogpa.pixels.as_frames` takes."""

BRIGHT = 0.2
"""A pixel moves where one of its channels is brighter: colours of DAVIS' palette are brighter, the noise of codecs is not."""


def read_masks(masks: Masks, total: int, indices: Sequence[int]) -> Bool[Tensor, "frames mask_height mask_width"]:
    """Read the masks of some of a clip's frames.

    Args:
        masks: The clip's masks.
        total: How many frames the clip has.
        indices: The frames whose masks are wanted, ascending.

    Raises:
        UnreadableVideo: If a file of masks cannot be read, is of another length than the clip, or is too dark to tell.
        ValueError: If masks in memory are of another length, or too dark.
    """
    if isinstance(masks, str | Path):
        path = Path(masks)
        try:
            return _moving(_from_file(path, total, indices))
        except (ValueError, UnreadableImage) as error:
            raise UnreadableVideo(path, f"these masks cannot be used: {str(error).removeprefix(f'{path}: ')}") from None
        except UnreadableVideo as error:
            raise UnreadableVideo(path, f"these masks cannot be read: {error.reason}") from None
    given = as_frames(masks, "the masks")
    _require_length(len(given), total)
    return _moving(given.expand(total, -1, -1, -1)[list(indices)] if len(given) == 1 else given[list(indices)])


def _from_file(path: Path, total: int, indices: Sequence[int]) -> Float[Tensor, "frames 3 height width"]:
    if is_picture(path):
        return read_image(path).expand(len(indices), -1, -1, -1)
    count = probe(path).frames
    _require_length(count, total)
    return read_frames_at(path, list(indices) if count > 1 else [0], scale_down=True).expand(len(indices), -1, -1, -1)


def _require_length(count: int, total: int) -> None:
    if count not in (1, total):
        raise InvalidInput(f"there are {plural(count, 'mask')}, and the clip has {plural(total, 'frame')}")


def _moving(masks: Float[Tensor, "frames 3 height width"]) -> Bool[Tensor, "frames height width"]:
    brightest = masks.amax(dim=1)
    if 0 < float(brightest.max()) <= BRIGHT:
        raise InvalidInput(
            f"their brightest pixel is {255 * float(brightest.max()):.0f} of 255: expected black, and white or a colour where "
            "something moves"
        )
    return brightest > BRIGHT
