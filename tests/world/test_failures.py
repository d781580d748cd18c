import pytest
import torch
from pydantic import ValidationError

from videogpa.records import Scene, Style
from videogpa.world.animation import shot
from videogpa.world.failures import FAILURES, Failure, FailureKind, render_failing, render_takes, take
from videogpa.world.prompts import view


def scene(seed: int = 3, style: Style = "rich", camera: str = "orbit-left", moving: int = 0) -> Scene:
    return Scene(seed=seed, camera=camera, frames=5, height=24, width=32, style=style, moving=moving)


@pytest.mark.parametrize("style", ["rich", "plain"])
@pytest.mark.parametrize("kind", FAILURES)
def test_the_first_frame_is_true_strength_0_changes_nothing_and_more_strength_more(kind: FailureKind, style: Style) -> None:
    true = view(scene(style=style)).images
    assert torch.equal(render_failing(scene(style=style), Failure(kind=kind, strength=0.0, seed=1)), true)
    changes = []
    for strength in (0.25, 0.5, 1.0):
        failing = render_failing(scene(style=style), Failure(kind=kind, strength=strength, seed=1))
        assert torch.equal(failing[0], true[0])
        assert 0 <= float(failing.min()) <= float(failing.max()) <= 1
        changes.append(float((failing - true).square().mean()))
    assert 1e-6 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("kind", FAILURES)
def test_failures_follow_from_their_seed_alone(kind: FailureKind) -> None:
    one, again, other = (render_failing(scene(), Failure(kind=kind, strength=0.8, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_clip_does_not_depend_on_what_is_rendered_with_it() -> None:
    """Worlds of different sizes, with and without overlays, in one batch."""
    wanted = [(scene(seed), None) for seed in range(3)]
    wanted += [
        (scene(seed, camera="dolly-in"), Failure(kind=kind, strength=0.7, seed=seed)) for seed, kind in enumerate(FAILURES)
    ]
    together = render_takes([take(*one) for one in wanted], 24, 32)
    for clip, (asked, failure) in zip(together, wanted, strict=True):
        alone = view(asked).images if failure is None else render_failing(asked, failure)
        assert torch.equal(clip, alone)


def test_a_failure_is_typed_and_bounded() -> None:
    for impossible in (
        {"kind": "melt", "strength": 0.5},
        {"kind": "drift", "strength": 1.5},
        {"kind": "drift", "strength": -0.1},
    ):
        with pytest.raises(ValidationError):
            Failure.model_validate(impossible)
    assert Failure.model_validate_json(Failure(kind="swim", strength=0.5).model_dump_json()) == Failure(
        kind="swim", strength=0.5
    )


def test_moving_objects_move_rigidly_and_the_others_not_at_all() -> None:
    filmed = shot(scene(moving=2))
    maps = filmed.object_poses
    torch.testing.assert_close(maps[..., :3, :3] @ maps[..., :3, :3].mT, torch.eye(3).expand_as(maps[..., :3, :3]))
    torch.testing.assert_close(torch.linalg.det(maps[..., :3, :3]), torch.ones(maps.shape[:2]))
    assert torch.equal(maps[0], torch.eye(4).expand_as(maps[0]))
    assert torch.equal(maps[:, 2:], torch.eye(4).expand_as(maps[:, 2:]))
    assert (maps[-1, :2, :3, 3].norm(dim=-1) > 0.1).all()
    assert torch.equal(maps[..., 1, :], torch.eye(4)[1].expand_as(maps[..., 1, :]))  # they stay on the floor
    assert not torch.equal(view(scene(moving=2)).depth, view(scene()).depth)
