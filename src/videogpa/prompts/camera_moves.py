"""Texts that ask for a static scene and a moving camera, since only such clips have a geometry that can be scored.

As in the image-to-video prompts of VideoGPA (https://arxiv.org/abs/2601.23286), a text is a fixed sentence and two or three
camera moves. Unlike there, at least one of the moves is a translation: pure rotation has no parallax and shows nothing of the
depth, so that such clips cannot be scored.
"""

import random
from enum import Enum
from typing import Literal

from videogpa.config import CameraPrompts

Axis = Literal["dolly", "truck", "pedestal", "orbit", "pan", "tilt", "roll"]
"""What a move changes. A text has one move per axis at most, since two would repeat or undo each other."""

TRAVELS: tuple[Axis, ...] = ("dolly", "truck", "pedestal", "orbit")
TURNS: tuple[Axis, ...] = ("pan", "tilt", "roll")

STATIC = "One unbroken shot of a scene that stands completely still: nothing in it moves or changes, only the camera does."


class Move(Enum):
    """A move of the camera. Zooms are left out: they change the focal length, not the camera's pose."""

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
    """Draw the camera moves of a prompt.

    Args:
        key: The id of the prompt. The moves depend on it and on the seed alone, not on other prompts.
        config: How many moves are drawn, and the seed.

    Returns:
        The moves in their order; at least one is a translation.
    """
    draw = random.Random(f"{config.seed}/{key}")
    first = draw.choice(TRAVELS)
    others = draw.sample([axis for axis in (*TRAVELS, *TURNS) if axis != first], draw.randint(*config.moves) - 1)
    axes = [first, *others]
    draw.shuffle(axes)
    return [draw.choice([move for move in Move if move.axis == axis]) for axis in axes]


def camera_text(moves: list[Move], caption: str = "") -> str:
    """Return the text that asks for camera moves.

    The caption comes last because text encoders cut off long texts (CogVideoX's after 226 tokens).

    Args:
        moves: The moves, in their order; at least one.
        caption: Describes the scene; "" for no description.
    """
    first, *later = [move.phrase for move in moves]
    camera = f"The camera first {first}" if later else f"The camera {first}"
    camera += "".join(f", then {phrase}" for phrase in later[:-1])
    camera += "".join(f", and {'finally' if len(later) > 1 else 'then'} {phrase}" for phrase in later[-1:])
    return f"{STATIC} {camera}." + (f" The scene: {caption}" if caption else "")
