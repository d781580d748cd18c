"""Toy models: the real diffusers classes at a very small size, with random weights that depend on a seed.

They take the same code path as the published models and need a fraction of a second per clip on a CPU; their clips are noise.
The small trained models are elsewhere: see `videogpa.bundled`.
"""

from importlib import import_module
from pathlib import Path

from videogpa.storage.files import atomic_folder

TOYS = {
    "cogvideox-t2v": "cogvideox:text_to_video",
    "cogvideox-i2v": "cogvideox:image_to_video",
    "cogvideox1.5-t2v": "cogvideox:text_to_video_1_5",
    "cogvideox1.5-i2v": "cogvideox:image_to_video_1_5",
    "wan2.1-t2v": "wan:text_to_video",
    "wan2.1-i2v": "wan:image_to_video",
    "wan2.2-ti2v": "wan:text_image_to_video",
    "wan2.2-t2v-a14b": "wan:two_expert_text_to_video",
    "wan2.2-i2v-a14b": "wan:two_expert_image_to_video",
}
"""Name of a toy -> the module and the function that builds its pipeline."""


def build(name: str, path: Path) -> None:
    """Write a toy model to a folder in diffusers format, atomically.

    Args:
        name: A key of `TOYS`.
        path: The folder to write.

    Raises:
        KeyError: If there is no toy of that name; the message lists those there are.
    """
    if name not in TOYS:
        raise KeyError(f"no toy model called {name!r}; there are: {', '.join(sorted(TOYS))}")
    module, function = TOYS[name].split(":")
    pipeline = getattr(import_module(f"videogpa.models.toys.{module}"), function)()
    with atomic_folder(path) as temporary:
        pipeline.save_pretrained(temporary)
