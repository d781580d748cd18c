"""The camera encoding of VGGT and Depth Anything 3: nine numbers per frame."""

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.maths.cameras import rotation_from_quaternion

LENGTH = 9  # translation (3), quaternion x, y, z, w (4), vertical and horizontal field of view in radians (2)


def decode_cameras(
    encoding: Float[Tensor, "*frames 9"], height: int, width: int
) -> tuple[Float[Tensor, "*frames 3 4"], Float[Tensor, "*frames 3 3"]]:
    """Return the camera-from-world transforms and the intrinsics in pixels of an image of this size.

    The principal point is (width / 2, height / 2) in the coordinates of these networks' training, whose integers are the
    pixel centres. A field of view of 0 has an infinite focal length.
    """
    translation, quaternion, field = torch.split(encoding, [3, 4, 2], dim=-1)
    extrinsic = torch.cat([rotation_from_quaternion(quaternion), translation[..., None]], dim=-1)
    half = torch.tensor([height / 2, width / 2]).to(encoding)
    focal = half / torch.tan(field / 2)
    intrinsic = torch.zeros(*encoding.shape[:-1], 3, 3).to(encoding)
    intrinsic[..., 0, 0], intrinsic[..., 1, 1] = focal[..., 1], focal[..., 0]
    intrinsic[..., 0, 2], intrinsic[..., 1, 2] = half[1], half[0]
    intrinsic[..., 2, 2] = 1
    return extrinsic, intrinsic


def encode_cameras(camera_from_world: Float[Tensor, "*frames 4 4"], field: float) -> Float[Tensor, "*frames 9"]:
    """Return the nine numbers of cameras with this field of view (radians, the same vertically and horizontally).

    Of the two quaternions of a rotation the result has the one with w >= 0. The formula is not for rotations by more than three
    quarters of half a turn: w comes near zero, and the division by it loses all digits.
    """
    rotation = camera_from_world[..., :3, :3]
    w = (1 + rotation.diagonal(dim1=-2, dim2=-1).sum(-1)).clamp(min=0).sqrt() / 2
    skew = rotation - rotation.mT
    axis = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1) / (4 * w[..., None])
    fields = torch.full_like(axis[..., :2], field)
    return torch.cat([camera_from_world[..., :3, 3], axis, w[..., None], fields], dim=-1)
