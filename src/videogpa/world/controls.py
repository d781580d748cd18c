"""Negative controls for critics: clips without a 3D scene, or without a single one, that must not be scored as consistent.

Learned critics return dense geometry for such input (docs/science/critics.md), so that their scores are only as good as
their answers to these clips. For comparison there are consistent clips, filmed by a moving camera. All come from the
miniature world and depend on a seed alone: in the `detailed` style, whose features can be matched, or in the `plain` style of
the tiny models.
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


@dataclass(frozen=True)
class ClipStyle:
    """The size and look of the clips of a check."""

    frames: int
    height: int
    width: int
    world: Style
    """The style of the world; see `world.scenes.make_world`."""
    sweep: float
    """The share of a camera path that a clip covers."""

    @property
    def half(self) -> int:
        """The first frame of the second half."""
        return self.frames // 2


CLIP_STYLES: dict[str, ClipStyle] = {
    "detailed": ClipStyle(25, 288, 480, "detailed", 0.6),  # consecutive frames then differ as little as those of real footage
    "plain": ClipStyle(9, 32, 32, "plain", 1.0),  # what the miniatures were trained on
}


@dataclass(frozen=True)
class Control:
    """A kind of clip, what is true of it, and the function that makes it for a style and a seed."""

    truth: str
    make: Callable[[ClipStyle, int], Float[Tensor, "frames 3 height width"]]


def consistent(style: ClipStyle, seed: int, camera: str) -> Float[Tensor, "frames 3 height width"]:
    """Return a consistent clip: a still scene, filmed along a camera path. RGB in [0, 1]."""
    scene = scene_of(style, seed, camera)
    whole = shot(scene)
    camera_matrix = intrinsics(style.height, style.width)
    parts = [at_frames(whole, range(i, min(i + AT_ONCE, style.frames))) for i in range(0, style.frames, AT_ONCE)]
    return torch.cat([render_shots([part], camera_matrix, height=style.height, width=style.width).images for part in parts])


def scene_of(style: ClipStyle, seed: int, camera: str) -> Scene:
    """Return the scene of a control. Its camera path may be longer than the clip."""
    frames = round(style.frames / style.sweep)
    return Scene(seed=seed, camera=camera, frames=frames, height=style.height, width=style.width, style=style.world)


def prompt_of(style: ClipStyle, seed: int, camera: str) -> Prompt:
    """Return the prompt with the scene, from which the oracle takes the geometry."""
    return Prompt(prompt=f"control-{seed}", text=PATHS[camera][2], scene=scene_of(style, seed, camera))


def _noise(style: ClipStyle, seed: int) -> Float[Tensor, "frames 3 height width"]:
    return torch.rand(style.frames, 3, style.height, style.width, generator=torch.Generator().manual_seed(seed))


def _repeated(style: ClipStyle, seed: int) -> Float[Tensor, "frames 3 height width"]:
    return _frame(style, seed, 0).expand(style.frames, -1, -1, -1).contiguous()


def _shuffled(style: ClipStyle, seed: int) -> Float[Tensor, "frames 3 height width"]:
    """Take every frame from a different scene."""
    return torch.cat([_frame(style, 1000 * (seed + 1) + i, i) for i in range(style.frames)])


def _rotation(style: ClipStyle, seed: int) -> Float[Tensor, "frames 3 height width"]:
    return consistent(style, seed, "pan-left")


def _zoom(style: ClipStyle, seed: int) -> Float[Tensor, "frames 3 height width"]:
    """Enlarge the middle of one frame more and more."""
    first = _frame(style, seed, 0)
    factors = [ZOOM ** (i / (style.frames - 1)) for i in range(style.frames)]
    return torch.cat([_enlarged(first, factor) for factor in factors])


def _cut(style: ClipStyle, seed: int) -> Float[Tensor, "frames 3 height width"]:
    first, second = consistent(style, seed, CONSISTENT[0]), consistent(style, seed + 500, CONSISTENT[1])
    return torch.cat([first[: style.half], second[style.half :]])


def _mirrored(style: ClipStyle, seed: int) -> Float[Tensor, "frames 3 height width"]:
    clip = consistent(style, seed, CONSISTENT[0])
    clip[style.half :] = clip[style.half :].flip(-1)
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
"""Name -> a kind of clip that a critic must not score as one consistent scene."""


def _frame(style: ClipStyle, seed: int, index: int) -> Float[Tensor, "frames 3 height width"]:
    part = at_frames(shot(scene_of(style, seed, CONSISTENT[0])), [index])
    return render_shots([part], intrinsics(style.height, style.width), height=style.height, width=style.width).images


def _enlarged(frame: Float[Tensor, "1 3 height width"], factor: float) -> Float[Tensor, "frames 3 height width"]:
    height, width = frame.shape[-2:]
    size = (round(height * factor), round(width * factor))
    large = interpolate(frame, size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return large[..., top : top + height, left : left + width]
