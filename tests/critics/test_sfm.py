"""The weight-free critic on rooms whose geometry is known, on clips without any, and on a real one."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from videogpa.critics import sfm
from videogpa.critics.base import CriticInput, ReconstructionFailed
from videogpa.critics.sfm import SfmCritic
from videogpa.maths.alignment import umeyama
from videogpa.maths.cameras import camera_centers
from videogpa.scoring.lpips import Lpips
from videogpa.scoring.reprojection import leave_one_out_scores
from videogpa.video import read_frames, sample_indices
from videogpa.world import controls

pytestmark = pytest.mark.slow

HEIGHT, WIDTH, FOCAL = 216, 384, 320.0
JUDGED = (0, 3, 6, 9, 12)
FRAMES = 13
TEXTURE = 1024

# Room of planes: (axis, position, extent of the other two axes or None): back wall, floor, side walls, and a panel in front.
PLANES = [
    (2, 7.0, None),
    (1, 1.6, None),
    (0, -3.0, None),
    (0, 3.5, None),
    (1, -2.0, None),
    (2, 4.0, ((-0.9, 0.3), (-0.5, 1.1))),
]


@cache
def texture(seed: int) -> np.ndarray:
    """Noise of several sizes, RGB in [0, 1]: something to hold on to at every distance."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.random((size, size, 3)), (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC) for size in (16, 64, 256)
    ]
    return np.clip(0.5 + 0.6 * (np.mean(layers, axis=0) - 0.5) * 3, 0, 1).astype(np.float32)


def raycast(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture and the exact depth of the room from a camera (camera from world)."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(u - (WIDTH - 1) / 2) / FOCAL, (v - (HEIGHT - 1) / 2) / FOCAL, np.ones_like(u, float)], axis=-1)
    directions, origin = rays @ pose[:3, :3], -pose[:3, :3].T @ pose[:3, 3]
    depth, picture = np.full((HEIGHT, WIDTH), np.inf), np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for seed, (axis, position, extent) in enumerate(PLANES):
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (position - origin[axis]) / directions[:, :, axis]
        hit = (distance > 0.05) & (distance < depth)
        first, second = (origin[other] + distance * directions[:, :, other] for other in range(3) if other != axis)
        if extent is not None:
            hit &= (first > extent[0][0]) & (first < extent[0][1]) & (second > extent[1][0]) & (second < extent[1][1])
        where = [np.where(hit, 90.0 * axis_position % (TEXTURE - 2), 0).astype(np.float32) for axis_position in (first, second)]
        colors = cv2.remap(texture(seed), *where, cv2.INTER_LINEAR)
        picture[hit], depth[hit] = colors[hit], distance[hit]
    return picture, depth.astype(np.float32)


def walk(turn: float, step: float) -> np.ndarray:
    """Return cameras that turn by `turn` radians and walk `step` metres to the side, a little forward and up, over the clip."""
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    for share, pose in zip(np.linspace(-0.5, 0.5, FRAMES), poses, strict=True):
        angle = turn * share
        pose[0, 0] = pose[2, 2] = np.cos(angle)
        pose[0, 2], pose[2, 0] = -np.sin(angle), np.sin(angle)
        pose[:3, 3] = -pose[:3, :3] @ np.array([step * share, 0.3 * step * share**2, 0.4 * step * share])
    return poses


def film(poses: np.ndarray) -> tuple[Tensor, Tensor]:
    views = [raycast(pose) for pose in poses]
    frames = torch.from_numpy(np.stack([picture for picture, _ in views])).permute(0, 3, 1, 2).contiguous()
    return frames, torch.from_numpy(np.stack([depth for _, depth in views]))


@pytest.fixture(scope="module")
def room():
    poses = walk(turn=0.15, step=1.5)
    frames, depth = film(poses)
    return (
        frames,
        depth[list(JUDGED)],
        torch.from_numpy(poses)[list(JUDGED)],
        SfmCritic().reconstruct(CriticInput(frames, JUDGED)),
    )


@pytest.fixture(scope="module")
def turning() -> Tensor:
    """The room, from a camera that turns on the spot."""
    return film(walk(turn=0.3, step=0.0))[0]


def test_cameras_of_a_known_room_are_found(room):
    _, _, poses, found = room
    assert found.status == "ok"
    assert found.measures["registered"] == len(JUDGED)
    assert found.measures["focal_widths"] == pytest.approx(FOCAL / WIDTH, rel=0.02)
    assert found.measures["epipolar"] < 0.3  # pixels; keypoints of rendered pictures are about that good
    centers = camera_centers(poses).float()
    fit = umeyama(camera_centers(found.camera_from_world), centers)
    assert torch.allclose(fit(camera_centers(found.camera_from_world)), centers, atol=0.01)  # of 1.5 m


def test_depth_of_a_known_room_is_found(room):
    _, depth, _, found = room
    small = torch.from_numpy(np.stack([cv2.resize(d, (256, 144), interpolation=cv2.INTER_NEAREST) for d in depth.numpy()]))
    sure = found.confidence == 1
    ratio = found.depth / small
    scale = ratio[sure].median()
    relative = (ratio / scale - 1).abs()
    assert sure.float().mean() > 0.8
    assert relative[sure].median() < 0.01
    assert (relative[sure] < 0.05).float().mean() > 0.95


def test_the_first_camera_is_the_world_and_its_median_depth_the_unit(room):
    found = room[3]
    assert torch.allclose(found.camera_from_world[0], torch.eye(4), atol=1e-6)
    assert found.depth[0][found.confidence[0] > 0].median() == pytest.approx(1, abs=1e-3)


def test_render_leave_one_out_of_a_known_room_resembles_it(room):
    scores = leave_one_out_scores(room[3], Lpips("alex"))
    assert scores["loo_mse"] < 0.01
    assert scores["loo_coverage"] > 0.9


def test_brightness_changes_neither_cameras_nor_depth_much(room):
    frames, _, _, found = room
    dimmed = frames * torch.linspace(1, 0.7, FRAMES)[:, None, None, None]
    again = SfmCritic().reconstruct(CriticInput(dimmed, JUDGED))
    both = (found.confidence == 1) & (again.confidence == 1)
    assert both.float().mean() > 0.75
    assert ((again.depth / found.depth)[both] - 1).abs().median() < 0.01


def test_a_focal_length_that_cannot_be_found_is_assumed_and_the_row_says_so(room, monkeypatch):
    frames, _, poses, found = room
    assert "focal_assumed" not in found.measures
    monkeypatch.setattr(sfm, "FOCAL_RANGE", (0.70, 0.74))  # that of the room is .83
    assumed = SfmCritic().reconstruct(CriticInput(frames, JUDGED))
    assert (assumed.status, assumed.measures["focal_assumed"]) == ("ok", 1.0)
    assert assumed.measures["focal_widths"] == pytest.approx(0.72)
    assert assumed.reason == "a focal length of 0.72 widths was assumed, none was found"
    centers = camera_centers(poses).float()
    fit = umeyama(camera_centers(assumed.camera_from_world), centers)
    assert torch.allclose(fit(camera_centers(assumed.camera_from_world)), centers, atol=0.3)  # of 1.5 m: the path, bent


def test_a_clip_whose_focal_length_cannot_be_found_is_scored_with_an_assumed_one(shared: Path) -> None:
    frames = read_frames(shared / "clips/cogvid/103.mp4", 25)
    found = SfmCritic().reconstruct(CriticInput(frames, tuple(sample_indices(25, 10))))
    assert (found.status, found.measures["registered"], found.measures["focal_assumed"]) == ("ok", 10, 1.0)
    assert found.measures["focal_widths"] == pytest.approx(0.72)
    assert found.reason == "a focal length of 0.72 widths was assumed, none was found"


def test_no_focal_length_is_assumed_for_a_turning_camera(turning, monkeypatch):
    monkeypatch.setattr(sfm, "FOCAL_RANGE", (2.9, 3.0))
    monkeypatch.setattr(sfm, "find_cameras", only_with_a_focal_length_found(sfm.find_cameras))
    with pytest.raises(ReconstructionFailed, match="no parallax"):
        SfmCritic().reconstruct(CriticInput(turning[::2], (0, 2, 4, 6)))


def only_with_a_focal_length_found(find):
    def checked(*arguments, assume_focal, **sizes):
        assert not assume_focal
        return find(*arguments, **sizes)

    return checked


def test_a_cut_is_named(room):
    frames = room[0].clone()
    frames[7:] = frames[7:].flip(-1)  # no feature looks like its mirror image
    found = SfmCritic().reconstruct(CriticInput(frames, JUDGED))
    assert found.status == "partial"
    assert found.measures["registered"] == 3  # those before the cut, which is between frames 6 and 7 of 0 to 12
    cut = "a cut at 54 % of the clip: nothing of the frames before is found in those after"
    assert found.reason == f"{cut}; 3 of 5 judged frames have a camera"


def test_frames_without_a_camera_make_the_result_partial(room):
    frames = room[0].clone()
    frames[:3] = torch.rand(3, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    found = SfmCritic().reconstruct(CriticInput(frames, JUDGED))
    assert found.status == "partial"
    assert found.measures["registered"] == len(found.images) == len(JUDGED) - 1
    assert found.reason == "4 of 5 judged frames have a camera"


def test_a_turning_camera_has_no_parallax(turning):
    with pytest.raises(ReconstructionFailed, match="no parallax") as failure:
        SfmCritic().reconstruct(CriticInput(turning, JUDGED))
    assert failure.value.status == "no_parallax"
    assert 0 < failure.value.measures["homography_loo"] < 0.005


def test_a_frozen_clip_is_no_evidence(room):
    frozen = room[0][:1].repeat(FRAMES, 1, 1, 1)
    with pytest.raises(ReconstructionFailed) as failure:
        SfmCritic().reconstruct(CriticInput(frozen, JUDGED))
    assert failure.value.status == "no_parallax"
    assert failure.value.measures["homography_loo"] < 1e-4


@pytest.mark.parametrize("frames", ["noise", "grey"])
def test_what_shows_nothing_fails(frames):
    shape = (FRAMES, 3, HEIGHT, WIDTH)
    clip = torch.rand(shape, generator=torch.Generator().manual_seed(0)) if frames == "noise" else torch.full(shape, 0.5)
    with pytest.raises(ReconstructionFailed) as failure:
        SfmCritic().reconstruct(CriticInput(clip, JUDGED))
    assert failure.value.status == "failed"


def test_too_few_frames_are_refused():
    with pytest.raises(ReconstructionFailed, match="at least 3"):
        SfmCritic().reconstruct(CriticInput(torch.rand(2, 3, 64, 64)))


def test_more_frames_are_read_than_judged():
    assert SfmCritic().frames_to_read(10) == 25


FINGERPRINT = """
import hashlib, pathlib, sys
from videogpa.critics.base import CriticInput
from videogpa.critics.sfm import SfmCritic
from videogpa.video import read_frames
found = SfmCritic().reconstruct(CriticInput(read_frames(pathlib.Path(sys.argv[1]), 13), (0, 3, 6, 9, 12)))
parts = [found.images, found.depth, found.confidence, found.intrinsics, found.camera_from_world]
digest = hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()
print(found.status, digest, sorted(found.measures.items()))
"""


def test_a_real_clip_is_ok_and_two_processes_agree_to_the_bit(shared: Path):
    path = shared / "clips/realestate/100.mp4"

    def run(threads: str) -> str:
        command, environment = [sys.executable, "-c", FINGERPRINT, str(path)], {"OMP_NUM_THREADS": threads, "PATH": ""}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    one, two = run("1"), run("2")
    assert one.startswith("ok ")
    assert one == two


@pytest.mark.parametrize("name", ["rotation", "zoom"])
def test_cameras_that_mappers_invent_for_a_turn_or_a_zoom_are_refused(name: str) -> None:
    frames = controls.CONTROLS[name].make(controls.CLIP_STYLES["detailed"], 0)
    with pytest.raises(ReconstructionFailed, match="no parallax") as refused:
        SfmCritic().reconstruct(CriticInput(frames, tuple(sample_indices(len(frames), 10))))
    assert refused.value.status == "no_parallax"
    assert refused.value.measures["homography_loo"] < 0.01


def test_a_room_that_is_mostly_a_wall_is_scored_where_its_parallax_is_that_of_a_room() -> None:
    """Homographies explain 99 % of its matches, as of the zoom above."""
    frames = controls.consistent(controls.CLIP_STYLES["detailed"], 0, "orbit-left")
    found = SfmCritic().reconstruct(CriticInput(frames, tuple(sample_indices(len(frames), 10))))
    assert found.status == "ok"
    assert found.measures["parallax"] > 20
