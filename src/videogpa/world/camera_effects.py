"""What a camera does to a clip: frames that are dark and noisy, blurred by motion, read row by row, or unevenly exposed.

Effects that mix moments are made from a finer clip, with `steps` frames from one frame to the next.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from videogpa.records import HardKind, Scene

STEPS = 4  # of a finer clip: at most two pixels each on the world's paths
DARK = 0.3  # of low light: the share of the light that is left
READ_NOISE, SHOT_NOISE = 0.012, 0.035  # its deviations at brightness 0 and, in addition, at brightness 1
SWING, SWINGS = 0.35, 1.5  # of exposure: logarithm of the brightness at its highest, and how often it goes up and down

Frames = Float[Tensor, "frames 3 height width"]


@dataclass(frozen=True)
class Effect:
    """An effect, and how fine a clip it is made from."""

    apply: Callable[[Float[Tensor, "finer 3 height width"], Scene], Frames]
    steps: int = 1


def filmed(scene: Scene, render: Callable[[Scene], Float[Tensor, "finer 3 height width"]]) -> Frames:
    """Return the clip of a scene as its camera films it.

    `low-light`: dark, with noise. `motion-blur`: the shutter is open from one frame to the next. `rolling-shutter`: a frame is
    read row by row, for as long as it lasts. `exposure`: the brightness goes up and down by 40 %.

    Args:
        scene: The scene.
        render: Renders the scene, which may be asked for with more frames.
    """
    effect = EFFECTS.get(scene.hard) if scene.hard else None
    if effect is None:
        return render(scene)
    finer = scene.model_copy(update={"frames": (scene.frames - 1) * effect.steps + 1})
    return effect.apply(render(finer), scene)


def _low_light(clip: Frames, scene: Scene) -> Frames:
    generator = Generator().manual_seed(scene.seed)
    dark = DARK * clip
    deviation = (READ_NOISE**2 + SHOT_NOISE**2 * dark).sqrt()
    noisy: Tensor = dark + deviation * torch.randn(clip.shape, generator=generator).to(clip.device)
    return noisy.clamp_(0, 1)


def _motion_blur(clip: Float[Tensor, "finer 3 height width"], scene: Scene) -> Frames:
    middle = torch.arange(scene.frames) * STEPS
    moments = [(middle + step).clamp(0, len(clip) - 1) for step in range(-STEPS // 2, STEPS // 2 + 1)]
    return torch.stack([clip[moment] for moment in moments]).mean(0)


def _rolling_shutter(clip: Float[Tensor, "finer 3 height width"], scene: Scene) -> Frames:
    """The middle row is that of the frame's own time."""
    late = STEPS * (torch.linspace(0, 1, scene.height) - 0.5)
    time = (STEPS * torch.arange(scene.frames)[:, None] + late).clamp(0, len(clip) - 1)
    before, rows = time.floor().long(), torch.arange(scene.height)
    after = (before + 1).clamp(max=len(clip) - 1)
    share = (time - before)[..., None, None].to(clip.device)
    mixed: Tensor = clip[before, :, rows].lerp(clip[after, :, rows], share)
    return mixed.transpose(1, 2).contiguous()


def _exposure(clip: Frames, scene: Scene) -> Frames:
    time = torch.arange(scene.frames) / max(scene.frames - 1, 1)
    gains = (SWING * (2 * math.pi * SWINGS * time).sin()).exp()
    return (clip * gains[:, None, None, None].to(clip.device)).clamp(0, 1)


EFFECTS: dict[HardKind, Effect] = {
    "low-light": Effect(_low_light),
    "motion-blur": Effect(_motion_blur, STEPS),
    "rolling-shutter": Effect(_rolling_shutter, STEPS),
    "exposure": Effect(_exposure),
}
