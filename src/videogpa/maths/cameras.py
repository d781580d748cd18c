"""Pinhole cameras: project, unproject, and how a camera moves.

Conventions (docs/reference/conventions.md): `camera_from_world` is a rigid 4x4 transform, OpenCV axes (x right, y down, z
forward); intrinsics are 3x3 in pixels; integer pixel coordinates are pixel centres; depth is measured along the optical axis.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample

MOTION_ROTATION_WEIGHT = 0.1  # of a mean rotation angle in radians, in the paper's motion figure (official code)


def invert(camera_from_world: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Return `world_from_camera`. Exact for rigid transforms only: the rotation is transposed, not inverted."""
    rotation = camera_from_world[..., :3, :3].transpose(-1, -2)
    inverse = torch.zeros_like(camera_from_world)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3:] = -rotation @ camera_from_world[..., :3, 3:]
    inverse[..., 3, 3] = 1
    return inverse


def camera_centers(camera_from_world: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 3"]:
    """Return where the cameras stand in the world; not the translations of `camera_from_world`."""
    return invert(camera_from_world)[..., :3, 3]


def project(
    points: Float[Tensor, "*points 3"],
    intrinsics: Float[Tensor, "3 3"],
    camera_from_world: Float[Tensor, "4 4"],
) -> tuple[Float[Tensor, "*points 2"], Float[Tensor, "*points"]]:
    """Project world points into one camera; return pixel coordinates (u right, v down) and depth.

    Where depth is <= 0 the point is behind the camera, and its pixel means nothing (it may be infinite or nan).
    """
    in_camera = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    in_image = in_camera @ intrinsics.T
    return in_image[..., :2] / in_image[..., 2:], in_camera[..., 2]


def unproject(
    depth: Float[Tensor, "frames height width"],
    intrinsics: Float[Tensor, "frames 3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> Float[Tensor, "frames height width 3"]:
    """Return the world point of every pixel: the one at `depth` on the ray through the pixel's centre."""
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
    """Return axis times angle in radians. Accurate for tiny angles; at half a turn the axis is undefined and 0 is returned."""
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
    angle = torch.atan2(sine, cosine)  # acos of the trace alone loses half the digits near 0
    return torch.where(sine > 0, angle / sine, 1.0) * sine_axis


def rotation_from_quaternion(quaternions: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotation matrices of quaternions (x, y, z, w) of any length but 0."""
    x, y, z, w = (quaternions / quaternions.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], dim=-1),
        torch.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], dim=-1),
        torch.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def paper_motion(camera_from_world: Float[Tensor, "frames 4 4"]) -> Float[Tensor, ""]:
    """Return mean ||t(i+1) - t(i)|| + 0.1 * mean rotation angle in radians: the paper's motion figure.

    Of the translations of `camera_from_world`, as the official code does it, not of the camera centres: it depends on where
    the origin of the world is (there: in the first camera), and on the unit of the reconstruction.

    Raises:
        ValueError: With fewer than two cameras.
    """
    _require_cameras(camera_from_world, 2)
    steps = camera_from_world[1:, :3, 3] - camera_from_world[:-1, :3, 3]
    angles = rotation_vectors(relative_motion(camera_from_world)[:, :3, :3])
    return _mean_norm(steps) + MOTION_ROTATION_WEIGHT * _mean_norm(angles)


def camera_jerk(camera_from_world: Float[Tensor, "frames 4 4"]) -> Float[Tensor, ""]:
    """Return how unsteady the camera is: mean third difference of its pose over mean step of its pose.

    Pose = camera centre, in units of the path's length, and orientation, in radians; so the whole path counts as much as one
    radian of turning. Free of the unit and the frame of the world. 0 for a static camera and for a steady dolly or pan; about
    the square of the angle per step on an orbit; of order 1 or more when steps are random.

    Raises:
        ValueError: With fewer than four cameras, since a third difference takes four.
    """
    _require_cameras(camera_from_world, 4)
    camera_from_world = camera_from_world.double()
    turns = rotation_vectors(relative_motion(camera_from_world)[:, :3, :3])
    steps = camera_centers(camera_from_world).diff(dim=0)
    length = _norm(steps).sum()
    rounding = 1e-6 * _norm(camera_from_world[:, :3, 3]).max()  # a pan given in float32 has centres that tremble
    steps = torch.where(length > len(steps) * rounding, steps / length, 0.0)
    size = _mean_norm(steps) + _mean_norm(turns)
    jerk = _mean_norm(steps.diff(n=2, dim=0)) + _mean_norm(turns.diff(n=2, dim=0))
    return torch.where(size > 0, jerk / size, 0.0).float()


def mvcs(
    depth: Float[Tensor, "frames height width"],
    intrinsics: Float[Tensor, "frames 3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> Float[Tensor, ""]:
    """Return the paper's multi-view consistency score, in [0, 1], 1 = the depths of adjacent frames agree.

    exp(-d), d = mean over adjacent frames of the mean squared difference between the depth of frame i moved into frame i + 1
    and the depth of frame i + 1 there (bilinear), over the pixels that land inside with positive depth. Depth 0 is unknown and
    left out. The score knows no visibility and depends on the unit of the reconstruction: compare it between clips only where
    that unit is the same. nan if no pixel of some frame lands in the next.

    Raises:
        ValueError: With fewer than two frames.
    """
    return torch.exp(-depth_disagreements(depth, intrinsics, camera_from_world).mean())


def depth_disagreements(
    depth: Float[Tensor, "frames height width"],
    intrinsics: Float[Tensor, "frames 3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> Float[Tensor, " frames-1"]:
    """Return the mean squared difference of depths of `mvcs` for every two adjacent frames; nan where nothing lands inside.

    Raises:
        ValueError: With fewer than two frames.
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
    # Inside = [0, size), as the official code has it: beyond the last pixel centre the bilinear depth fades to 0.
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
