"""The 3D view of a report: a clip's points and cameras, small enough to lie in the page; templates/space.js draws them."""

import math
import struct
import zlib
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from videogpa.maths.cameras import camera_centers, invert
from videogpa.reconstruction import Reconstruction
from videogpa.scoring.point_cloud import Cloud, cloud_of, points_of

MOST_POINTS = 14_000
"""How many points a view holds at most: about 80 kB in the page."""

FAR = 12.0
"""Farther from the middle camera than that many times the distance of the middle of the cloud, points are left out."""

POINT = 0.7
"""The width of a point, as a share of the distance between two in the picture that they are from: frames overlap."""

_LEVELS = (1 << 14) - 1  # of a coordinate: finer than a pixel of the view, since its box is a few times as wide as the view
_COLORS = (1 << 6) - 1  # levels of red, green and blue


@dataclass(frozen=True, eq=False)
class Space:
    """Points and cameras in the axes of the clip's middle camera (x right, y down, z forward).

    The origin is the middle of the cloud, at distance 1 from the middle camera, which is so at (0, 0, -1) or near it.
    """

    points: Float[Tensor, "points 3"]
    colors: Float[Tensor, "points 3"]
    """RGB in [0, 1]."""
    eye: Float[Tensor, " 3"]
    """The middle camera's centre."""
    size: float
    """The width of a point, as a share of its distance from a camera."""
    corners: Float[Tensor, "cameras 5 3"]
    """Of each camera the centre, and the four corners of its picture at distance 1, clockwise from the upper left one."""


def make_space(reconstruction: Reconstruction) -> bytes:
    """Return what the 3D view of a clip shows, as `packed` writes it.

    Raises:
        ReconstructionFailed: If the reconstruction has fewer than two frames, or no usable point.
    """
    return packed(space_of(reconstruction))


def space_of(reconstruction: Reconstruction) -> Space:
    """Choose the points of a view, evenly over the pixels of all frames, and move them into the middle camera's axes.

    Raises:
        ReconstructionFailed: If the reconstruction has fewer than two frames, or no usable point.
    """
    cloud, side = _thinned(reconstruction)
    middle = len(reconstruction.images) // 2
    centers = camera_centers(reconstruction.camera_from_world)
    focus = cloud.points.median(dim=0).values
    scale = float((focus - centers[middle]).norm()) or 1.0
    axes = reconstruction.camera_from_world[middle, :3, :3]

    def moved(points: Tensor) -> Tensor:
        return ((points - focus) @ axes.T / scale).cpu()

    points, eye = moved(cloud.points), moved(centers[middle])
    near = (points - eye).norm(dim=1) <= FAR
    focal = float(reconstruction.intrinsics[:, 0, 0].median())
    return Space(
        points=points[near],
        colors=cloud.colors[near.to(cloud.colors.device)].cpu(),
        eye=eye,
        size=POINT * side / focal,
        corners=moved(_corners(reconstruction, scale)),
    )


def _thinned(reconstruction: Reconstruction) -> tuple[Cloud, int]:
    """Return at most `MOST_POINTS` points, one of every square of so many pixels, and the side of that square.

    Raises:
        ReconstructionFailed: If there is no usable point.
    """
    side = max(math.ceil(math.sqrt(reconstruction.depth.numel() / MOST_POINTS)), 1)
    while side > 1:
        parts = [_one_per_square(reconstruction, frame, side) for frame in range(len(reconstruction.depth))]
        thin = reduce(Cloud.followed_by, parts)
        if len(thin.points):
            return thin, side
        side //= 2
    whole = cloud_of(reconstruction)
    return whole[torch.linspace(0, len(whole.points) - 1, min(len(whole.points), MOST_POINTS)).round().long()], side


def _one_per_square(reconstruction: Reconstruction, frame: int, side: int) -> Cloud:
    """Return the points of every so manieth pixel of every so manieth row of a frame, other ones than in the next frame."""
    x, y = frame * (side // 2 + 1) % side, frame % side
    intrinsics = reconstruction.intrinsics[frame].clone()
    intrinsics[:2, 2] -= torch.tensor([x, y]).to(intrinsics)
    intrinsics[:2] /= side
    frames, rows, columns = slice(frame, frame + 1), slice(y, None, side), slice(x, None, side)
    thin = replace(
        reconstruction,
        images=reconstruction.images[frames, :, rows, columns],
        depth=reconstruction.depth[frames, rows, columns],
        confidence=reconstruction.confidence[frames, rows, columns],
        intrinsics=intrinsics[None],
        camera_from_world=reconstruction.camera_from_world[frames],
        points=None if reconstruction.points is None else reconstruction.points[frames, rows, columns],
    )
    return points_of(thin, first=frame)


def _corners(reconstruction: Reconstruction, distance: float) -> Float[Tensor, "cameras 5 3"]:
    """Return the centre of each camera and the corners of its picture at that distance along the optical axis, in the world."""
    height, width = reconstruction.images.shape[-2:]
    left, top, right, bottom = -0.5, -0.5, width - 0.5, height - 0.5
    pixels = torch.tensor([[left, top, 1.0], [right, top, 1.0], [right, bottom, 1.0], [left, bottom, 1.0]])
    rays = pixels.to(reconstruction.intrinsics) @ torch.linalg.inv(reconstruction.intrinsics).mT
    seen = torch.cat([torch.zeros_like(rays[:, :1]), rays], dim=1) * distance
    world = invert(reconstruction.camera_from_world)
    return seen @ world[:, :3, :3].mT + world[:, None, :3, 3]


def packed(space: Space) -> bytes:
    """Write a view in a few bytes per point: compressed, since neighbours differ by little.

    The format, little-endian, compressed by zlib: the numbers of points and cameras (uint32); the lowest corner of the box of
    the points and its sides, the eye, and the size of a point (float32); centre and corners of the cameras (float32); then, for
    each axis, 16 bits per point, the upper bytes of all points before the lower ones: its level, of 16,384 in the box; and for
    red, green and blue a byte, of 64 levels. Levels are differences from the point before, modulo the range of the bits.
    """
    low = space.points.amin(0)
    sides = (space.points.amax(0) - low).clamp(min=1e-6)
    levels = ((space.points - low) / sides * _LEVELS).round().int().numpy().astype(np.uint16)
    steps = np.diff(levels, axis=0, prepend=np.zeros((1, 3), np.uint16))
    planes = [plane for axis in steps.T for plane in ((axis >> 8).astype(np.uint8), (axis & 255).astype(np.uint8))]
    head = struct.pack("<2I", len(space.points), len(space.corners))
    numbers = torch.cat([low, sides, space.eye, torch.tensor([space.size]), space.corners.flatten()])
    parts = [head, numbers.numpy().astype("<f4").tobytes(), *(plane.tobytes() for plane in planes)]
    return zlib.compress(b"".join([*parts, *(plane.tobytes() for plane in _color_steps(space.colors).T)]))


def _color_steps(colors: Float[Tensor, "points 3"]) -> UInt8[np.ndarray, "points 3"]:
    levels = (colors.clamp(0, 1) * _COLORS).round().to(torch.uint8).numpy()
    return np.diff(levels, axis=0, prepend=np.zeros((1, 3), np.uint8))
