"""Adherence: which share of a commanded camera path a clip shows. A frozen clip shows nothing of it, whatever its geometry.

Every later frame is registered to the first along the path: of the places on it, before it and beyond it, from which the first
frame's points best explain the frame, the best says how far the camera got. One number is sought per frame, so that flat walls,
on which no optical flow could be found, do no harm. Own design; no paper.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample

from videogpa.maths.cameras import camera_centers, rotation_vectors, unproject
from videogpa.maths.epipolar import cross_matrix

SHARES = (-1.0, 2.0, 31)  # from, to, how many: from the opposite path to twice the speed
LEAST_IN_VIEW = 0.25  # share of the first frame's pixels that must be in view of a place for it to be tried


def path_adherence(
    frames: Float[Tensor, "frames 3 height width"],
    depth: Float[Tensor, "height width"],
    intrinsics: Float[Tensor, "3 3"],
    camera_from_world: Float[Tensor, "frames 4 4"],
) -> float:
    """Return the share of the commanded displacement that the clip shows, in [-1, 2]; nan if none is, or of one frame.

    `depth` is the first frame's, the cameras are the commanded ones. 1 for a clip that follows them, 0 for a frozen one, 0.5
    for one at half the speed, negative for the opposite path. The frames' shares are averaged with the squared displacement
    of pixels that each was to show, as a regression through the origin weighs them: a first step of half a pixel says little.
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
    """Return for every frame but the first how much of its commanded way it shows, and its weight (squared pixels)."""
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
    """Return cameras on the way from one to another: the centre moves evenly and straight on, the turn is even too.

    0 is the first, 1 the last, 2 as far again beyond it, -1 as far in the opposite direction.
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
    """Mean absolute difference of the first frame's pixels from where they went; infinite where too few are in view."""
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
    """Where the errors are lowest: the grid's best place, moved to the vertex of the parabola through it and its neighbours."""
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
    """Mean squared way, in pixels, that the points in front of both cameras go from one picture to the other."""
    pixels, in_front = _projections(points, intrinsics, torch.stack([first, last]))
    way = (pixels[1] - pixels[0]).square().sum(-1)
    return way[in_front.all(0)].mean()
