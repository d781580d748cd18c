"""A network's answer for one clip, in the shape that scores are computed from."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from videogpa.records import Reconstruction


def assemble(
    images: Float[Tensor, "frames 3 height width"],
    depth: Float[Tensor, "frames height width"],
    confidence: Float[Tensor, "frames height width"],
    intrinsics: Float[Tensor, "frames 3 3"],
    extrinsics: Float[Tensor, "frames 3 4"],
    points: Float[Tensor, "frames height width 3"] | None = None,
) -> Reconstruction:
    """Return the reconstruction, on the CPU; `images` are RGB in [0, 1], `extrinsics` camera from world."""
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
