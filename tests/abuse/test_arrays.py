"""Frames and reconstructions as users have them: every form gives the same numbers, or a sentence says what was expected."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from attempts import attempt
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from videogpa.errors import UserError
from videogpa.pixels import as_frames
from videogpa.records import Reconstruction
from videogpa.scoring import Lpips, Scorer, mean_flow

KIND = "arrays"


def clip(seed: int, frames: int, height: int, width: int, channels: int = 3) -> Tensor:
    """Bytes `[frames channels height width]`."""
    return torch.randint(0, 256, (frames, channels, height, width), generator=torch.Generator().manual_seed(seed)).byte()


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x,
    "channels last": lambda x: x.movedim(1, -1),
    "array": lambda x: x.numpy(),
    "array, channels last": lambda x: x.movedim(1, -1).numpy(),
    "reversed view": lambda x: x.flip(0).numpy()[::-1],
    "read-only": lambda x: _read_only(x.numpy()),
    "strided": lambda x: x.repeat_interleave(2, 0)[::2],
    "list of tensors": list,
    "tuple of arrays": lambda x: tuple(x.movedim(1, -1).numpy()),
    "generator": lambda x: (frame for frame in x),
    "pictures": lambda x: [Image.fromarray(frame) for frame in x.movedim(1, -1).numpy()],
}
"""Forms of the bytes `[frames 3 height width]`."""

FLOATS: dict[str, Callable[[Tensor], Any]] = {
    **FORMS,
    "double": lambda x: x.double(),
    "big-endian": lambda x: x.numpy().astype(">f8"),
    "long double": lambda x: x.numpy().astype(np.longdouble),
    "wants a gradient": lambda x: x.clone().requires_grad_(),
}
del FLOATS["pictures"]


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


@given(st.integers(0, 99), st.integers(1, 9), st.integers(5, 12), st.integers(5, 12), st.sampled_from(sorted(FORMS)))
def test_every_form_of_bytes_gives_equal_frames(seed: int, frames: int, height: int, width: int, form: str) -> None:
    given_bytes = clip(seed, frames, height, width)
    expected = given_bytes.float() / 255

    def right(found: Tensor) -> None:
        assert torch.equal(found, expected)
        assert found.is_contiguous()

    attempt(KIND, lambda: as_frames(FORMS[form](given_bytes)), expect="right result", check=right)


@given(st.integers(0, 99), st.sampled_from(sorted(FLOATS)), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_every_form_of_floats_gives_equal_frames(seed: int, form: str, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and form in ("array", "array, channels last", "reversed view", "read-only", "tuple of arrays"):
        dtype = torch.float16  # NumPy has no bfloat16
    if dtype == torch.bfloat16 and form in ("big-endian", "long double"):
        dtype = torch.float32
    floats = (clip(seed, 5, 6, 7).float() / 255).to(dtype)

    def right(found: Tensor) -> None:
        assert torch.equal(found, floats.float())
        assert not found.requires_grad

    attempt(KIND, lambda: as_frames(FLOATS[form](floats)), expect="right result", check=right)


@given(st.integers(0, 99), st.booleans())
def test_grey_and_alpha(seed: int, floats: bool) -> None:
    grey, color = clip(seed, 5, 6, 7, 1), clip(seed + 100, 5, 6, 7, 4)
    share = color[:, 3:].float() / 255
    on_white = color[:, :3].float() / 255 * share + (1 - share)
    as_given = (lambda x: x.float() / 255) if floats else (lambda x: x)
    forms = {"first": lambda x: x, "last": lambda x: x.movedim(1, -1), "list": list}
    for form in forms.values():
        right = grey.float().expand(-1, 3, -1, -1) / 255
        attempt(KIND, lambda form=form: as_frames(form(as_given(grey))), check=lambda x, right=right: _equal(x, right))
        attempt(KIND, lambda form=form: as_frames(form(as_given(color))), check=lambda x: _equal(x, on_white))
    pictures = [Image.fromarray(frame) for frame in color.movedim(1, -1).numpy()]
    attempt(KIND, lambda: as_frames(pictures), check=lambda x: _equal(x, on_white))
    without = grey[:, 0].numpy()
    attempt(KIND, lambda: as_frames(without), check=lambda x: _equal(x, grey.float().expand(-1, 3, -1, -1) / 255))
    attempt(
        KIND, lambda: as_frames([Image.fromarray(frame) for frame in without]), check=lambda x: _equal(x[:, :1], grey / 255)
    )


def _equal(found: Tensor, right: Tensor) -> None:
    assert torch.equal(found, right.float())


@given(st.lists(st.integers(0, 6), max_size=6), st.sampled_from(["uint8", "float32", "int64", "bool", "complex64", "object"]))
def test_shapes_that_fit_no_form_or_two_are_told(shape: list[int], dtype: str) -> None:
    array = np.zeros(shape, dtype)

    def right(found: Tensor) -> None:
        assert dtype in ("uint8", "float32")
        channels = {1, 3, 4}
        assert len(shape) == 4 or (len(shape) == 3 and not channels & {shape[0], shape[2]})
        assert found.shape == (shape[0], 3, *(shape[2:] if shape[1] in channels and len(shape) == 4 else shape[1:3]))
        assert len(shape) == 3 or (shape[1] in channels) != (shape[3] in channels)

    attempt(KIND, lambda: as_frames(array), check=right, names="frames: ")


def endless() -> Iterator[np.ndarray]:
    while True:
        yield np.zeros((2000, 4000, 3), np.uint8)


DAMAGED = Image.new("I", (8, 8))
WRONG: dict[str, Any] = {
    "bytes as floats": torch.full((5, 3, 8, 8), 200.0),
    "range of a decoder": torch.full((5, 3, 8, 8), -0.5),
    "NaN": torch.full((5, 3, 8, 8), torch.nan),
    "infinite": torch.full((5, 3, 8, 8), torch.inf),
    "16 bits": np.zeros((5, 8, 8, 3), np.uint16),
    "masked": np.ma.masked_array(np.zeros((5, 8, 8, 3), np.uint8), mask=True),
    "text": np.full((5, 3, 8, 8), "a"),
    "sparse": torch.zeros(5, 3, 8, 8).to_sparse(),
    "without values": torch.zeros(5, 3, 8, 8, device="meta"),
    "complex": torch.zeros(5, 3, 8, 8, dtype=torch.complex64),
    "one picture as an array": np.zeros((480, 640, 3), np.uint8),
    "square of three": torch.zeros(3, 3, 3, 3),
    "three frames of height three": torch.zeros(3, 3, 8, 3),
    "two sizes": [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)],
    "two types": [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.float32)],
    "paths": ["a.png", "b.png"],
    "nested numbers": [[[0.0, 1.0]]],
    "a clip of clips": [np.zeros((2, 8, 8, 3), np.uint8)] * 2,
    "no frame": [],
    "an empty generator": iter(()),
    "an endless generator": endless(),
    "a mapping": {"a": 1},
    "bytes": b"frames",
    "integer pictures": [DAMAGED, DAMAGED],
    "five channels": torch.zeros(5, 5, 8, 8),
}


def api(call: Callable[[], Any], error: type[Exception] | tuple[type[Exception], ...] = (TypeError, ValueError)) -> Any:
    """Call the Python API; its errors are those of Python, too."""
    try:
        return call()
    except error as told:
        if isinstance(told, UserError):
            raise
        raise AssertionError(f"an error that is not ours: {told!r}") from told


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_clip_is_told_at_every_entry(kind: str, scorer: Scorer) -> None:
    video = WRONG[kind]
    entries: list[Callable[[], Any]] = [lambda: scorer.score(video), lambda: scorer.reconstruct(video)]
    if kind not in ("an endless generator", "an empty generator"):
        entries += [lambda: mean_flow(video), lambda: Lpips("alex")(video, video)]
    names = "" if kind in ("an endless generator", "integer pictures") else "expected"
    for entry in entries[: 1 if "generator" in kind else None]:
        attempt(KIND, lambda entry=entry: api(entry), expect="clear sentence", names=names)


@pytest.fixture(scope="module")
def scorer() -> Iterator[Scorer]:
    with Scorer("sfm", frames=5) as loaded:
        yield loaded


def test_other_objects_are_told() -> None:
    """Without the checks of annotations, which users do not have either."""
    for other in (Image.new("RGB", (8, 8)), 7, None, object):
        call = partial(inspect.unwrap(as_frames), other)
        attempt(KIND, partial(api, call), expect="clear sentence", names="expected a tensor")


def test_a_clip_with_too_few_frames_is_told(scorer: Scorer) -> None:
    one = np.zeros((1, 40, 40, 3), np.uint8)
    message = attempt(KIND, lambda: api(lambda: scorer.score(one), ValueError), expect="clear sentence")
    assert message == "the video has 1 frame, fewer than the 5 to be judged"


ARRAYS = {
    "images": np.random.default_rng(0).random((4, 3, 6, 8), np.float32),
    "depth": np.full((4, 6, 8), 2.0, np.float32),
    "intrinsics": np.broadcast_to(np.array([[8, 0, 3.5], [0, 8, 2.5], [0, 0, 1]], np.float32), (4, 3, 3)),
    "camera_from_world": np.broadcast_to(np.eye(4, dtype=np.float32), (4, 4, 4)),
    "confidence": np.full((4, 6, 8), 0.5, np.float32),
}
CONVERSIONS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda a: a,
    "tensor": torch.tensor,
    "half": lambda a: a.astype(np.float16),
    "bfloat16": lambda a: torch.tensor(a).bfloat16(),
    "double": lambda a: a.astype(">f8"),
    "list of arrays": list,
    "list of tensors": lambda a: [torch.tensor(part) for part in a],
    "gradient": lambda a: torch.tensor(a).requires_grad_(),
    "transposed twice": lambda a: np.asfortranarray(a),
    "integers": lambda a: a.astype(np.int64),
    "nested lists": lambda a: a.tolist(),
    "cut": lambda a: a[..., :-1],
    "one frame less": lambda a: a[1:],
    "ragged": lambda a: [a[0].tolist(), [1.0]],
    "NaN": lambda a: a * np.nan,
    "negative": lambda a: -1 - a,
    "masked": lambda a: np.ma.masked_array(a),
    "text": lambda a: "depth.npy",
    "nothing": lambda a: [],
    "a channel": lambda a: a[:, None],
}


@given(st.sampled_from(sorted(ARRAYS)), st.sampled_from(sorted(CONVERSIONS)))
def test_own_reconstructions_of_any_form_are_equal_or_told(name: str, conversion: str) -> None:
    changed = {**ARRAYS, name: CONVERSIONS[conversion](ARRAYS[name])}
    exact = conversion in {"array", "tensor", "double", "list of arrays", "list of tensors", "gradient", "transposed twice"}

    def right(found: Reconstruction) -> None:
        for each, array in ARRAYS.items():
            close = 0 if exact or each != name else 0.005  # the rounding of half precision
            torch.testing.assert_close(getattr(found, each), torch.tensor(array), atol=close, rtol=close)

    named = "" if name == "images" else name  # images of another size do not fit the depth, which is named
    end = "right result" if exact or (conversion == "a channel" and name in ("depth", "confidence")) else None
    attempt(KIND, lambda: api(lambda: Reconstruction.from_arrays(**changed)), expect=end, check=right, names=named)


def test_a_reconstruction_built_without_conversion_is_refused_by_name() -> None:
    whole = {name: torch.tensor(array) for name, array in ARRAYS.items()}
    for name in ARRAYS:
        for wrong in (ARRAYS[name], whole[name].half(), whole[name][1:]):
            changed = {**whole, name: wrong}
            build = partial(inspect.unwrap(Reconstruction.__init__), object.__new__(Reconstruction), **changed)
            attempt(KIND, partial(api, build), expect="clear sentence")


def test_a_perceptual_distance_is_the_same_for_every_form_and_differentiable() -> None:
    lpips = Lpips("alex").eval()
    a, b = clip(1, 2, 32, 40), clip(2, 2, 32, 40)
    right = lpips(a.float() / 255, b.float() / 255)
    for form in FORMS.values():
        attempt(KIND, lambda form=form: lpips(form(a), form(b)), expect="right result", check=lambda x: _equal(x, right))
    wanting = (a.float() / 255).requires_grad_()
    lpips(wanting, b).sum().backward()
    assert float(wanting.grad.abs().sum()) > 0
    attempt(KIND, lambda: lpips(a, b[:, :, :31]), expect="clear sentence", names="reference")
