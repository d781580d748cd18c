"""The exact geometry of a synthetic scene: its true depth, and the cameras of the path that the prompt commanded.

It measures whether a clip shows the scene of its prompt along the path of its prompt; other clips are refused.
Cost: about 5 ms for nine frames of 64 x 64 on one core, no weights.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from videogpa.critics import cards
from videogpa.critics.base import CriticInput, transform
from videogpa.errors import InvalidInput
from videogpa.maths.adherence import path_adherence
from videogpa.maths.alignment import Similarity
from videogpa.reconstruction import Reconstruction
from videogpa.records import Scene
from videogpa.world.animation import at_frames, shot
from videogpa.world.paths import intrinsics
from videogpa.world.raycast import exact_depth

FAILING_THRESHOLDS = {
    ("plain", 32, 32): 0.0098,
    ("plain", 64, 64): 0.0266,
    ("rich", 32, 32): 0.0144,
    ("rich", 64, 64): 0.0392,
}
"""By style, height and width of a scene: the leave-one-out score that separates failing clips from consistent ones best, as
benchmarks/threshold.py measures it on true geometry. It depends on all three, so that other sizes have
none; nor have hard scenes."""


class OracleCritic:
    """Exact geometry of a synthetic scene, or, to study what errors do to scores, that geometry with simulated errors.

    The same frames of a scene always get the same errors.

    Args:
        depth_noise: Standard deviation of the error of each depth, as a share of that depth.
        camera_noise: Standard deviation of the error of each coordinate of a camera's position, in metres.
        outlier_fraction: Share of the pixels, in [0, 1], whose depth is multiplied by three.
        random_similarity: Whether every reconstruction is rotated, moved and scaled at random, as that of a critic whose world
            has its own origin and unit.
    """

    CARDS: ClassVar = cards.CARDS["oracle"]

    def __init__(
        self,
        depth_noise: Annotated[float, Field(ge=0)] = 0.0,
        camera_noise: Annotated[float, Field(ge=0)] = 0.0,
        outlier_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0,
        random_similarity: bool = False,
    ) -> None:
        self._errors = {"depth_noise": depth_noise, "camera_noise": camera_noise, "outlier_fraction": outlier_fraction}
        self._own_world = random_similarity

    @property
    def details(self) -> Mapping[str, str]:
        """The simulated errors, if any."""
        chosen = {name: f"{size:g}" for name, size in self._errors.items() if size}
        return {**chosen, "random_similarity": "yes"} if self._own_world else chosen

    def frames_to_read(self, judged: int) -> int:
        """Return `judged`: the oracle needs no other frames."""
        return judged

    def reconstruct(self, clip: CriticInput) -> Reconstruction:
        """Return the scene's true depth and cameras, with the clip's frames as its colours.

        Raises:
            InvalidInput: If the clip was not generated for a synthetic scene, or its size differs from the scene's.
        """
        scene = clip.scene
        if scene is None or clip.frame_indices is None:
            raise InvalidInput(
                "the oracle knows scenes of the miniature world only: it judges clips of a run whose prompts are `world:` "
                "prompts. For other videos use --critic sfm."
            )
        if clip.frames.shape[-2:] != (scene.height, scene.width):
            raise InvalidInput(
                f"the clip is {tuple(clip.frames.shape[-2:])} pixels high and wide, its scene {scene.height, scene.width}"
            )
        indices = [clip.frame_indices[i] for i in clip.judged]
        exact = _look_up(clip.judged_frames, scene, indices)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{scene} {indices}".encode()))
        told = _with_errors(exact, generator, **self._errors) if any(self._errors.values()) else exact
        return transform(told, _any_similarity(generator)) if self._own_world else told


def _look_up(frames: Float[Tensor, "frames 3 height width"], scene: Scene, indices: list[int]) -> Reconstruction:
    """Return the scene's exact geometry at the frames with these indices in the clip."""
    intended = at_frames(shot(scene), indices)
    threshold = None if scene.hard else FAILING_THRESHOLDS.get((scene.style, scene.height, scene.width))
    camera = intrinsics(scene.height, scene.width)
    depth = exact_depth(intended, camera, height=scene.height, width=scene.width)
    return Reconstruction(
        images=frames,
        depth=depth,
        confidence=torch.ones_like(depth),
        intrinsics=camera.expand(len(indices), 3, 3),
        camera_from_world=intended.camera_from_world,
        measures={
            "registered": len(indices),
            "points": depth.numel(),
            "focal_widths": float(camera[0, 0]) / scene.width,
            **_adherence(frames, depth, camera, intended.camera_from_world),
            **({} if threshold is None else {"failing_threshold": threshold}),
        },
    )


def _adherence(
    frames: Float[Tensor, "frames 3 height width"],
    depth: Float[Tensor, "frames height width"],
    camera: Float[Tensor, "3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> dict[str, float]:
    """Return how well the clip follows the path; empty for a single frame or a path without motion, where it is undefined."""
    adherence = path_adherence(frames, depth[0], camera, camera_from_world)
    return {} if math.isnan(adherence) else {"adherence": adherence}


def _with_errors(
    exact: Reconstruction, generator: torch.Generator, *, depth_noise: float, camera_noise: float, outlier_fraction: float
) -> Reconstruction:
    depth = exact.depth * (1 + depth_noise * torch.randn(exact.depth.shape, generator=generator)).clamp(min=0.1)
    depth = torch.where(torch.rand(depth.shape, generator=generator) < outlier_fraction, 3 * depth, depth)
    cameras = exact.camera_from_world.clone()
    cameras[:, :3, 3] += camera_noise * torch.randn(len(cameras), 3, generator=generator)
    measures = {name: value for name, value in exact.measures.items() if name != "failing_threshold"}  # it holds for the truth
    return replace(exact, depth=depth, camera_from_world=cameras, measures=measures)


def _any_similarity(generator: torch.Generator) -> Similarity:
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    scale = torch.exp(0.5 * torch.randn((), generator=generator))
    return Similarity(scale, rotation * torch.linalg.det(rotation), torch.randn(3, generator=generator))
