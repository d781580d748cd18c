"""Negative controls: clips in which there is no 3D scene to be found, or not one, and what a critic should make of them.

Learned critics invent dense geometry on such input (docs/critics.md), so a critic's scores are worth what it says of these.
Beside them stand clips of a scene that is what it seems, filmed by a moving camera. All come from the miniature world, in the
`detailed` style and at a size at which features can be matched; deterministic by seed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from videogpa.records import Prompt, Scene
from videogpa.world.paths import PATHS, intrinsics
from videogpa.world.raycast import render_shots
from videogpa.world.shots import at_frames, shot

FRAMES, HEIGHT, WIDTH = 25, 288, 480
SWEEP = 0.6  # of a path that is walked in a clip: its neighbouring frames are then as alike as those of a film
CONSISTENT = ("truck-right", "orbit-left", "dolly-in", "rise-up")  # paths on which the camera travels
ZOOM = 1.6  # how much larger the last frame of a zoom is
AT_ONCE = 5  # frames rendered together; a detailed surface takes 400 bytes a pixel

Clip = Float[Tensor, "frames 3 height width"]


@dataclass(frozen=True)
class Control:
    """A kind of clip, what is true of it, and how to make it for a seed."""

    truth: str
    make: Callable[[int], Clip]


def consistent(seed: int, camera: str) -> Clip:
    """Film a still scene along a path. RGB in [0, 1]."""
    scene = scene_of(seed, camera)
    whole = shot(scene)
    camera_matrix = intrinsics(HEIGHT, WIDTH)
    parts = [at_frames(whole, range(i, min(i + AT_ONCE, FRAMES))) for i in range(0, FRAMES, AT_ONCE)]
    return torch.cat([render_shots([part], camera_matrix, height=HEIGHT, width=WIDTH).images for part in parts])


def scene_of(seed: int, camera: str) -> Scene:
    """The scene of a control; only the first part of its path is filmed."""
    return Scene(seed=seed, camera=camera, frames=round(FRAMES / SWEEP), height=HEIGHT, width=WIDTH, style="detailed")


def prompt_of(seed: int, camera: str) -> Prompt:
    """What the clip would have been asked for; the oracle judges by it."""
    return Prompt(prompt=f"control-{seed}", text=PATHS[camera][2], scene=scene_of(seed, camera))


def _noise(seed: int) -> Clip:
    return torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def _repeated(seed: int) -> Clip:
    return _first_frame(seed).expand(FRAMES, 3, HEIGHT, WIDTH).contiguous()


def _shuffled(seed: int) -> Clip:
    """Every frame from a scene of its own."""
    return torch.cat([_frame(1000 * (seed + 1) + i, i) for i in range(FRAMES)])


def _rotation(seed: int) -> Clip:
    return consistent(seed, "pan-left")


def _zoom(seed: int) -> Clip:
    """Enlarge the middle of one frame, by more in every frame."""
    first = _first_frame(seed)
    factors = [ZOOM ** (i / (FRAMES - 1)) for i in range(FRAMES)]
    return torch.cat([_enlarged(first, factor) for factor in factors])


def _cut(seed: int) -> Clip:
    half = FRAMES // 2
    return torch.cat([consistent(seed, CONSISTENT[0])[:half], consistent(seed + 500, CONSISTENT[1])[half:]])


def _mirrored(seed: int) -> Clip:
    clip = consistent(seed, CONSISTENT[0])
    clip[FRAMES // 2 :] = clip[FRAMES // 2 :].flip(-1)
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


def _first_frame(seed: int) -> Clip:
    return _frame(seed, 0)


def _frame(seed: int, index: int) -> Clip:
    part = at_frames(shot(scene_of(seed, CONSISTENT[0])), [index])
    return render_shots([part], intrinsics(HEIGHT, WIDTH), height=HEIGHT, width=WIDTH).images


def _enlarged(frame: Clip, factor: float) -> Clip:
    size = (round(HEIGHT * factor), round(WIDTH * factor))
    large = interpolate(frame, size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - HEIGHT) // 2, (size[1] - WIDTH) // 2
    return large[..., top : top + HEIGHT, left : left + WIDTH]
