"""Conversion of a network's outputs for one clip into the `Reconstruction` that scores are computed from."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad

from videogpa.reconstruction import Reconstruction


def assemble(
    images: Float[Tensor, "frames 3 height width"],
    depth: Float[Tensor, "frames height width"],
    confidence: Float[Tensor, "frames height width"],
    intrinsics: Float[Tensor, "frames 3 3"],
    extrinsics: Float[Tensor, "frames 3 4"],
    points: Float[Tensor, "frames height width 3"] | None = None,
) -> Reconstruction:
    """Return the reconstruction, on the CPU.

    Args:
        images: The network's input, RGB in [0, 1].
        depth: Depth along the optical axis, in the network's unit.
        confidence: Confidence of each depth, in the network's scale.
        intrinsics: Camera matrices in pixels of `images`.
        extrinsics: Camera-from-world transforms.
        points: World coordinates of each pixel, if the network returns them.
    """
    camera_from_world = pad(extrinsics.cpu(), (0, 0, 0, 1))
    camera_from_world[:, 3, 3] = 1
    return Reconstruction(
        images=images.cpu(),
        depth=depth.cpu(),
        confidence=confidence.cpu(),
        intrinsics=intrinsics.cpu(),
        camera_from_world=camera_from_world,
        points=None if points is None else points.cpu(),
        measures={
            "registered": len(images),
            "points": depth.numel(),
            "focal_widths": float(intrinsics[:, 0, 0].median()) / images.shape[3],
        },
    )


def at_own_pixels(found: Reconstruction, frames: Float[Tensor, "frames 3 height width"]) -> Reconstruction:
    """Return the reconstruction at the resolution of the clip, if its whole frames were enlarged for the network.

    Pixels interpolated between those of a clip are soft at an edge where the depth is not, which would count as inconsistent.
    Depths are resized by nearest neighbour: a mean of a near and a far depth would be the depth of no surface.

    Args:
        found: The reconstruction at the network's resolution.
        frames: The frames before resizing, uncropped, RGB in [0, 1].

    Returns:
        The reconstruction with `frames` as images; `found` itself if the frames were not enlarged.
    """
    size, seen = frames.shape[-2:], found.images.shape[-2:]
    if max(size) >= max(seen):
        return found
    depth, confidence = (
        interpolate(maps[:, None], size, mode="nearest-exact")[:, 0] for maps in (found.depth, found.confidence)
    )
    shrink = torch.tensor([size[1] / seen[1], size[0] / seen[0], 1.0])
    intrinsics = found.intrinsics * shrink[:, None]
    intrinsics[:, :2, 2] += (shrink[:2] - 1) / 2  # pixel centres are integers, and the corner of a picture is at -1/2
    return replace(
        found,
        images=frames.cpu(),
        depth=depth,
        confidence=confidence,
        intrinsics=intrinsics,
        measures={**found.measures, "points": depth.numel()},
    )
