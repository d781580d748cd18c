"""Adherence: the share of a commanded camera path that a clip shows. It is 0 for a frozen clip, whatever its geometry.

Every later frame is registered to the first along the path: the first frame's points are projected into cameras on the path,
before it and beyond it, and the camera with the least photometric error gives the share of the path that was covered. Only one
number is estimated per frame, so that flat walls, on which optical flow fails, do no harm. The method is our own; it follows no
paper.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample

from videogpa.maths.cameras import camera_centers, rotation_vectors, unproject
from videogpa.maths.epipolar import cross_matrix

SHARES = (-1.0, 2.0, 31)  # first, last, number: from the opposite path to twice the speed
LEAST_IN_VIEW = 0.25  # share of the first frame's pixels that a camera must have in view to be tried


def path_adherence(
    frames: Float[Tensor, "frames 3 height width"],
    depth: Float[Tensor, "height width"],
    intrinsics: Float[Tensor, "3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> float:
    """Return the share of the commanded displacement that the clip shows.

    The frames' shares are averaged with weights, the squared displacement of pixels that each frame should show. A regression
    through the origin weighs them in the same way, since a first step of half a pixel carries little information.

    Args:
        frames: The clip, RGB in [0, 1].
        depth: Depth of the first frame.
        intrinsics: Camera matrix in pixels, the same for all frames.
        camera_from_world: The commanded cameras, in the unit of `depth`.

    Returns:
        The share, in [-1, 2]: 1 for a clip that follows the path, 0 for a frozen one, 0.5 for one at half the speed, negative
        for the opposite path; nan if no displacement is commanded, or if there is only one frame.
    """
    if len(frames) < 2:
        return math.nan
    shares, weights = registered_shares(frames, depth, intrinsics, camera_from_world)
    return float((shares * weights).sum() / weights.sum())


def registered_shares(
    frames: Float[Tensor, "frames 3 height width"],
    depth: Float[Tensor, "height width"],
    intrinsics: Float[Tensor, "3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> tuple[Float[Tensor, " frames-1"], Float[Tensor, " frames-1"]]:
    """Return the share of every frame but the first, and its weight.

    Args:
        frames: The clip, RGB in [0, 1].
        depth: Depth of the first frame.
        intrinsics: Camera matrix in pixels, the same for all frames.
        camera_from_world: The commanded cameras, in the unit of `depth`.

    Returns:
        The shares of the commanded displacement, in [-1, 2], and the weights, the mean squared displacement in pixels.
    """
    points = unproject(depth[None], intrinsics[None], camera_from_world[:1])[0].reshape(-1, 3)
    grid = torch.linspace(*SHARES).to(frames)
    found, weights = [], []
    for frame, camera in zip(frames[1:], camera_from_world[1:], strict=True):
        pixels, in_front = _projections(points, intrinsics, part_of_the_way(camera_from_world[0], camera, grid))
        found.append(_lowest(grid, _errors(frames[0], frame, pixels, in_front)))
        weights.append(_displacement(points, intrinsics, camera_from_world[0], camera))
    return torch.stack(found), torch.stack(weights)


def part_of_the_way(
    first: Float[Tensor, "4 4"], last: Float[Tensor, "4 4"], shares: Float[Tensor, " shares"]
) -> Float[Tensor, "shares 4 4"]:
    """Return cameras on the path through two cameras; the centre moves evenly on a line, and the rotation has a constant rate.

    Args:
        first: `camera_from_world` at share 0.
        last: `camera_from_world` at share 1.
        shares: Places on the path. 2 is as far again beyond `last`, -1 as far in the opposite direction.
    """
    turn = rotation_vectors(last[:3, :3] @ first[:3, :3].T)
    rotations = torch.linalg.matrix_exp(shares[:, None, None] * cross_matrix(turn)) @ first[:3, :3]
    start, end = camera_centers(first), camera_centers(last)
    centers = start + shares[:, None] * (end - start)
    cameras = torch.eye(4).to(first).repeat(len(shares), 1, 1)
    cameras[:, :3, :3], cameras[:, :3, 3] = rotations, -(rotations @ centers[..., None])[..., 0]
    return cameras


def _projections(
    points: Float[Tensor, "points 3"], intrinsics: Float[Tensor, "3 3"], cameras: Float[Tensor, "shares 4 4"]
) -> tuple[Float[Tensor, "shares points 2"], Bool[Tensor, "shares points"]]:
    in_camera = points @ cameras[:, :3, :3].transpose(1, 2) + cameras[:, None, :3, 3]
    in_image = in_camera @ intrinsics.T
    in_front = in_camera[..., 2] > 0
    return in_image[..., :2] / in_image[..., 2:].where(in_front[..., None], 1), in_front


def _errors(
    first: Float[Tensor, "3 height width"],
    frame: Float[Tensor, "3 height width"],
    pixels: Float[Tensor, "shares points 2"],
    in_front: Bool[Tensor, "shares points"],
) -> Float[Tensor, " shares"]:
    """Return, for each share, the mean absolute difference between the first frame's pixels and the frame at their projections.

    It is infinite where too few of the pixels are in view.
    """
    size = torch.tensor([frame.shape[2], frame.shape[1]]).to(frame)
    in_view = in_front & ((pixels >= 0) & (pixels <= size - 1)).all(-1)
    places = 2 * pixels / (size - 1) - 1
    seen = grid_sample(frame.expand(len(pixels), -1, -1, -1), places[:, None], align_corners=True, padding_mode="border")[
        :, :, 0
    ]
    difference = (seen - first.reshape(3, -1)).abs().mean(1)
    error = (difference * in_view).sum(1) / in_view.sum(1)
    return error.where(in_view.float().mean(1) >= LEAST_IN_VIEW, torch.inf)


def _lowest(grid: Float[Tensor, " shares"], errors: Float[Tensor, " shares"]) -> Float[Tensor, ""]:
    """Return where the errors are lowest: the vertex of the parabola through the grid's minimum and its two neighbours."""
    best = int(errors.argmin())
    if best in (0, len(grid) - 1) or not bool(errors[best - 1 : best + 2].isfinite().all()):
        return grid[best]
    before, lowest, after = errors[best - 1 : best + 2]
    bend = before - 2 * lowest + after
    offset = torch.where(bend > 0, 0.5 * (before - after) / bend, torch.zeros_like(bend))
    return grid[best] + offset * (grid[1] - grid[0])


def _displacement(
    points: Float[Tensor, "points 3"],
    intrinsics: Float[Tensor, "3 3"],
    first: Float[Tensor, "4 4"],
    last: Float[Tensor, "4 4"],
) -> Float[Tensor, ""]:
    """Return the mean squared displacement, in pixels, between two cameras of the points that are in front of both."""
    pixels, in_front = _projections(points, intrinsics, torch.stack([first, last]))
    way = (pixels[1] - pixels[0]).square().sum(-1)
    return way[in_front.all(0)].mean()
