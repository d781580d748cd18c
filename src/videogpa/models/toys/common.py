"""Helpers that the toys of all families share: seeding, and a tokenizer with the vocabulary of the synthetic world."""

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
    """Seed torch for the duration of the block, without progress bars, and restore its generator afterwards."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def tokenizer(words: Iterable[str] = _WORDS) -> T5Tokenizer:
    """Return a tokenizer with one token for each of these words; it spells all other words letter by letter.

    By default the words are those of the scripted prompts.
    """
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]  # they have the same ids as in T5
    letters = [(character, -10.0) for character in f"▁{ascii_letters}{digits}{punctuation}"]
    return T5Tokenizer(vocab=[*special, *letters, *((f"▁{word}", -5.0) for word in words)], extra_ids=0)
