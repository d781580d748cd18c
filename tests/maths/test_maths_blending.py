import pytest
import torch
from torch.testing import assert_close

from videogpa.maths.blending import FAIR_SHARE, blend_cloud
from videogpa.maths.cameras import project, unproject

HEIGHT, WIDTH = 24, 32
INTRINSICS = torch.tensor([[30.0, 0, 15.0], [0, 30, 11.0], [0, 0, 1]])


def blend(points, colors, *, cameras=None, weights=None, trusted=None, tolerance=0.01, hidden_from=None):
    cameras = torch.eye(4)[None] if cameras is None else cameras
    return blend_cloud(
        points,
        colors,
        INTRINSICS.repeat(len(cameras), 1, 1),
        cameras,
        height=HEIGHT,
        width=WIDTH,
        weights=torch.ones(len(points)) if weights is None else weights,
        trusted=torch.ones(len(points), dtype=torch.bool) if trusted is None else trusted,
        tolerance=torch.full((len(cameras),), tolerance),
        hidden_from=hidden_from,
    )


def at_pixel(u: float, v: float, depth: float) -> list[float]:
    return [(u - 15) / 30 * depth, (v - 11) / 30 * depth, depth]


def slow_twin(points, colors, camera, weights, trusted, tolerance):
    """One list of contributions per pixel, judged one by one."""
    contributions: dict[tuple[int, int], list] = {}
    pixels, depths = project(points, INTRINSICS, camera)
    for i, ((u, v), z) in enumerate(zip(pixels.tolist(), depths.tolist(), strict=True)):
        if z <= 0:
            continue
        for x in (int(u // 1), int(u // 1) + 1):
            for y in (int(v // 1), int(v // 1) + 1):
                if 0 <= x < WIDTH and 0 <= y < HEIGHT:
                    share = (1 - abs(u - x)) * (1 - abs(v - y))
                    contributions.setdefault((x, y), []).append((1 / z, share, i))
    image, covered = torch.zeros(3, HEIGHT, WIDTH), torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    for (x, y), all_of_it in contributions.items():
        fair = [c for c in all_of_it if c[1] >= FAIR_SHARE]
        front = max((c[0] for c in fair if trusted[c[2]]), default=None) or max((c[0] for c in fair), default=None)
        if front is None:
            continue
        merged = [(share * weights[i].item(), colors[i]) for near, share, i in all_of_it if abs(near - front) <= tolerance]
        image[:, y, x] = sum(w * c for w, c in merged) / sum(w for w, _ in merged)
        covered[y, x] = True
    return image, covered


@pytest.mark.parametrize("seed", range(5))
def test_equals_its_slow_twin(seed):
    generator = torch.Generator().manual_seed(seed)
    points = 2 * torch.rand(500, 3, generator=generator) - 1
    points[:, 2] = 3 * points[:, 2] + 1.5
    colors, weights = torch.rand(500, 3, generator=generator), 0.1 + 0.9 * torch.rand(500, generator=generator)
    trusted = torch.rand(500, generator=generator) < 0.5
    camera = torch.eye(4)
    camera[:3, 3] = 0.1 * torch.randn(3, generator=generator)
    image, covered = blend(points, colors, cameras=camera[None], weights=weights, trusted=trusted, tolerance=0.05)
    expected, expected_covered = slow_twin(points, colors, camera, weights, trusted, 0.05)
    assert (covered[0] != expected_covered).sum() <= 1
    assert ((image[0] - expected).abs().amax(0) > 1e-3).sum() <= 2  # an edge of share or tolerance, to the last bit


def test_a_frame_renders_back_to_itself():
    generator = torch.Generator().manual_seed(0)
    frame = torch.rand(3, HEIGHT, WIDTH, generator=generator)
    points = unproject(torch.full((1, HEIGHT, WIDTH), 2.0), INTRINSICS[None], torch.eye(4)[None]).reshape(-1, 3)
    image, covered = blend(points, frame.flatten(1).T)
    assert_close(image[0], frame, atol=1e-4, rtol=0)
    assert covered.all()


def test_points_within_the_tolerance_are_blended_and_others_hidden():
    points = torch.tensor([at_pixel(10, 10, 2.0), at_pixel(10, 10, 2.01), at_pixel(10, 10, 4.0)])
    image, _ = blend(points, torch.eye(3), weights=torch.tensor([1.0, 0.5, 1.0]), tolerance=0.01)
    assert_close(image[0, :, 10, 10], torch.tensor([2 / 3, 1 / 3, 0]), atol=1e-4, rtol=0)
    image, _ = blend(points, torch.eye(3), tolerance=0.001)
    assert_close(image[0, :, 10, 10], torch.tensor([1.0, 0, 0]), atol=1e-4, rtol=0)
    image, _ = blend(points, torch.eye(3), tolerance=float("inf"))
    assert_close(image[0, :, 10, 10], torch.ones(3) / 3, atol=1e-4, rtol=0)


def test_a_sliver_of_a_near_point_hides_nothing():
    near, far = at_pixel(10.95, 10, 1.0), at_pixel(10, 10, 4.0)
    image, _ = blend(torch.tensor([near, far]), torch.eye(3)[:2])
    assert image[0, 1, 10, 10] > 0.9
    assert image[0, :, 10, 11].tolist() == [1, 0, 0]


def test_a_sliver_alone_covers_nothing():
    _, covered = blend(torch.tensor([at_pixel(10.95, 10, 1.0)]), torch.ones(1, 3))
    assert covered[0, 10, 11]
    assert covered.sum() == 1


def test_points_that_are_not_trusted_fill_holes_only():
    points = torch.tensor([at_pixel(10, 10, 1.0), at_pixel(10, 10, 4.0), at_pixel(20, 10, 1.0)])
    image, covered = blend(points, torch.eye(3), trusted=torch.tensor([False, True, False]))
    assert image[0, :, 10, 10].tolist() == [0, 1, 0]
    assert covered[0, 10, 20]
    assert image[0, :, 10, 20].tolist() == [0, 0, 1]


def test_leave_one_out_equals_rendering_the_rest():
    generator = torch.Generator().manual_seed(1)
    points, colors = torch.rand(300, 3, generator=generator) + torch.tensor([-0.5, -0.5, 1.0]), torch.rand(300, 3)
    frame = torch.arange(300) // 100
    cameras = torch.eye(4).repeat(3, 1, 1)
    cameras[:, 0, 3] = torch.tensor([-0.1, 0.0, 0.1])
    for tolerance in (0.01, float("inf")):
        image, covered = blend(points, colors, cameras=cameras, hidden_from=frame, tolerance=tolerance)
        for view in range(3):
            rest = frame != view
            expected, mask = blend(points[rest], colors[rest], cameras=cameras[view, None], tolerance=tolerance)
            assert_close(image[view], expected[0], atol=1e-5, rtol=0)
            assert torch.equal(covered[view], mask[0])


def test_order_of_the_points_does_not_matter():
    generator = torch.Generator().manual_seed(2)
    points, colors = torch.rand(5000, 3, generator=generator) + torch.tensor([-0.5, -0.5, 1.0]), torch.rand(5000, 3)
    order = torch.randperm(5000, generator=generator)
    image, covered = blend(points, colors)
    shuffled, covered_too = blend(points[order], colors[order])
    assert torch.equal(image, shuffled)
    assert torch.equal(covered, covered_too)


def test_refuses_points_that_are_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        blend(torch.full((1, 3), torch.inf), torch.ones(1, 3))
