"""Prompts of the miniature world: a scene, a camera path, the sentence that asks for both, and the first frame."""

from videogpa.config import WorldPrompts
from videogpa.records import Prompt, Scene
from videogpa.world.animation import shot
from videogpa.world.paths import PATHS, intrinsics
from videogpa.world.raycast import View, render_shots
from videogpa.world.words import STATIC as STATIC  # where it was before it moved beside the other words
from videogpa.world.words import request

HELD_OUT_SEED = 500_000  # held-out scenes are drawn from here on, so that more training scenes never reach them


def world_prompts(config: WorldPrompts) -> list[Prompt]:
    """Return the training prompts, then the held-out ones. No scene is in both; camera paths take turns."""
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
    """Render the true clip of a scene: what a perfect model would generate."""
    camera = intrinsics(scene.height, scene.width)
    return render_shots([shot(scene)], camera, height=scene.height, width=scene.width)
