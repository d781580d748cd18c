"""Time the point renderer against a plain one, at the size of the paper: 10 views of 518 x 518 pixels, 2.7 million points.

    python benchmarks/render.py [--threads 2] [--repeats 5]

The plain twin does what the paper's official code does: for every view project all points, keep those inside, sort them by
depth, and write their colours from far to near. Written with torch's indexed assignment, as there, it is wrong on several
threads: the order of the writes is not defined. So a second twin writes with NumPy, in order; it tells whether images agree.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from machine import processor
from videogpa.maths.blending import blend_cloud
from videogpa.maths.cameras import unproject
from videogpa.maths.render import splat_cloud

VIEWS, SIDE, FOCAL = 10, 518, 500.0
SMALL = (144, 256)  # what the weight-free critic renders


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    points, colors, intrinsics, cameras, frame = scene(SIDE, SIDE)
    cloud = (points, colors, intrinsics, cameras)
    truth = plain(*cloud, height=SIDE, width=SIDE, write=write_in_order)
    rows: list[tuple[str, Callable[[], Tensor], Tensor | None]] = [
        (
            "plain, torch assignment (as the official code)",
            lambda: plain(*cloud, height=SIDE, width=SIDE, write=write_with_torch),
            truth,
        ),
        ("plain, NumPy assignment", lambda: plain(*cloud, height=SIDE, width=SIDE, write=write_in_order), truth),
        ("splat_cloud", lambda: splat_cloud(*cloud, height=SIDE, width=SIDE)[0], truth),
        ("splat_cloud, leave-one-out", lambda: splat_cloud(*cloud, height=SIDE, width=SIDE, hidden_from=frame)[0], None),
    ]
    print(f"{processor()}, {arguments.threads} threads, torch {torch.__version__}; best of {arguments.repeats}\n")
    print(f"| {VIEWS} views x {SIDE}^2, {len(points) / 1e6:.2f} M points | seconds | speed-up | pixels that differ |")
    print("|---|---|---|---|")
    reference = None
    for name, render, expected in rows:
        seconds, image = timed(render, arguments.repeats)
        reference = reference or seconds
        differ = "-" if expected is None else f"{(image != expected).any(1).float().mean().item():.1e}"
        print(f"| {name} | {seconds:.2f} | {reference / seconds:.1f} | {differ} |")
    print(f"\nblend_cloud, leave-one-out, {VIEWS} views x {SMALL[0]} x {SMALL[1]}: {blending(arguments.repeats):.2f} s")


def scene(height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return (points, colors, intrinsics, camera_from_world, frame of each point) of a turning camera in a wavy room."""
    v, u = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    depth = torch.stack([3 + torch.sin(20 * u / width + i) + torch.cos(15 * v / height) for i in range(VIEWS)])
    focal = FOCAL * width / SIDE
    matrix = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    cameras = torch.eye(4).repeat(VIEWS, 1, 1)
    angle = 0.04 * torch.arange(VIEWS)
    cameras[:, 0, 0], cameras[:, 0, 2] = angle.cos(), angle.sin()
    cameras[:, 2, 0], cameras[:, 2, 2] = -angle.sin(), angle.cos()
    cameras[:, 0, 3] = -0.1 * torch.arange(VIEWS)
    intrinsics = matrix.repeat(VIEWS, 1, 1)
    points = unproject(depth, intrinsics, cameras).reshape(-1, 3)
    colors = torch.rand(len(points), 3, generator=torch.Generator().manual_seed(0))
    return points, colors, intrinsics, cameras, torch.arange(VIEWS).repeat_interleave(height * width)


def plain(
    points: Tensor,
    colors: Tensor,
    intrinsics: Tensor,
    cameras: Tensor,
    *,
    height: int,
    width: int,
    write: Callable[[Tensor, Tensor, Tensor, Tensor], None],
) -> Tensor:
    """Render view after view: project, mask, sort by depth, write from far to near."""
    images = []
    for matrix, camera in zip(intrinsics, cameras, strict=True):
        in_camera = points @ camera[:3, :3].T + camera[:3, 3]
        in_image = in_camera @ matrix.T
        depth = in_image[:, 2]
        u, v = ((in_image[:, axis] / depth).round().long() for axis in (0, 1))
        inside = (depth > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        order = depth[inside].argsort(descending=True)
        image = torch.zeros(height, width, 3)
        write(image, v[inside][order], u[inside][order], colors[inside][order])
        images.append(image.permute(2, 0, 1))
    return torch.stack(images)


def write_with_torch(image: Tensor, v: Tensor, u: Tensor, colors: Tensor) -> None:
    """Assign colours; which one stays where indices repeat is not defined."""
    image[v, u] = colors


def write_in_order(image: Tensor, v: Tensor, u: Tensor, colors: Tensor) -> None:
    """Assign colours one after the other: the last one stays."""
    image.numpy()[v.numpy(), u.numpy()] = colors.numpy()


def blending(repeats: int) -> float:
    """Return the seconds that the tolerant renderer takes at the size of the weight-free critic."""
    height, width = SMALL
    points, colors, intrinsics, cameras, frame = scene(height, width)
    trusted = torch.rand(len(points), generator=torch.Generator().manual_seed(0)) > 0.3
    tolerance = torch.full((VIEWS,), 0.01)

    def render() -> Tensor:
        return blend_cloud(
            points,
            colors,
            intrinsics,
            cameras,
            height=height,
            width=width,
            weights=torch.ones(len(points)),
            trusted=trusted,
            tolerance=tolerance,
            hidden_from=frame,
        )[0]

    return timed(render, repeats)[0]


def timed(render: Callable[[], Tensor], repeats: int) -> tuple[float, Tensor]:
    """Return the least seconds of several runs, and the image."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        image = render()
        best = min(best, time.perf_counter() - start)
    return best, image


if __name__ == "__main__":
    main()
