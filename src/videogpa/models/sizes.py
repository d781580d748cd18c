"""The clip sizes that a model can generate. They are checked before the weights load, and again by the model itself."""

from dataclasses import dataclass

from videogpa.errors import InvalidInput
from videogpa.text_files import plural

_UNBOUNDED = (1 << 31, 1 << 31)


@dataclass(frozen=True)
class SizeRule:
    """There are `frame_step` k + 1 frames, k >= 1; height and width are multiples of `grid`, from `smallest` to `largest`."""

    frame_step: int
    grid: int
    largest: tuple[int, int] = _UNBOUNDED
    """The largest height and width in pixels."""
    smallest: tuple[int, int] = (1, 1)
    reason: str = ""
    """Text added to the error message: why there is a smallest or largest size."""

    def check(self, *, frames: int, height: int, width: int) -> None:
        """Check that the model can generate clips of this size.

        Args:
            frames: The number of frames.
            height: The height in pixels.
            width: The width in pixels.

        Raises:
            InvalidInput: If the model cannot generate it; the message contains the nearest size that it can.
        """
        right = self.nearest(frames=frames, height=height, width=width)
        if (frames, height, width) != right:
            raise InvalidInput(
                f"the model cannot make {plural(frames, 'frame')} of {height}x{width} (height x width): frames must be "
                f"{self.frame_step} k + 1, height and width multiples of {self.grid}{self.reason and f'; {self.reason}'}. "
                f"The nearest that it can: frames {right[0]}, height {right[1]}, width {right[2]}."
            )

    def nearest(self, *, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Return the nearest number of frames, height and width that the model can generate."""
        rows, columns = (
            min(max(_nearest(side, self.grid), least), most // self.grid * self.grid)
            for side, least, most in zip((height, width), self.smallest, self.largest, strict=True)
        )
        return _nearest(frames - 1, self.frame_step) + 1, rows, columns


def _nearest(value: int, multiple: int) -> int:
    return max(1, round(value / multiple)) * multiple
