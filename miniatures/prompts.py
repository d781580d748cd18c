"""The texts that the miniature models are trained on, and the tokenizer with their words."""

from typing import get_args

from transformers import T5Tokenizer

from videogpa.config import Language
from videogpa.models.toys.common import tokenizer as spelling_tokenizer
from videogpa.world.paths import PATHS
from videogpa.world.words import requests


def texts(camera: str) -> list[str]:
    """Return all texts that describe a camera path: first the scripted one, then the natural ones.

    Args:
        camera: The camera path, a key of `PATHS`.
    """
    return [text for language in get_args(Language) for text in requests(camera, language)]


def tokenizer() -> T5Tokenizer:
    """Return a tokenizer with a token for every word of every text, with and without punctuation; others are spelled out."""
    words = {word for camera in PATHS for text in texts(camera) for word in text.split()}
    return spelling_tokenizer(sorted(words | {word.rstrip(".,;") for word in words}))
