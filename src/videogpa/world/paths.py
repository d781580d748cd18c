"""Named camera paths: the pose of the camera in every frame of a clip.

World axes are OpenCV's (x right, y down, z forward); the floor is at y = 0 and the subject of every path at `TARGET`.
Lengths are metres, angles radians. Amplitudes let neighbouring frames of a nine-frame clip overlap by more than 90 %.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

TARGET = (0.0, -1.0, 0.0)  # between the objects, at table height
START = (0.0, -1.5, -2.6)  # eye height, in the free half of the room
ORBIT, PAN = math.radians(35), math.radians(25)
DOLLY, TRUCK, RISE = 0.9, 1.0, 0.8

_Pose = tuple[tuple[float, float, float], tuple[float, float, float]]  # eye, point looked at


def _orbit(share: float) -> _Pose:
    angle, radius = ORBIT * share, math.hypot(START[0] - TARGET[0], START[2] - TARGET[2])
    return (TARGET[0] - radius * math.sin(angle), START[1], TARGET[2] - radius * math.cos(angle)), TARGET


def _dolly(share: float) -> _Pose:
    return (START[0], START[1], START[2] + DOLLY * share), (TARGET[0], TARGET[1], TARGET[2] + 2)


def _truck(share: float) -> _Pose:
    return (START[0] + TRUCK * share, START[1], START[2]), (TARGET[0] + TRUCK * share, *TARGET[1:])


def _rise(share: float) -> _Pose:
    return (START[0], START[1] - RISE * share, START[2]), TARGET


def _pan(share: float) -> _Pose:
    distance = TARGET[2] - START[2]
    x = START[0] + distance * math.sin(PAN * share)
    return START, (x, TARGET[1], START[2] + distance * math.cos(PAN * share))


PATHS: dict[str, tuple[Callable[[float], _Pose], int, str]] = {
    "orbit-left": (_orbit, +1, "The camera orbits the objects to the left."),
    "orbit-right": (_orbit, -1, "The camera orbits the objects to the right."),
    "dolly-in": (_dolly, +1, "The camera moves slowly forward."),
    "dolly-out": (_dolly, -1, "The camera moves slowly backward."),
    "truck-left": (_truck, -1, "The camera slides to the left."),
    "truck-right": (_truck, +1, "The camera slides to the right."),
    "rise-up": (_rise, +1, "The camera rises."),
    "rise-down": (_rise, -1, "The camera sinks."),
    "pan-left": (_pan, -1, "The camera turns to the left without moving."),
    "pan-right": (_pan, +1, "The camera turns to the right without moving."),
}
"""Name -> the pose as a function of the share of the path, its sign, and the sentence that describes the path."""


@cache
def camera_path(name: str, frames: int) -> Float[Tensor, "frames 4 4"]:
    """Return `camera_from_world` for every frame, evenly spaced along a path.

    Args:
        name: A key of `PATHS`.
        frames: The number of frames.

    Returns:
        The cameras. The tensor is cached and shared by all callers, who must not write to it.

    Raises:
        KeyError: If there is no path of that name; the message lists those there are.
    """
    if name not in PATHS:
        raise KeyError(f"unknown camera path {name!r}; one of: {', '.join(PATHS)}")
    pose, sign, _ = PATHS[name]
    shares = [sign * i / max(frames - 1, 1) for i in range(frames)]
    return torch.stack([_look_at(*pose(share)) for share in shares])


def intrinsics(height: int, width: int, field_of_view: float = math.radians(70)) -> Float[Tensor, "3 3"]:
    """Return a pinhole camera's intrinsics in pixels, the field of view (radians) across the width."""
    focal = width / 2 / math.tan(field_of_view / 2)
    return torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def _look_at(eye: tuple[float, float, float], point: tuple[float, float, float]) -> Float[Tensor, "4 4"]:
    position = torch.tensor(eye, dtype=torch.float64)
    forward = torch.nn.functional.normalize(torch.tensor(point, dtype=torch.float64) - position, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 1, 0], dtype=torch.float64), forward), dim=0)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ position
    return pose.float()
