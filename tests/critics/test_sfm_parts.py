"""The parts of the weight-free critic, by hand and against slow twins."""

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from videogpa.critics.classical import fusion, sweep
from videogpa.critics.classical.cameras import SparseModel
from videogpa.critics.classical.depth import choose_neighbours, estimate_depth, on_nearest_plane
from videogpa.critics.classical.features import Features, PairMatches, detect, frame_pairs, later_parts, match
from videogpa.critics.classical.homography import leave_one_out_error
from videogpa.parallel import parallel_map

HEIGHT, WIDTH, FOCAL, DEPTH = 72, 128, 110.0, 4.0
INTRINSICS = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])


def pose(x: float = 0.0, angle: float = 0.0) -> np.ndarray:
    """A camera at x, turned to the right by `angle` radians."""
    matrix = np.eye(4)
    matrix[0, 0] = matrix[2, 2] = np.cos(angle)
    matrix[0, 2], matrix[2, 0] = -np.sin(angle), np.sin(angle)
    matrix[:3, 3] = -matrix[:3, :3] @ [x, 0, 0]
    return matrix


def wall(poses: list[np.ndarray]) -> np.ndarray:
    """Grey pictures of a textured wall at z = 4, by the homography between it and each picture."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.random((600, 900), np.float32), (0, 0), 2)
    texture = (texture - texture.min()) / np.ptp(texture)
    pictures = []
    for camera in poses:
        wall_from_texture = np.array([[1 / 30, 0, -15], [0, 1 / 30, -10], [0, 0, 1]])  # 30 pixels a metre
        plane = camera[:3, [0, 1, 3]] + camera[:3, [2]] * np.array([[0, 0, DEPTH]])
        pictures.append(cv2.warpPerspective(texture, INTRINSICS @ plane @ wall_from_texture, (WIDTH, HEIGHT)))
    return np.stack(pictures)


def model(poses: list[np.ndarray]) -> SparseModel:
    """Exact cameras, and points of the wall, all of them seen by all."""
    u, v = np.meshgrid(np.linspace(-2, 2, 9), np.linspace(-1, 1, 5))
    points = np.stack([u.ravel(), v.ravel(), np.full(u.size, DEPTH)], axis=1)
    visible = {index: np.arange(len(points)) for index in range(len(poses))}
    return SparseModel(FOCAL / WIDTH, INTRINSICS, dict(enumerate(poses)), points, visible, float(len(poses)))


def test_exact_cameras_give_the_depth_of_a_wall():
    poses = [pose(x) for x in np.linspace(-0.4, 0.4, 7)]
    maps = estimate_depth(model(poses), INTRINSICS, wall(poses), [0, 2, 4, 6])
    middle = (slice(None), slice(8, -8), slice(16, -16))
    assert maps.confirmed[middle].mean() > 0.98
    # A tenth of a plane's step: (1 / (.45 * 4) - 1 / (2 * 4)) / 79 in inverse depth, times depth = 2.2 per cent.
    error = np.abs(maps.depth[middle][maps.confirmed[middle]] / DEPTH - 1)
    assert np.median(error) < 0.0022 * 2
    assert np.quantile(error, 0.99) < 0.022
    assert maps.coverage > 0.9


def test_what_is_nearer_than_all_points_is_found_where_it_would_be_cut_off():
    """All points lie at 10 m, so that the planes begin at 4.5 m; the wall is at 4 m."""
    poses = [pose(x) for x in np.linspace(-0.4, 0.4, 7)]
    behind = replace(model(poses), points=model(poses).points * 2.5)
    maps = estimate_depth(behind, INTRINSICS, wall(poses), [0, 2, 4, 6])
    middle = (slice(None), slice(8, -8), slice(16, -16))
    assert maps.confirmed[middle].mean() > 0.9
    assert np.median(np.abs(maps.depth[middle][maps.confirmed[middle]] / DEPTH - 1)) < 0.02
    planes = sweep.inverse_depths(2.0, 8.0)
    assert on_nearest_plane(np.stack([np.full((2, 2), planes[-1]), np.full((2, 2), planes[3])]), [planes, planes]) == 0.5


def test_exposure_does_not_change_the_matching_cost():
    pictures = wall([pose(0.0), pose(0.3)])
    planes = sweep.inverse_depths(2.0, 8.0)
    arguments = (INTRINSICS, [pose(0.3)], planes)
    cost = sweep.matching_cost(pictures[0], [pictures[1]], *arguments)
    brighter = sweep.matching_cost(pictures[0], [0.8 * pictures[1] + 0.1], *arguments)
    assert np.abs(cost - brighter).mean() < 0.01 * sweep.COST_UNIT  # but for the noise floor


def test_mean_of_the_better_half_is_that_of_sorting():
    rng = np.random.default_rng(0)
    for count in range(1, 6):
        scores = rng.standard_normal((count, 4, 5)).astype(np.float32)
        slow = np.sort(scores, axis=0)[count // 2 :].mean(axis=0)
        assert np.allclose(sweep._mean_of_better_half(scores), slow, atol=1e-5)


def slow_smooth(cost: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Return what `smooth` returns, pixel by pixel, as Hirschmueller 2008 eq. 13 writes it."""
    height, planes, width = cost.shape
    total = np.zeros(cost.shape, np.int64)
    step = int(sweep.COST_UNIT * sweep._SMALL_STEP)
    for dy, dx in [(1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1)]:
        path = np.zeros(cost.shape, np.int64)
        for y in range(height)[:: dy or 1]:
            for x in range(width)[:: dx or 1]:
                for d in range(planes):
                    path[y, d, x] = cost[y, d, x]
                    if 0 <= y - dy < height and 0 <= x - dx < width:
                        before = path[y - dy, :, x - dx]
                        edge = abs(guide[y, x] - guide[y - dy, x - dx])
                        jump = int(sweep.COST_UNIT * max(sweep._JUMP / (1 + edge / sweep._EDGE), sweep._LEAST_JUMP))
                        options = [before[d], before.min() + jump]
                        options += [before[e] + step for e in (d - 1, d + 1) if 0 <= e < planes]
                        path[y, d, x] += min(options) - before.min()
        total += path
    return total


def test_smoothing_is_that_of_a_slow_twin():
    rng = np.random.default_rng(0)
    cost = rng.integers(0, 2 * sweep.COST_UNIT, (6, 5, 7)).astype(np.int16)
    guide = rng.random((6, 7), np.float32)
    # Jumps are rounded from float32 here, from float64 there: 1 unit a direction and step.
    assert np.abs(sweep.smooth(cost, guide) - slow_smooth(cost, guide)).max() <= 8


def test_smoothing_cannot_overflow():
    worst = np.full((40, 10, 30), 2 * sweep.COST_UNIT, np.int16)
    worst[:, 0] = 0
    smoothed = sweep.smooth(worst, np.zeros((40, 30), np.float32))
    assert smoothed.min() == 0
    assert smoothed.max() <= 8 * (2 + sweep._JUMP) * sweep.COST_UNIT < 2**15


def test_the_parabola_finds_the_depth_between_planes():
    planes = np.linspace(0.1, 1.0, 10).astype(np.float32)
    truth = 0.43
    cost = np.rint(1000 * (planes - truth) ** 2).astype(np.int16)[None, :, None]
    found, inner = sweep.pick_depth(cost, planes)
    assert inner.all()
    assert found[0, 0] == pytest.approx(truth, abs=2e-3)


def test_the_last_plane_is_no_inner_one():
    planes = np.linspace(0.1, 1.0, 5).astype(np.float32)
    _, inner = sweep.pick_depth(np.array([4, 3, 2, 1, 0], np.int16)[None, :, None], planes)
    assert not inner.any()


def test_a_turning_camera_gets_neighbours_for_every_part_of_its_frame():
    poses = [pose(0.02 * index, 0.1 * index) for index in range(9)]  # turns far more than it walks
    chosen = choose_neighbours(model(poses), 4, INTRINSICS, HEIGHT, WIDTH)
    assert len(chosen) == 5
    assert 4 not in chosen
    assert any(other < 4 for other in chosen)
    assert any(other > 4 for other in chosen)
    half_field = np.arctan(WIDTH / 2 / FOCAL)
    for ray in np.linspace(-half_field, half_field, 9)[1:-1]:  # angles across the frame; far away, only turning counts
        seen_by = [other for other in chosen if abs(ray - 0.1 * (other - 4)) < half_field]
        assert len(seen_by) >= 2


def test_confirmations_by_hand():
    intrinsics, poses = np.diag([10.0, 10.0, 1.0]), np.stack([np.eye(4), np.eye(4)])
    poses[1, 0, 3] = -0.2  # the second camera is 0.2 to the right: at depth 2 things move 1 pixel to the left
    near = np.full((2, 1, 4), 0.5, np.float32)
    near[1, 0, 0] = 0.9  # sees something nearer where pixel 1 of the first falls
    counts = fusion.confirmations(near, np.ones((2, 1, 4), bool), intrinsics, poses, 0.05)
    assert counts.tolist() == [[[0, 0, 1, 1]], [[0, 1, 1, 0]]]  # pixel 0 and 3 leave the other frame
    seen = fusion.seen_by_others(near, np.ones((2, 1, 4), bool), intrinsics, poses)
    # The near point moves by 1.8 pixels, onto pixel 2, and hides what is behind.
    assert np.allclose(seen, [[[0, 0, 0.9, 0.5]], [[0.5, 0.5, 0.5, 0]]])


def test_matching_finds_a_shift_and_ignores_threads():
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.random((200, 300), np.float32), (0, 0), 3)
    picture = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    one, two = (detect(part) for part in (picture[:, :250], picture[:, 20:270]))
    matches = match(one, two)
    moved = one.keypoints[matches[:, 0]] - two.keypoints[matches[:, 1]]
    assert len(matches) > 50
    assert np.median(np.abs(moved - [20, 0])) < 0.1
    assert all(np.array_equal(again, matches) for again in parallel_map(lambda _: match(one, two), range(4)))


def test_a_blank_frame_has_no_features():
    blank = detect(np.full((64, 64), 128, np.uint8))
    assert blank.keypoints.shape == (0, 2)
    assert match(blank, blank).shape == (0, 2)
    assert isinstance(blank, Features)


def test_pairs_are_near_in_time_and_some_far():
    pairs = frame_pairs(25)
    assert {b - a for a, b in pairs} == {1, 2, 3, 4, 5, 8, 16}
    assert all(0 <= a < b < 25 for a, b in pairs)
    assert len(pairs) == len(set(pairs)) == 24 + 23 + 22 + 21 + 20 + 17 + 9


def test_parts_are_what_no_match_joins():
    def parts(links: list[tuple[int, int]], frames: int) -> list[int]:
        return later_parts([PairMatches(*link, np.zeros((0, 2), np.uint32), None) for link in links], frames)

    assert parts([(0, 1), (1, 2), (2, 3)], 4) == []
    assert parts([(0, 1), (2, 3)], 4) == [2]
    assert parts([(0, 1), (2, 3), (1, 2)], 4) == []
    assert parts([(0, 2), (3, 5), (6, 7)], 8) == [3, 6]
    assert parts([(0, 3)], 4) == []  # what lies between is passed over: a flash
    assert parts([(1, 3)], 4) == []  # a frame alone is no part
    assert parts([], 4) == []


def test_homography_error_of_a_shifted_picture_is_zero_and_of_a_changed_one_is_not():
    rng = np.random.default_rng(0)
    wide = np.repeat(cv2.GaussianBlur(rng.random((20, 50), np.float32), (0, 0), 2)[:, :, None], 3, axis=2)
    frames = np.stack([wide[:, shift : shift + 40] for shift in (0, 4, 8)])
    shift = np.array([[1.0, 0, -8], [0, 1, 0], [0, 0, 1]])  # at twice the size
    homographies = {(0, 1): shift, (1, 2): shift}
    assert leave_one_out_error(frames, homographies, [0, 1, 2], 0.5) == pytest.approx(0, abs=1e-6)
    frames[1] += 0.1
    # The middle frame is off by .1 from both neighbours, and they from it.
    assert leave_one_out_error(frames, homographies, [0, 1, 2], 0.5) == pytest.approx(0.01, rel=0.01)
    assert leave_one_out_error(frames, {}, [0, 1, 2], 0.5) is None


def test_colmap_does_not_take_the_programs_place_when_it_is_told_to_end() -> None:
    """In a process of its own, since COLMAP is imported once. Its own handler prints a native stack and aborts."""
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "import videogpa.critics.classical.homography\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(5)\n"
        "except KeyboardInterrupt:\n    print('as Ctrl-C')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("as Ctrl-C\n", "", 0)
