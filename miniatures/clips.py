"""The clips of the training set. Half of them are consistent and half fail; each one has a scene of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from miniatures.plan import TRAINING_SCENES, Plan
from videogpa.records import Scene
from videogpa.world.animation import at_frames, shot
from videogpa.world.failures import Failure, Take, render_takes, take
from videogpa.world.paths import PATHS

T = TypeVar("T")


STREAMS = 1_000_003  # a prime: neighbouring seeds have different clips for a million numbers


@dataclass(frozen=True)
class TrainingClip:
    """Description of one clip before rendering: a scene with its camera path, and the failure if it has one."""

    scene: Scene
    failure: Failure | None


def training_clip(plan: Plan, number: int) -> TrainingClip:
    """Return the clip with this number. Clips with odd numbers fail; camera paths and failures are drawn uniformly.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        number: The clip's place in the training set, 0 or more.
    """
    generator = Generator().manual_seed(plan.seed * STREAMS + number)
    camera = _pick(tuple(PATHS), generator)
    scene = plain_scene(plan, TRAINING_SCENES + number, camera)
    failure = None
    if number % 2 == 1:
        kind = _pick(plan.failures, generator)
        strength = plan.weakest + (1 - plan.weakest) * float(torch.rand((), generator=generator))
        failure = Failure(kind=kind, strength=strength, seed=number)
    return TrainingClip(scene, failure)


def plain_scene(plan: Plan, seed: int, camera: str) -> Scene:
    """Return the scene of a seed in the miniature's style and size.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        seed: Determines the room and its objects.
        camera: The camera path, a key of `PATHS`.
    """
    return Scene(seed=seed, camera=camera, frames=plan.frames, height=plan.size, width=plan.size, style="plain")


def render_clips(plan: Plan, numbers: Iterable[int], device: torch.device) -> Float[Tensor, "clips frames 3 height width"]:
    """Render training clips, RGB in [0, 1], on the device.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        numbers: The places of the clips in the training set.
        device: Where the tensors are computed.
    """
    clips = [training_clip(plan, number) for number in numbers]
    return render_takes([take(clip.scene, clip.failure) for clip in clips], plan.size, plan.size, device)


def render_frames(plan: Plan, numbers: Iterable[int], device: torch.device) -> Float[Tensor, "clips 1 3 height width"]:
    """Render one frame of each of these training clips, RGB in [0, 1], on the device, without failures.

    Args:
        plan: The sizes, seeds and numbers of the making; see `miniatures/plan.py`.
        numbers: The places of the clips in the training set; each also says which frame is rendered.
        device: Where the tensors are computed.
    """
    shots = [at_frames(shot(training_clip(plan, number).scene), [number % plan.frames]) for number in numbers]
    return render_takes([Take(one) for one in shots], plan.size, plan.size, device)


def _pick(choices: Sequence[T], generator: Generator) -> T:
    return choices[int(torch.randint(len(choices), (), generator=generator))]
