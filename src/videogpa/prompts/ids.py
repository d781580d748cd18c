"""Ids of prompts, which name files on every system."""

import re
import unicodedata

from videogpa.errors import InvalidInput
from videogpa.storage.fingerprints import fingerprint

LONGEST_ID = 128
"""Most characters of an id: the names of its files are a few characters longer, and systems take 255."""

_WORDS = 4  # how many words of a text go into the id that is made for it
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(?=\.|$)", re.IGNORECASE)
"""Names that Windows keeps for devices, with any ending."""


def as_file_name(name: str) -> str:
    """Turn a name into one that every file system takes: `1K/0a1b/images_8` becomes `1K-0a1b-images_8`.

    Returns:
        The name; "" if it has no ASCII letter or digit. One that is too long is cut and ends with a hash of the whole.
    """
    slug = _RESERVED.sub(r"\1_", re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._"))
    if len(slug) <= LONGEST_ID:
        return slug
    return f"{slug[: LONGEST_ID - 9].rstrip('-._')}-{fingerprint(name)[:8]}"


def made_id(text: str, image: str) -> str:
    """Return an id made of the text's first words and a hash of text and image, wherever the prompt is in its file."""
    words = re.findall(r"[a-z0-9]+", text.lower())[:_WORDS]
    return as_file_name("-".join([*words, fingerprint(text, image)[:8]]))


class Ids:
    """The ids that a source has given so far, each with the place that gave it."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, str]] = {}

    def add(self, name: str, given: str, where: str) -> None:
        """Note that the id `given` became `name`.

        Raises:
            InvalidInput: If another id became the same name, or one that some file systems take for the same.
        """
        for form in {name.casefold(), unicodedata.normalize("NFC", given).casefold()}:
            other, first = self._names.setdefault(form, (given, where))
            if other != given:
                raise InvalidInput(
                    f"{where}: the id {given[:80]!r} and {other[:80]!r} of {first} are one file name on some systems, since "
                    "they differ in case, accents or separators alone: rename one"
                )
