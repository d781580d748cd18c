"""Conversion of a prompt's row to a generation request, and to a fingerprint of the inputs that the model receives."""

from pathlib import Path

from videogpa.errors import MissingInput
from videogpa.models.base import GenerationRequest
from videogpa.records import Prompt
from videogpa.storage.fingerprints import fingerprint, path_fingerprint
from videogpa.video import read_image


def prompt_identity(prompt: Prompt, images: Path) -> str:
    """Return a fingerprint of the prompt's text and first frame, which are all that a model receives of it.

    Args:
        prompt: The prompt's row.
        images: The folder that the prompt's image path is relative to.

    Raises:
        MissingInput: If the image is missing.
    """
    image = _image(prompt, images)
    return fingerprint("prompt", prompt.text, None if image is None else path_fingerprint(image))


def request_for(prompt: Prompt, seed: int, images: Path) -> GenerationRequest:
    """Return the generation request for a prompt and a seed.

    Args:
        prompt: The prompt's row.
        seed: The seed of the clip's noise.
        images: The folder that the prompt's image path is relative to.

    Raises:
        MissingInput: If the image is missing.
    """
    image = _image(prompt, images)
    return GenerationRequest(prompt.text, None if image is None else read_image(image), seed)


def _image(prompt: Prompt, images: Path) -> Path | None:
    if prompt.image is None:
        return None
    path = images / prompt.image
    if not path.is_file():
        raise MissingInput(
            f"the first frame of prompt {prompt.prompt!r} is missing: {path}. `videogpa generate` writes it again."
        )
    return path
