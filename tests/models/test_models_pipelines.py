"""What the families share. Loading, offload and tiling are proved on real models, in tests/contracts/test_models.py."""

import pytest
import torch
from torch import Tensor

from videogpa.errors import UserError
from videogpa.models.base import GenerationRequest, Sample
from videogpa.models.pipelines import Texts, check_finite
from videogpa.models.toys.common import tokenizer


class Encoder:
    """Tells the length of a text, and keeps note of what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, text: str) -> Tensor:
        self.asked.append(text)
        return torch.tensor([[float(len(text))]])


def test_texts_are_encoded_as_they_are_asked_for() -> None:
    encoder = Encoder()
    texts = Texts(encoder, torch.device("cpu"))
    assert [texts(text).item() for text in ("a", "room", "a")] == [1, 4, 1]
    assert encoder.asked == ["a", "room", "a"]


def test_remembered_texts_are_encoded_once_each_with_the_empty_one() -> None:
    encoder = Encoder()
    texts = Texts(encoder, torch.device("cpu"))
    texts.remember(["a", "room", "a"])
    assert [texts(text).item() for text in ("a", "room", "", "a")] == [1, 4, 0, 1]
    assert encoder.asked == ["", "a", "room"]


def test_no_other_text_can_be_asked_for_then() -> None:
    texts = Texts(Encoder(), torch.device("cpu"))
    texts.remember(["a", "b"])
    texts.remember(["a"])
    assert texts("a").item() == 1
    for unknown in ("b", "c"):
        with pytest.raises(UserError, match=f"'{unknown}' is not among the cached ones"):
            texts(unknown)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_clip_must_be_made_of_numbers(value: float) -> None:
    video, request = torch.zeros(2, 3, 4, 4), GenerationRequest("a room", None, 7)
    check_finite(Sample(video, torch.zeros(1, 4, 1, 1)), request, torch.float16)
    video[1, 2, 3, 0] = value
    with pytest.raises(UserError, match=r"not a number \(seed 7, torch.float16\).*bfloat16"):
        check_finite(Sample(video, torch.zeros(1, 4, 1, 1)), request, torch.float16)


def test_a_text_that_is_longer_than_the_encoder_takes_is_named_once_and_briefly(caplog: pytest.LogCaptureFixture) -> None:
    texts = Texts(Encoder(), torch.device("cpu"), tokenizer=tokenizer(["a", "room"]), tokens=8)
    with caplog.at_level("WARNING"):
        texts.remember(["a room", "a room " * 400, "a room"])
    [line] = caplog.messages
    assert line.startswith(f"the prompt {('a room ' * 400)[:60] + '...'!r} has ")
    assert line.endswith("tokens and the text encoder takes 8: its end is ignored")
    assert len(line) < 200
