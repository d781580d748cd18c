"""What the toys of all families share: a text encoder with the vocabulary of the miniature world, and a seed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from string import ascii_letters, digits, punctuation

import torch
from diffusers.utils import logging as diffusers_logging
from transformers import T5Tokenizer
from transformers.utils import logging as transformers_logging

TEXT_FEATURES = 32
TEXT_TOKENS = 48

_WORDS = (
    *("A", "a", "The", "the", "Everything", "only", "with", "without", "to", "quiet", "still", "room", "few", "objects"),
    *("camera", "stands", "moves", "moving", "orbits", "slides", "turns", "rises", "sinks", "slowly"),
    *("forward", "backward", "left", "right"),
)


@contextmanager
def quietly_seeded(seed: int) -> Iterator[None]:
    """Draw random weights from the seed while the block lasts, and leave torch's own generator as it was."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def tokenizer(words: Iterable[str] = _WORDS) -> T5Tokenizer:
    """Return a tokenizer that knows these words, by default those of the scripted prompts, and spells out all others."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]  # at the ids that T5 has them
    letters = [(character, -10.0) for character in f"▁{ascii_letters}{digits}{punctuation}"]
    return T5Tokenizer(vocab=[*special, *letters, *((f"▁{word}", -5.0) for word in words)], extra_ids=0)
