"""The sizes of clips that a model can generate: checked before its weights load, and again by the model itself."""

from dataclasses import dataclass

from videogpa.errors import InvalidInput

_UNBOUNDED = (1 << 31, 1 << 31)


@dataclass(frozen=True)
class SizeRule:
    """Frames are `frame_step` k + 1, k >= 1; height and width multiples of `grid`, from `smallest` to `largest`."""

    frame_step: int
    grid: int
    largest: tuple[int, int] = _UNBOUNDED
    """Height, width."""
    smallest: tuple[int, int] = (1, 1)
    reason: str = ""
    """What else the message should say: why there is a smallest or largest size."""

    def check(self, *, frames: int, height: int, width: int) -> None:
        """Check a size.

        Raises:
            InvalidInput: If the model cannot make it; the message has the nearest that it can.
        """
        right = self.nearest(frames=frames, height=height, width=width)
        if (frames, height, width) != right:
            raise InvalidInput(
                f"the model cannot make {frames} frames of {height}x{width} (height x width): frames must be "
                f"{self.frame_step} k + 1, height and width multiples of {self.grid}{self.reason and f'; {self.reason}'}. "
                f"The nearest that it can: frames {right[0]}, height {right[1]}, width {right[2]}."
            )

    def nearest(self, *, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Return the frames, height and width nearest to these that the model can make."""
        rows, columns = (
            min(max(_nearest(side, self.grid), least), most // self.grid * self.grid)
            for side, least, most in zip((height, width), self.smallest, self.largest, strict=True)
        )
        return _nearest(frames - 1, self.frame_step) + 1, rows, columns


def _nearest(value: int, multiple: int) -> int:
    return max(1, round(value / multiple)) * multiple
