"""Which sizes a model can make."""

import re

import pytest

from videogpa.errors import UserError
from videogpa.models.sizes import SizeRule

RULE = SizeRule(frame_step=8, grid=16, largest=(96, 170), reason="its table ends there")


@pytest.mark.parametrize("size", [(9, 16, 16), (17, 32, 48), (49, 96, 160)])
def test_what_keeps_the_rule_passes(size: tuple[int, int, int]) -> None:
    RULE.check(frames=size[0], height=size[1], width=size[2])
    assert RULE.nearest(frames=size[0], height=size[1], width=size[2]) == size


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ((1, 16, 16), (9, 16, 16)),
        ((12, 16, 16), (9, 16, 16)),
        ((14, 16, 16), (17, 16, 16)),
        ((9, 1, 30), (9, 16, 32)),
        ((9, 300, 160), (9, 96, 160)),
        ((9, 96, 161), (9, 96, 160)),
    ],
)
def test_what_does_not_is_refused_with_the_nearest(asked: tuple[int, int, int], nearest: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match=r"8 k .*multiples of 16; its table ends there") as caught:
        RULE.check(frames=asked[0], height=asked[1], width=asked[2])
    found = re.search(r"frames (\d+), height (\d+), width (\d+)", str(caught.value))
    assert found is not None
    assert tuple(int(number) for number in found.groups()) == nearest
    RULE.check(frames=nearest[0], height=nearest[1], width=nearest[2])
