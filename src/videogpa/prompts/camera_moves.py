"""Texts that ask for a scene that stands still and a camera that moves: what the geometry of a clip can be judged by.

As the paper's image-to-video prompts (arXiv 2601.23286), a fixed sentence and two or three moves of the camera. Unlike them,
one of the moves always changes where the camera stands: turning on the spot shows nothing of the depth, so that clips of
turns alone cannot be scored.
"""

import random
from enum import Enum
from typing import Literal

from videogpa.config import CameraPrompts

Axis = Literal["dolly", "truck", "pedestal", "orbit", "pan", "tilt", "roll"]
"""What a move changes. Two moves along one axis would repeat or undo each other, so that a text has one of each at most."""

TRAVELS: tuple[Axis, ...] = ("dolly", "truck", "pedestal", "orbit")
TURNS: tuple[Axis, ...] = ("pan", "tilt", "roll")

STATIC = "One unbroken shot of a scene that stands completely still: nothing in it moves or changes, only the camera does."


class Move(Enum):
    """A move of the camera. Zooms are none: they change the lens."""

    DOLLY_IN = ("dolly", "moves slowly forward, deeper into the scene")
    DOLLY_OUT = ("dolly", "moves slowly backward, away from the scene")
    TRUCK_LEFT = ("truck", "slides sideways to the left")
    TRUCK_RIGHT = ("truck", "slides sideways to the right")
    RISE = ("pedestal", "rises straight up")
    SINK = ("pedestal", "sinks straight down")
    ORBIT_LEFT = ("orbit", "circles to the left around the middle of the scene, which it keeps in view")
    ORBIT_RIGHT = ("orbit", "circles to the right around the middle of the scene, which it keeps in view")
    PAN_LEFT = ("pan", "turns gently to the left")
    PAN_RIGHT = ("pan", "turns gently to the right")
    TILT_UP = ("tilt", "tilts gently upward")
    TILT_DOWN = ("tilt", "tilts gently downward")
    ROLL = ("roll", "leans slightly to one side")

    def __init__(self, axis: Axis, phrase: str) -> None:
        self.axis = axis
        self.phrase = phrase


def choose_moves(key: str, config: CameraPrompts) -> list[Move]:
    """Draw the moves of the prompt called `key`. They follow from key and seed alone, whatever other prompts there are."""
    draw = random.Random(f"{config.seed}/{key}")
    first = draw.choice(TRAVELS)
    others = draw.sample([axis for axis in (*TRAVELS, *TURNS) if axis != first], draw.randint(*config.moves) - 1)
    axes = [first, *others]
    draw.shuffle(axes)
    return [draw.choice([move for move in Move if move.axis == axis]) for axis in axes]


def camera_text(moves: list[Move], caption: str = "") -> str:
    """Return the text that asks for the moves, in their order, through the scene of the caption.

    The caption comes last: text encoders cut off what is too long for them (CogVideoX after 226 tokens).
    """
    first, *later = [move.phrase for move in moves]
    camera = f"The camera first {first}" if later else f"The camera {first}"
    camera += "".join(f", then {phrase}" for phrase in later[:-1])
    camera += "".join(f", and {'finally' if len(later) > 1 else 'then'} {phrase}" for phrase in later[-1:])
    return f"{STATIC} {camera}." + (f" The scene: {caption}" if caption else "")
