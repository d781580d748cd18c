"""Negative controls: clips in which there is no 3D scene to be found, or not one, and what a critic should make of them.

Learned critics invent dense geometry on such input (docs/science/critics.md), so that these clips tell what its scores are
worth. Beside them stand clips of a scene that is what it seems, filmed by a moving camera. All come from the miniature world,
deterministic by seed: in the `detailed` style and at a size at which features can be matched, or as the miniatures know it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.records import Prompt, Scene, Style
from videogpa.world.animation import at_frames, shot
from videogpa.world.paths import PATHS, intrinsics
from videogpa.world.raycast import render_shots

CONSISTENT = ("truck-right", "orbit-left", "dolly-in", "rise-up")  # paths on which the camera travels
ZOOM = 1.6  # how much larger the last frame of a zoom is
AT_ONCE = 5  # frames rendered together; a detailed surface takes 400 bytes a pixel

Clip = Float[Tensor, "frames 3 height width"]


@dataclass(frozen=True)
class Film:
    """How the clips of a check are filmed."""

    frames: int
    height: int
    width: int
    style: Style
    sweep: float
    """Share of a path that is walked in a clip."""

    @property
    def half(self) -> int:
        """The first frame of the second half."""
        return self.frames // 2


FILMS: dict[str, Film] = {
    "detailed": Film(25, 288, 480, "detailed", 0.6),  # neighbouring frames are then as alike as those of a real film
    "plain": Film(9, 32, 32, "plain", 1.0),  # what the miniatures were trained on
}


@dataclass(frozen=True)
class Control:
    """A kind of clip, what is true of it, and how to make it for a film and a seed."""

    truth: str
    make: Callable[[Film, int], Clip]


def consistent(film: Film, seed: int, camera: str) -> Clip:
    """Film a still scene along a path. RGB in [0, 1]."""
    scene = scene_of(film, seed, camera)
    whole = shot(scene)
    camera_matrix = intrinsics(film.height, film.width)
    parts = [at_frames(whole, range(i, min(i + AT_ONCE, film.frames))) for i in range(0, film.frames, AT_ONCE)]
    return torch.cat([render_shots([part], camera_matrix, height=film.height, width=film.width).images for part in parts])


def scene_of(film: Film, seed: int, camera: str) -> Scene:
    """The scene of a control; its path may go on beyond what is filmed."""
    frames = round(film.frames / film.sweep)
    return Scene(seed=seed, camera=camera, frames=frames, height=film.height, width=film.width, style=film.style)


def prompt_of(film: Film, seed: int, camera: str) -> Prompt:
    """What the clip would have been asked for; the oracle judges by it."""
    return Prompt(prompt=f"control-{seed}", text=PATHS[camera][2], scene=scene_of(film, seed, camera))


def _noise(film: Film, seed: int) -> Clip:
    return torch.rand(film.frames, 3, film.height, film.width, generator=torch.Generator().manual_seed(seed))


def _repeated(film: Film, seed: int) -> Clip:
    return _frame(film, seed, 0).expand(film.frames, -1, -1, -1).contiguous()


def _shuffled(film: Film, seed: int) -> Clip:
    """Every frame from a scene of its own."""
    return torch.cat([_frame(film, 1000 * (seed + 1) + i, i) for i in range(film.frames)])


def _rotation(film: Film, seed: int) -> Clip:
    return consistent(film, seed, "pan-left")


def _zoom(film: Film, seed: int) -> Clip:
    """Enlarge the middle of one frame, by more in every frame."""
    first = _frame(film, seed, 0)
    factors = [ZOOM ** (i / (film.frames - 1)) for i in range(film.frames)]
    return torch.cat([_enlarged(first, factor) for factor in factors])


def _cut(film: Film, seed: int) -> Clip:
    first, second = consistent(film, seed, CONSISTENT[0]), consistent(film, seed + 500, CONSISTENT[1])
    return torch.cat([first[: film.half], second[film.half :]])


def _mirrored(film: Film, seed: int) -> Clip:
    clip = consistent(film, seed, CONSISTENT[0])
    clip[film.half :] = clip[film.half :].flip(-1)
    return clip


CONTROLS: dict[str, Control] = {
    "noise": Control("independent noise in every frame", _noise),
    "repeated": Control("one frame, again and again", _repeated),
    "shuffled": Control("every frame from another scene", _shuffled),
    "rotation": Control("the camera turns on the spot: no parallax", _rotation),
    "zoom": Control("one picture, enlarged more and more", _zoom),
    "cut": Control("another scene from the middle on", _cut),
    "mirrored": Control("left and right change places from the middle on", _mirrored),
}
"""Name -> what a critic must not take for one consistent scene."""


def _frame(film: Film, seed: int, index: int) -> Clip:
    part = at_frames(shot(scene_of(film, seed, CONSISTENT[0])), [index])
    return render_shots([part], intrinsics(film.height, film.width), height=film.height, width=film.width).images


def _enlarged(frame: Clip, factor: float) -> Clip:
    height, width = frame.shape[-2:]
    size = (round(height * factor), round(width * factor))
    large = interpolate(frame, size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return large[..., top : top + height, left : left + width]
