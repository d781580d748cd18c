"""The critic that knows: exact depth and the commanded cameras of a scene of the miniature world.

It judges whether a clip shows the scene it was asked for along the path it was asked for; it has no opinion on other clips.
Cost: about 5 ms for nine frames of 64 x 64 on one core, no weights.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.critics.base import Card
from videogpa.errors import UserError
from videogpa.records import Reconstruction, Scene, Source
from videogpa.world.paths import intrinsics
from videogpa.world.raycast import exact_depth
from videogpa.world.shots import at_frames, shot


class OracleCritic:
    """Exact geometry in place of an estimate."""

    CARDS = (
        Card(
            weights="none",
            licence="Apache-2.0",
            commercial=True,
            memory="under 0.1 GB",
            paper="none",
        ),
    )

    @property
    def details(self) -> Mapping[str, str]:
        """Nothing: there is nothing to choose."""
        return {}

    def frames_to_read(self, judged: int) -> int:
        """The judged frames are enough."""
        return judged

    def reconstruct(
        self,
        frames: Float[Tensor, "frames 3 height width"],
        *,
        judged: Sequence[int] | None = None,
        source: Source | None = None,
    ) -> Reconstruction:
        """Return the scene's true depth and cameras, with the clip's frames as its colours.

        Raises:
            UserError: If the clip was not made for a scene of the miniature world, or has another size.
        """
        if source is None or source.prompt is None or source.prompt.scene is None or source.frame_indices is None:
            raise UserError(
                "the oracle knows scenes of the miniature world only: it judges clips of a run whose prompts are `world:` "
                "prompts. For other videos use --critic sfm."
            )
        scene = source.prompt.scene
        if frames.shape[-2:] != (scene.height, scene.width):
            raise UserError(
                f"the clip is {tuple(frames.shape[-2:])} pixels high and wide, its scene {scene.height, scene.width}"
            )
        chosen = list(range(len(frames)) if judged is None else judged)
        return _look_up(frames[chosen], scene, [source.frame_indices[i] for i in chosen])


def _look_up(frames: Float[Tensor, "frames 3 height width"], scene: Scene, indices: list[int]) -> Reconstruction:
    """The scene's geometry at the frames with these indices in the clip."""
    intended = at_frames(shot(scene), indices)
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
        },
    )
