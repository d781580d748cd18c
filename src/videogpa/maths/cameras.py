"""Pinhole cameras: projection, unprojection, and measures of camera motion and depth consistency.

Conventions (docs/reference/conventions.md): `camera_from_world` is a rigid 4x4 transform, OpenCV axes (x right, y down, z
forward); intrinsics are 3x3 in pixels; integer pixel coordinates are pixel centres; depth is measured along the optical axis.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample

MOTION_ROTATION_WEIGHT = 0.1  # weight of the mean rotation angle in radians in the paper's motion figure (official code)


def invert(camera_from_world: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Return `world_from_camera`. It is exact for rigid transforms only, since the rotation is transposed, not inverted."""
    rotation = camera_from_world[..., :3, :3].transpose(-1, -2)
    inverse = torch.zeros_like(camera_from_world)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3:] = -rotation @ camera_from_world[..., :3, 3:]
    inverse[..., 3, 3] = 1
    return inverse


def camera_centers(camera_from_world: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 3"]:
    """Return the camera centres in world coordinates, which are not the translations of `camera_from_world`."""
    return invert(camera_from_world)[..., :3, 3]


def project(
    points: Float[Tensor, "*points 3"],
    intrinsics: Float[Tensor, "3 3"],
    camera_from_world: Float[Tensor, "4 4"],
) -> tuple[Float[Tensor, "*points 2"], Float[Tensor, "*points"]]:
    """Project world points into one camera.

    Args:
        points: Points in world coordinates.
        intrinsics: Camera matrix in pixels.
        camera_from_world: Pose of the camera.

    Returns:
        Pixel coordinates (u right, v down) and depth. Where the depth is <= 0 the point is not in front of the camera, and its
        pixel is meaningless (it may be infinite or nan).
    """
    in_camera = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    in_image = in_camera @ intrinsics.T
    return in_image[..., :2] / in_image[..., 2:], in_camera[..., 2]


def unproject(
    depth: Float[Tensor, "frames height width"],
    intrinsics: Float[Tensor, "frames 3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> Float[Tensor, "frames height width 3"]:
    """Return the world point of every pixel, which lies at the pixel's depth on the ray through the pixel's centre.

    Args:
        depth: Depth along the optical axis.
        intrinsics: Camera matrices in pixels.
        camera_from_world: Poses of the cameras, in the unit of `depth`.
    """
    height, width = depth.shape[1:]
    v, u = torch.meshgrid(torch.arange(height).to(depth), torch.arange(width).to(depth), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1).reshape(-1, 3)
    rays: Tensor = pixels @ torch.linalg.inv(intrinsics).transpose(-1, -2)
    in_camera = rays * depth.reshape(len(depth), -1, 1)
    world_from_camera = invert(camera_from_world)
    points = in_camera @ world_from_camera[:, :3, :3].transpose(-1, -2) + world_from_camera[:, None, :3, 3]
    return points.reshape(*depth.shape, 3)


def relative_motion(camera_from_world: Float[Tensor, "frames 4 4"]) -> Float[Tensor, "frames-1 4 4"]:
    """Return `next_from_this` for every pair of consecutive cameras."""
    return camera_from_world[1:] @ invert(camera_from_world[:-1])


def rotation_vectors(rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Return axis times angle, in radians, of rotation matrices.

    The result is accurate for tiny angles. At half a turn the axis is undefined, and 0 is returned.
    """
    sine_axis = 0.5 * torch.stack(
        [
            rotations[..., 2, 1] - rotations[..., 1, 2],
            rotations[..., 0, 2] - rotations[..., 2, 0],
            rotations[..., 1, 0] - rotations[..., 0, 1],
        ],
        dim=-1,
    )
    sine = _norm(sine_axis)[..., None]
    cosine = 0.5 * (rotations.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1)
    angle = torch.atan2(sine, cosine)  # the acos of the trace would lose half the digits near 0
    return torch.where(sine > 0, angle / sine, 1.0) * sine_axis


def rotation_from_quaternion(quaternions: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotation matrices of quaternions (x, y, z, w), which may have any norm above 0."""
    x, y, z, w = (quaternions / quaternions.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], dim=-1),
        torch.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], dim=-1),
        torch.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def paper_motion(camera_from_world: Float[Tensor, "frames 4 4"]) -> Float[Tensor, ""]:
    """Return the paper's motion figure: mean ||t(i+1) - t(i)|| + 0.1 * mean rotation angle in radians.

    As in the official code, t is the translation of `camera_from_world`, not the camera centre. The figure therefore depends on
    the origin of the world (in the official code, the first camera) and on the unit of the reconstruction.

    Args:
        camera_from_world: Poses of consecutive frames, at least two.

    Raises:
        ValueError: If there are fewer than two cameras.
    """
    _require_cameras(camera_from_world, 2)
    steps = camera_from_world[1:, :3, 3] - camera_from_world[:-1, :3, 3]
    angles = rotation_vectors(relative_motion(camera_from_world)[:, :3, :3])
    return _mean_norm(steps) + MOTION_ROTATION_WEIGHT * _mean_norm(angles)


def camera_jerk(camera_from_world: Float[Tensor, "frames 4 4"]) -> Float[Tensor, ""]:
    """Return the unsteadiness of a camera path: the mean third difference of the pose divided by its mean step.

    The pose is the camera centre, in units of the path's length, and the orientation, in radians, so that the whole path counts
    as much as one radian of rotation. The result does not depend on the unit or the coordinate frame of the world.

    Args:
        camera_from_world: Poses of consecutive frames, at least four.

    Returns:
        0 for a static camera and for a steady dolly or pan; about the square of the angle per step on an orbit; of order 1 or
        more when steps are random.

    Raises:
        ValueError: If there are fewer than four cameras, since a third difference takes four.
    """
    _require_cameras(camera_from_world, 4)
    camera_from_world = camera_from_world.double()
    turns = rotation_vectors(relative_motion(camera_from_world)[:, :3, :3])
    steps = camera_centers(camera_from_world).diff(dim=0)
    length = _norm(steps).sum()
    rounding = 1e-6 * _norm(camera_from_world[:, :3, 3]).max()  # the centres of a pan in float32 vary by rounding
    steps = torch.where(length > len(steps) * rounding, steps / length, 0.0)
    size = _mean_norm(steps) + _mean_norm(turns)
    jerk = _mean_norm(steps.diff(n=2, dim=0)) + _mean_norm(turns.diff(n=2, dim=0))
    return torch.where(size > 0, jerk / size, 0.0).float()


def mvcs(
    depth: Float[Tensor, "frames height width"],
    intrinsics: Float[Tensor, "frames 3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> Float[Tensor, ""]:
    """Return the paper's multi-view consistency score (MVCS), the agreement of the depths of adjacent frames.

    The score is exp(-d). d is the mean, over adjacent frames, of the mean squared difference between the depth of frame i
    transformed into frame i + 1 and the depth of frame i + 1 at that place (bilinear), over the pixels that project inside with
    positive depth. The score ignores occlusion and depends on the unit of the reconstruction; it can be compared between clips
    only where that unit is the same.

    Args:
        depth: Depth of each frame; 0 is unknown and left out.
        intrinsics: Camera matrices in pixels.
        camera_from_world: Poses of the cameras, in the unit of `depth`.

    Returns:
        The score, in [0, 1]; 1 if the depths agree, nan if some frame has no pixel that projects into the next one.

    Raises:
        ValueError: If there are fewer than two frames.
    """
    return torch.exp(-depth_disagreements(depth, intrinsics, camera_from_world).mean())


def depth_disagreements(
    depth: Float[Tensor, "frames height width"],
    intrinsics: Float[Tensor, "frames 3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> Float[Tensor, " frames-1"]:
    """Return the mean squared difference of depths, as `mvcs` defines it, of every two adjacent frames.

    Args:
        depth: Depth of each frame; 0 is unknown and left out.
        intrinsics: Camera matrices in pixels.
        camera_from_world: Poses of the cameras, in the unit of `depth`.

    Returns:
        One value per pair of adjacent frames; nan where no pixel of the first projects into the second.

    Raises:
        ValueError: If there are fewer than two frames.
    """
    _require_cameras(camera_from_world, 2)
    points = unproject(depth, intrinsics, camera_from_world)
    errors = [
        _depth_disagreement(points[i], depth[i] > 0, depth[i + 1], intrinsics[i + 1], camera_from_world[i + 1])
        for i in range(len(depth) - 1)
    ]
    return torch.stack(errors)


def _depth_disagreement(
    points: Float[Tensor, "height width 3"],
    known: Bool[Tensor, "height width"],
    depth: Float[Tensor, "height width"],
    intrinsics: Float[Tensor, "3 3"],
    camera_from_world: Float[Tensor, "4 4"],
) -> Float[Tensor, ""]:
    size = torch.tensor([depth.shape[1], depth.shape[0]]).to(depth)
    pixels, moved = project(points, intrinsics, camera_from_world)
    # As in the official code, [0, size) is inside: beyond the last pixel centre the bilinear depth fades to 0.
    inside = ((pixels >= 0) & (pixels < size)).all(-1) & (moved > 0) & known
    grid = (2 * pixels[inside] / (size - 1) - 1)[None, None]
    depth_and_unknown = torch.stack([depth, (depth <= 0).to(depth)])[None]
    seen, unknown = grid_sample(depth_and_unknown, grid, mode="bilinear", align_corners=True)[0, :, 0]
    squared_error: Tensor = (moved[inside] - seen).square()
    return squared_error[unknown == 0].mean()


def _norm(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    length: Tensor = vectors.norm(dim=-1)
    return length


def _mean_norm(vectors: Float[Tensor, "steps 3"]) -> Float[Tensor, ""]:
    return _norm(vectors).mean()


def _require_cameras(camera_from_world: Float[Tensor, "frames 4 4"], least: int) -> None:
    if len(camera_from_world) < least:
        raise ValueError(f"got {len(camera_from_world)} cameras, need at least {least}")
