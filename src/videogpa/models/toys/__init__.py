"""Miniature diffusers folders: the real classes at toy size, with random weights that a seed fixes.

They take the code path of the models they stand for, on a CPU in a fraction of a second a clip. What they show is noise.
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
"""The miniatures: name -> module and function that builds its pipeline."""


def build(name: str, path: Path) -> None:
    """Write the miniature called `name` to the folder `path`, whole or not at all.

    Raises:
        KeyError: If there is no such miniature; the message lists those there are.
    """
    if name not in TOYS:
        raise KeyError(f"no miniature called {name!r}; there are: {', '.join(sorted(TOYS))}")
    module, function = TOYS[name].split(":")
    pipeline = getattr(import_module(f"videogpa.models.toys.{module}"), function)()
    with atomic_folder(path) as temporary:
        pipeline.save_pretrained(temporary)
