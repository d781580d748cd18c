import torch
from torch import Tensor

from videogpa.critics.networks.assembly import at_own_pixels
from videogpa.records import Reconstruction, Scene
from videogpa.world.animation import shot
from videogpa.world.paths import intrinsics
from videogpa.world.prompts import view
from videogpa.world.raycast import exact_depth


def exact(scene: Scene, height: int, width: int) -> Reconstruction:
    one, camera = shot(scene), intrinsics(height, width)
    return Reconstruction(
        images=torch.rand(scene.frames, 3, height, width),
        depth=exact_depth(one, camera, height=height, width=width),
        confidence=torch.ones(scene.frames, height, width),
        intrinsics=camera.expand(scene.frames, 3, 3),
        camera_from_world=one.camera_from_world,
    )


def test_enlarged_frames_are_judged_at_their_own_pixels() -> None:
    """The geometry of a scene at three times the size, brought back, is the geometry of the scene."""
    scene = Scene(seed=4, camera="truck-left", frames=3, height=32, width=48, style="plain")
    frames: Tensor = view(scene).images
    found, truth = at_own_pixels(exact(scene, 96, 144), frames), exact(scene, 32, 48)
    assert torch.equal(found.images, frames)
    torch.testing.assert_close(found.intrinsics, truth.intrinsics)
    torch.testing.assert_close(found.depth, truth.depth, rtol=1e-5, atol=1e-4)  # the middle one of three pixels is the pixel
    assert found.confidence.shape == found.depth.shape
    assert found.measures["points"] == found.depth.numel()


def test_shrunk_frames_stay_as_the_network_saw_them() -> None:
    scene = Scene(seed=4, camera="truck-left", frames=3, height=32, width=48, style="plain")
    found = exact(scene, 16, 24)
    assert at_own_pixels(found, view(scene).images) is found
