"""The clips of the gallery: one scene of the miniature world, filmed well, badly, and in ways that show no depth.

    python benchmarks/gallery_clips.py my-clips            # writes them as video files, to try `videogpa score` on
    python benchmarks/gallery_clips.py my-clips --only consistent melt noise

All clips have 25 frames of 480 x 288 pixels and follow from the seed below.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.records import Scene
from videogpa.video import write_video
from videogpa.world.animation import Shot, at_frames, clock, shot, still, translation
from videogpa.world.failures import Failure, take
from videogpa.world.paths import camera_path, intrinsics
from videogpa.world.raycast import render_shots
from videogpa.world.scenes import BOX, make_world

FRAMES, HEIGHT, WIDTH, FPS = 25, 288, 480, 8
SEED, CAMERA = 19, "truck-right"
WALKED = 2  # the clip shows the first half of the path: neighbouring frames are then as alike as those of a real film
DRIFT = 0.5  # metres that one object moves in the course of a clip
NEARLY_STILL = 0.2  # share of the path that the camera of the nearly frozen clip walks
AT_ONCE = 5  # frames rendered together: a detailed surface takes 400 bytes a pixel

Clip = Float[Tensor, "frames 3 height width"]


@dataclass(frozen=True)
class Exhibit:
    """A clip of the gallery: what it shows, and how it is made."""

    shows: str
    make: Callable[[], Clip]


def film(what: Shot) -> Clip:
    """Render every frame of a shot, RGB in [0, 1]."""
    parts = [at_frames(what, range(i, min(i + AT_ONCE, FRAMES))) for i in range(0, FRAMES, AT_ONCE)]
    camera = intrinsics(HEIGHT, WIDTH)
    return torch.cat([render_shots([part], camera, height=HEIGHT, width=WIDTH).images for part in parts])


def consistent(camera: str = CAMERA) -> Clip:
    """Return the clip in which only the camera moves."""
    return film(_still(camera))


def drifting() -> Clip:
    """Return the clip in which a box moves sideways as the camera does."""
    what = _still(CAMERA)
    offsets = torch.zeros(FRAMES, len(what.world.kinds), 3)
    offsets[:, int((what.world.kinds == BOX).nonzero()[0]), 0] = DRIFT * clock(FRAMES)
    return film(replace(what, object_poses=translation(offsets)))


def melting() -> Clip:
    """Return the clip in which objects lean over and go flat."""
    return film(take(_scene(FRAMES * WALKED), Failure(kind="deform", strength=1.0, seed=SEED)).shot)


def swimming() -> Clip:
    """Return the clip in which textures travel over surfaces that stand still."""
    return film(take(_scene(FRAMES * WALKED), Failure(kind="swim", strength=1.0, seed=SEED)).shot)


def walking() -> Clip:
    """Return the clip in which every object moves as a rigid body: nothing is wrong, but the scene is not static."""
    return film(shot(_all_moving(_scene(FRAMES * WALKED))))


def _all_moving(scene: Scene) -> Scene:
    """Return the scene with all of its objects moving."""
    return scene.model_copy(update={"moving": 5})


def nearly_frozen() -> Clip:
    """Return the clip whose camera hardly moves."""
    path = camera_path(CAMERA, round(FRAMES / NEARLY_STILL))[:FRAMES]
    return film(still(make_world(SEED, "detailed"), path))


def frozen() -> Clip:
    """Return the first frame, repeated."""
    return consistent()[:1].expand(FRAMES, -1, -1, -1).contiguous()


def noise() -> Clip:
    """Return independent noise in every frame."""
    return torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(SEED))


def cut() -> Clip:
    """Return the clip that changes to another scene in the middle."""
    other = film(still(make_world(SEED + 500, "detailed"), camera_path(CAMERA, FRAMES * WALKED)[:FRAMES]))
    return torch.cat([consistent()[: FRAMES // 2], other[FRAMES // 2 :]])


EXHIBITS: dict[str, Exhibit] = {
    "consistent": Exhibit("everything stands still, the camera moves sideways", consistent),
    "drift": Exhibit("the box slides half a metre", drifting),
    "melt": Exhibit("objects lean over and go flat", melting),
    "swim": Exhibit("textures travel over still surfaces", swimming),
    "walk": Exhibit("objects move as rigid bodies: a correct clip of a scene that is not static", walking),
    "nearly-frozen": Exhibit("the camera hardly moves", nearly_frozen),
    "frozen": Exhibit("one frame, repeated", frozen),
    "rotation": Exhibit("the camera turns on the spot", lambda: consistent("pan-left")),
    "cut": Exhibit("another scene from the middle on", cut),
    "noise": Exhibit("independent noise in every frame", noise),
}


def _scene(frames: int) -> Scene:
    return Scene(seed=SEED, camera=CAMERA, frames=frames, height=HEIGHT, width=WIDTH, style="detailed")


def _still(camera: str) -> Shot:
    return still(make_world(SEED, "detailed"), camera_path(camera, FRAMES * WALKED)[:FRAMES])


def main() -> None:
    """Write the clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the video files go")
    parser.add_argument("--only", nargs="+", choices=EXHIBITS, default=list(EXHIBITS), help="which clips; default: all")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        write_video(arguments.folder / f"{name}.mp4", EXHIBITS[name].make(), FPS)
        print(f"{name}: {EXHIBITS[name].shows}", flush=True)


if __name__ == "__main__":
    main()
