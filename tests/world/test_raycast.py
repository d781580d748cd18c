from dataclasses import replace

import pytest
import torch

from videogpa.records import Scene
from videogpa.world.animation import at_frames, shot
from videogpa.world.failures import FAILURES, Failure, FailureKind, take
from videogpa.world.paths import PATHS, intrinsics
from videogpa.world.ray_tables import build_tables
from videogpa.world.raycast import _all_rays, _cast, exact_depth, render_shots

SIDE = 24


@pytest.mark.parametrize("kind", FAILURES)
def test_rays_tried_against_their_rectangles_only_hit_what_all_rays_would(kind: FailureKind) -> None:
    """The slow twin: every ray against every object, leaning, swollen or displaced."""
    for seed, camera in enumerate(PATHS):
        scene = Scene(seed=seed, camera=camera, frames=3, height=SIDE, width=SIDE)
        film = build_tables(
            [take(scene, Failure(kind=kind, strength=1.0)).shot], intrinsics(SIDE, SIDE), height=SIDE, width=SIDE
        )
        everywhere = torch.tensor([[0], [0], [SIDE], [SIDE]])
        slow = replace(film, objects=tuple(replace(each, box=everywhere.expand_as(each.box)) for each in film.objects))
        seen, twin = (_cast(one, _all_rays(one)) for one in (film, slow))
        assert torch.equal(seen.depth, twin.depth)
        assert torch.equal(seen.surface, twin.surface)


def test_depth_is_that_of_the_view_and_frames_can_be_taken_alone() -> None:
    intended = shot(Scene(seed=2, camera="dolly-in", frames=5, height=SIDE, width=SIDE, moving=3))
    camera = intrinsics(SIDE, SIDE)
    whole = render_shots([intended], camera, height=SIDE, width=SIDE)
    assert torch.equal(exact_depth(intended, camera, height=SIDE, width=SIDE), whole.depth)
    some = render_shots([at_frames(intended, [1, 4])], camera, height=SIDE, width=SIDE)
    assert torch.equal(some.images, whole.images[[1, 4]])
    assert torch.equal(some.surface, whole.surface[[1, 4]])
