"""Prompts of the miniature world: each has a scene with a camera path, a text that asks for it, and a first frame."""

from dataclasses import replace

from videogpa.config import WorldPrompts
from videogpa.records import Prompt, Scene
from videogpa.world.animation import shot
from videogpa.world.camera_effects import filmed
from videogpa.world.paths import PATHS, intrinsics
from videogpa.world.raycast import View, render_shots
from videogpa.world.words import request

HELD_OUT_SEED = 500_000  # added to the seed for held-out scenes, so that no number of training scenes reaches them


def world_prompts(config: WorldPrompts) -> list[Prompt]:
    """Return the training prompts, then the held-out ones. No scene is in both splits; all camera paths are used in turn."""
    splits = [("train", config.train, config.seed), ("held_out", config.held_out, config.seed + HELD_OUT_SEED)]
    return [
        Prompt(
            prompt=f"{split}-{number:04d}",
            text=request(camera, config.language, seed=first + number),
            image=f"prompts/{split}-{number:04d}.png",
            scene=_scene(config, first + number, camera),
            split=split,
        )
        for split, count, first in splits
        for number, camera in zip(range(count), _take_turns(count), strict=True)
    ]


def _scene(config: WorldPrompts, seed: int, camera: str) -> Scene:
    size = {"frames": config.frames, "height": config.height, "width": config.width}
    return Scene(seed=seed, camera=camera, style=config.style, **size)


def _take_turns(count: int) -> list[str]:
    names = list(PATHS)
    return [names[number % len(names)] for number in range(count)]


def view(scene: Scene) -> View:
    """Render the clip of a scene that a perfect model would generate."""

    def rendered(asked: Scene) -> View:
        return render_shots([shot(asked)], intrinsics(asked.height, asked.width), height=asked.height, width=asked.width)

    seen = rendered(scene)
    return replace(seen, images=filmed(scene, lambda finer: (seen if finer == scene else rendered(finer)).images))
