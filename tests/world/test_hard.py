from dataclasses import replace
from typing import get_args

import pytest
import torch

from videogpa.maths.cameras import unproject
from videogpa.records import HardKind, Scene
from videogpa.storage.fingerprints import FIRST, hashed
from videogpa.world import failures
from videogpa.world.animation import still
from videogpa.world.camera_effects import DARK, EFFECTS, STEPS, SWING
from videogpa.world.failures import Failure, FailureKind, render_failing, render_takes, take
from videogpa.world.materials import FAR_WALL, FENCE_AT, FLOOR, HAZE, MIRROR, ROD, hardened
from videogpa.world.paths import camera_path, intrinsics
from videogpa.world.prompts import view
from videogpa.world.ray_tables import ABSENT
from videogpa.world.raycast import HAZE_BRIGHTNESS, render, render_shots
from videogpa.world.scenes import WALLS, World, make_world

KINDS = get_args(HardKind)
SIZE = {"height": 37, "width": 48}


def scene(hard: HardKind | None, frames: int = 3) -> Scene:
    return Scene(seed=3, camera="truck-right", frames=frames, hard=hard, **SIZE)


def pictured(world: World, frames: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    seen = render(world, intrinsics(**SIZE), camera_path("truck-right", frames), **SIZE)
    return seen.images, seen.depth, seen.surface


@pytest.mark.parametrize("kind", KINDS)
def test_a_hard_scene_looks_different_keeps_its_geometry_and_can_fail(kind: HardKind) -> None:
    plain, hard = view(scene(None)), view(scene(kind))
    assert hard.images.shape == plain.images.shape
    assert float((hard.images - plain.images).abs().mean()) > 0.003
    assert 0 <= float(hard.images.min()) <= float(hard.images.max()) <= 1
    same = hard.depth == plain.depth
    assert bool(same.all()) is (kind != "rods")
    assert bool((hard.depth <= plain.depth).all())  # a fence stands in front
    assert torch.equal(render_failing(scene(kind), None), hard.images)
    failing = render_failing(scene(kind), Failure(kind="deform", strength=0.75, seed=1))
    assert float((failing - hard.images).abs().mean()) > 0.001


def test_every_kind_is_made_by_the_world_or_by_the_camera() -> None:
    world = make_world(3)
    for kind in KINDS:
        assert (hardened(world, kind) is world) == (kind in EFFECTS)
    assert hardened(world, None) is world


def test_a_mirror_shows_what_a_camera_behind_it_would_see_through_it() -> None:
    """The twin: the camera is reflected at the far wall, and the room is rendered from there."""
    world = make_world(3)
    mirrored = replace(world, textures=replace(world.textures, reflection=torch.zeros(WALLS + len(world.kinds))))
    mirrored.textures.reflection[FAR_WALL] = 1.0
    reflected = torch.diag(torch.tensor([1.0, 1, -1, 1]))
    reflected[2, 3] = 2 * world.room[1, 2]
    twin = render(world, intrinsics(**SIZE), camera_path("truck-right", 2) @ reflected, **SIZE)
    images, _, surface = pictured(mirrored)
    inside = (surface == FAR_WALL)[:, None].expand_as(images)
    assert inside.float().mean() > 0.05
    differences = (images - twin.images).abs()[inside]
    assert float(differences.median()) < 5e-4
    assert float((differences < 0.01).float().mean()) > 0.75  # the rest are outlines, which are smoothed on one side only
    weaker = pictured(hardened(world, "mirror"))[0]
    assert float((weaker - twin.images).abs()[inside].quantile(0.8)) < 2 * (1 - MIRROR)


def test_clear_glass_that_reflects_nothing_is_not_seen_though_it_is_there() -> None:
    world = make_world(3)
    clear = torch.zeros(WALLS + len(world.kinds))
    clear[WALLS:] = 1.0
    glass = replace(world, textures=replace(world.textures, transparency=clear))
    empty = replace(world, kinds=torch.full_like(world.kinds, ABSENT))
    images, depth, surface = pictured(glass)
    behind, far, _ = pictured(empty)
    inside = surface >= WALLS
    assert bool((depth[inside] < far[inside]).all())
    differences = (images - behind).abs()[inside[:, None].expand_as(images)]
    assert float(differences.quantile(0.8)) < 1e-3


def test_fog_leaves_of_the_contrast_what_the_distance_says() -> None:
    world = make_world(3)
    clear, depth, surface = pictured(world)
    foggy, _, _ = pictured(hardened(world, "fog"))
    v, u = torch.meshgrid(torch.arange(37), torch.arange(48), indexing="ij")
    ray = torch.linalg.inv(intrinsics(**SIZE)) @ torch.stack([u, v, torch.ones_like(u)]).flatten(1).float()
    distance = depth * ray.norm(dim=0).view(37, 48)
    expected = HAZE_BRIGHTNESS + (clear - HAZE_BRIGHTNESS) * (-HAZE * distance).exp()[:, None]
    differences = (foggy - expected).abs().amax(1)
    assert float(differences.quantile(0.8)) < 1e-5  # outlines mix distances
    assert float(differences[surface == FLOOR].median()) < 1e-5


def test_a_fence_of_thin_rods_is_there_to_the_millimetre() -> None:
    world = make_world(3)
    fenced = hardened(world, "rods")
    _, depth, surface = pictured(fenced)
    _, open_depth, _ = pictured(world)
    rods = surface >= WALLS + len(world.kinds)
    assert 0.01 < float(rods.float().mean()) < 0.2
    assert bool((depth[rods] < open_depth[rods]).all())
    assert torch.equal(depth[~rods], open_depth[~rods])
    points = unproject(depth, intrinsics(**SIZE).expand(2, 3, 3), camera_path("truck-right", 2))
    assert float((points[rods][:, 2] - FENCE_AT).abs().max()) < ROD + 1e-4


def test_water_moves_by_itself_and_nothing_else_does() -> None:
    whole = still(hardened(make_world(3), "water"), camera_path("truck-right", 9)[:1].expand(9, -1, -1))  # the camera stands
    seen = render_shots([whole], intrinsics(**SIZE), **SIZE)
    changes = (seen.images[1:] - seen.images[:1]).abs().amax((0, 1))
    floor = seen.surface[0] == FLOOR
    assert float(changes[floor].median()) > 0.05
    assert float((changes[~floor] > 0).float().mean()) < 0.15  # along the floor's outline


def test_blurred_frames_are_the_mean_over_the_open_shutter() -> None:
    finer = view(scene(None, frames=2 * STEPS + 1)).images
    blurred = view(scene("motion-blur")).images
    torch.testing.assert_close(blurred[1], finer[STEPS - 2 : STEPS + 3].mean(0))
    torch.testing.assert_close(blurred[0], finer[[0, 0, 0, 1, 2]].mean(0))


def test_a_rolling_shutter_reads_the_upper_rows_earlier_and_the_lower_ones_later() -> None:
    finer = view(scene(None, frames=2 * STEPS + 1)).images
    read = view(scene("rolling-shutter")).images
    torch.testing.assert_close(read[1, :, 18], finer[STEPS, :, 18])
    torch.testing.assert_close(read[1, :, 0], finer[STEPS - STEPS // 2, :, 0])
    torch.testing.assert_close(read[1, :, -1], finer[STEPS + STEPS // 2, :, -1])


def test_low_light_and_exposure_change_the_brightness_as_they_say() -> None:
    plain = view(scene(None)).images
    dark, uneven = (view(scene(kind)).images for kind in ("low-light", "exposure"))
    noise = dark - DARK * plain
    assert abs(float(noise.mean())) < 1e-3
    assert 0.012 < float(noise.std()) < 0.035
    gains = (SWING * torch.tensor([0.0, torch.pi * 1.5, torch.pi * 3]).sin()).exp()
    torch.testing.assert_close(uneven, (plain * gains[:, None, None, None]).clamp(0, 1))


@pytest.mark.parametrize("kind", ["fade", "jump"])
def test_frames_rendered_a_few_at_a_time_are_the_same(kind: FailureKind, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, failure = scene(None), Failure(kind=kind, strength=0.6, seed=2)
    monkeypatch.setattr(failures, "PIXELS_AT_ONCE", 1)
    assert torch.equal(render_failing(asked, failure), render_takes([take(asked, failure)], 37, 48)[0])


def test_scenes_that_are_not_hard_are_hashed_as_before_there_were_such() -> None:
    assert set(hashed(scene(None))) == set(FIRST["Scene"].split())
    assert hashed(scene("fog"))["hard"] == "fog"
