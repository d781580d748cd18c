"""What a critic finds of a clip: cameras and depth, as tensors with named axes.

Tensors are grouped in frozen dataclasses only between modules; functions of the maths take them one by one, so that axis names
bind across all arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from videogpa import arrays
from videogpa.arrays import Array


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Cameras and depth maps of the scored frames, which together define one coloured point cloud.

    `images` are the critic's input pixels (resized, cropped), RGB in [0, 1], so that no metric compares two framings.
    `depth` is along the optical axis, in the arbitrary unit of the translations; 0 where unknown. `confidence` is >= 0, and
    0 where the depth must not be used. Cameras follow docs/reference/conventions.md: OpenCV axes, integer pixel = pixel centre.
    """

    images: Float[Tensor, "frames 3 height width"]
    depth: Float[Tensor, "frames height width"]
    confidence: Float[Tensor, "frames height width"]
    intrinsics: Float[Tensor, "frames 3 3"]
    camera_from_world: Float[Tensor, "frames 4 4"]
    points: Float[Tensor, "frames height width 3"] | None = None
    """The world point of every pixel, if the critic predicts it; otherwise points are unprojected from `depth`."""
    status: Literal["ok", "partial"] = "ok"
    reason: str | None = None
    frames: tuple[int, ...] | None = None
    """Positions in `CriticInput.frames` of the frames that are here, from critics that may leave out judged ones."""
    left_out: Bool[Tensor, "frames height width"] | None = None
    """Pixels that show no scene, such as a burnt-in logo: they leave the point cloud and every error."""
    measures: Mapping[str, float | int] = field(default_factory=dict)
    """Measures of the critic itself: `registered`, `points`, `focal_widths`, `epipolar`, ... (columns of `Score`)."""

    @classmethod
    def from_arrays(
        cls,
        *,
        images: Array,
        depth: Array,
        intrinsics: Array,
        camera_from_world: Array,
        confidence: Array | None = None,
        points: Array | None = None,
    ) -> "Reconstruction":
        """Make a reconstruction from your own arrays, after checking that they follow the conventions.

        They may be NumPy arrays, tensors or lists, of floats of any precision; the result is float32 and on the device of the
        images.

        Args:
            images: RGB in [0, 1] or bytes, `[frames, 3, height, width]` or another form that `Scorer.score` takes.
            depth: `[frames, height, width]`, along the optical axis, in the unit of the translations; 0 where unknown.
            intrinsics: `[frames, 3, 3]`, in pixels of `images`, whose integer coordinates are pixel centres.
            camera_from_world: `[frames, 4, 4]`, OpenCV axes (x right, y down, z forward).
            confidence: `[frames, height, width]`, 0 or more, 0 where the depth must not be used; by default 1 everywhere.
            points: `[frames, height, width, 3]`, world coordinates of every pixel, if better ones than unprojected depth exist.

        Raises:
            TypeError: If one of them is not an array of floats (or, of images, of bytes).
            ValueError: If one has another shape, or one that can be read in two ways, or values that are not valid.

        Examples:
            >>> poses = np.linalg.inv(world_from_camera)
            >>> mine = Reconstruction.from_arrays(images=rgb, depth=depth, intrinsics=k, camera_from_world=poses)
            >>> videogpa.score_reconstruction(mine).loo_error
        """
        rgb = arrays.as_images(images)
        frames, _, height, width = rgb.shape
        maps = frames, height, width
        known = arrays.as_maps("depth", depth, maps)
        trusted = torch.ones_like(known) if confidence is None else arrays.as_maps("confidence", confidence, maps)
        placed = None if points is None else arrays.as_floats("points", points, (*maps, 3)).to(rgb.device)
        return cls(
            images=rgb,
            depth=known.to(rgb.device),
            confidence=trusted.to(rgb.device),
            intrinsics=arrays.as_intrinsics(intrinsics, frames).to(rgb.device),
            camera_from_world=arrays.as_poses(camera_from_world, frames).to(rgb.device),
            points=placed,
        )

    def __post_init__(self) -> None:
        """Refuse what is no float32 tensor, or does not fit the images, before any computation does it less clearly."""
        names = ("images", "depth", "confidence", "intrinsics", "camera_from_world", "points")
        arrays.require_tensors({name: getattr(self, name) for name in names})
