"""Quality gates for learned critics, which return geometry even for noise.

The gates read the reconstruction alone. They do not detect geometry that a network invents with confidence.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.critics.base import ReconstructionFailed
from videogpa.maths.cameras import camera_centers
from videogpa.reconstruction import Reconstruction

LEAST_PARALLAX = 1.0
"""Pixels that near and far points move against each other between the two cameras farthest apart. Below, depth has no effect
on a render from other frames, which treats surfaces within a pixel of parallax as one (scoring/reprojection.py): a score would
measure only how well the frames overlap."""

SAME = 1 / 255
"""Largest difference of two pixels, RGB in [0, 1], that counts as none: one level of 8 bits."""

NEAR, FAR = 0.1, 0.9  # quantiles of the depth, so that a few wrong pixels have no effect
LOOKED_AT = 1 << 20  # values used at most, evenly spaced: torch's quantile is limited to 16 million


def pass_gates(reconstruction: Reconstruction, *, least_confidence: float) -> Reconstruction:
    """Return the reconstruction with its median confidence and its parallax among the measures, if it can be trusted.

    Args:
        reconstruction: What the network returned for one clip.
        least_confidence: The clip is declined if the median of the confidence, in the network's own scale, is lower.

    Returns:
        The same reconstruction; its measures also hold `confidence` (median) and `parallax` (pixels).

    Raises:
        ReconstructionFailed: With status `failed` if a camera or depth is infinite or no number, a focal length is not
            positive, or the median confidence is too low; with status `no_parallax` if near and far points move less than a
            pixel against each other, or all frames are the same picture.
    """
    matrices = reconstruction.intrinsics, reconstruction.camera_from_world
    if not all(bool(tensor.isfinite().all()) for tensor in (reconstruction.depth, *matrices)):
        raise ReconstructionFailed("the network gave a camera or depth that is infinite or no number")
    focal = reconstruction.intrinsics[:, (0, 1), (0, 1)]
    if bool((focal <= 0).any()):  # of a field of view beyond half a turn
        raise ReconstructionFailed(f"the network gave a camera with a focal length of {float(focal.min()):.3g} pixels")
    confidence = float(_sample(reconstruction.confidence).median())
    parallax = float(near_far_parallax(reconstruction.depth, *matrices))
    measures = {"confidence": confidence, "parallax": parallax}
    if confidence < least_confidence:
        raise ReconstructionFailed(
            f"the network is not confident anywhere: median {confidence:.3f}, less than {least_confidence:g}", measures=measures
        )
    if parallax < LEAST_PARALLAX:
        raise ReconstructionFailed(
            f"no parallax: near and far points move {parallax:.2f} pixels against each other, less than {LEAST_PARALLAX:g}",
            status="no_parallax",
            measures=measures,
        )
    if len(reconstruction.images) > 1 and _same_picture(reconstruction.images):  # even if the network found parallax
        raise ReconstructionFailed(
            f"no parallax: all {len(reconstruction.images)} frames are the same picture",
            status="no_parallax",
            measures=measures,
        )
    return replace(reconstruction, measures={**reconstruction.measures, **measures})


def _same_picture(images: Float[Tensor, "frames 3 height width"]) -> bool:
    return all(bool((image - images[0]).abs().max() <= SAME) for image in images[1:])


def near_far_parallax(
    depth: Float[Tensor, "frames height width"],
    intrinsics: Float[Tensor, "frames 3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> Float[Tensor, ""]:
    """Return by how many pixels near and far points move against each other between the two cameras farthest apart.

    Near and far are quantiles of the depth within a frame (the median over the frames): all points of a flat picture have about
    the same depth, also while a camera approaches it. The movement is that for a sideways translation by the distance of the
    two cameras; rotation does not count.
    """
    centers = camera_centers(camera_from_world)
    baseline = torch.cdist(centers, centers, compute_mode="donot_use_mm_for_euclid_dist").max()
    quantiles = torch.tensor([NEAR, FAR]).to(depth)
    ends = [torch.quantile(_sample(frame[frame > 0]), quantiles) for frame in depth if bool((frame > 0).any())]
    if not ends:
        return torch.zeros(())
    near, far = torch.stack(ends).unbind(1)
    parallax: Tensor = intrinsics[:, 0, 0].median() * baseline * (1 / near - 1 / far).median()
    return parallax


def _sample(values: Tensor) -> Tensor:
    flat = values.flatten()
    return flat[:: max(1, len(flat) // LOOKED_AT)]
