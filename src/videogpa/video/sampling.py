"""Which frames of a clip are chosen. Nothing here opens a file."""


def sample_indices(total: int, count: int) -> list[int]:
    """Choose `count` of `total` frames uniformly, first and last included: round(linspace(0, total - 1, count)).

    Ties round to even.

    Args:
        total: How many frames there are.
        count: How many to choose, from 1 to `total`.

    Returns:
        Distinct indices from 0, ascending. If `count` is 1, the only index is that of the first frame.

    Raises:
        ValueError: If `count` is not within 1 and `total`.
    """
    if not 1 <= count <= total:
        raise ValueError(f"cannot choose {count} of {total} frames")
    return [round(i * (total - 1) / max(count - 1, 1)) for i in range(count)]
