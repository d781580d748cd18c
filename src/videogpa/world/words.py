"""Texts for scenes and camera paths: one scripted sentence for each path, and several natural wordings.

A model trained on the scripted sentences can be tested with natural ones, to see whether alignment carries over to unseen
words.
"""

import re
from random import Random
from typing import get_args

from videogpa.config import Language
from videogpa.world.paths import PATHS

STATIC = "A quiet room with a few objects. Everything stands still; only the camera moves."

OPENINGS = (
    "Inside a room some shapes stand on the floor, and none of them stirs.",
    "An indoor scene, frozen in time, with a handful of things in the middle.",
    "A plain interior where every object stays exactly in its place.",
    "We are in a small hall; whatever stands there is at rest.",
)
"""Natural wordings of `STATIC`."""

PARAPHRASES: dict[str, tuple[str, ...]] = {
    "orbit-left": (
        "We walk around the things leftwards and keep looking at them.",
        "The viewpoint travels on an arc to the left, the middle of the room always in view.",
        "Circle the shapes, going left.",
        "Someone films the group while stepping round it, towards the left-hand side.",
        "The shot curves around the centre, from the front to its left flank.",
    ),
    "orbit-right": (
        "We walk around the things rightwards and keep looking at them.",
        "The viewpoint travels on an arc to the right, the middle of the room always in view.",
        "Circle the shapes, going right.",
        "Someone films the group while stepping round it, towards the right-hand side.",
        "The shot curves around the centre, from the front to its right flank.",
    ),
    "dolly-in": (
        "We come closer, straight ahead.",
        "Push in towards the far wall.",
        "The viewer walks into the room, and everything grows larger.",
        "A slow approach from the front.",
        "Step by step the shot gets nearer.",
    ),
    "dolly-out": (
        "We back away, still facing the same wall.",
        "Pull out so that more of the room comes into view.",
        "The viewer retreats, and everything grows smaller.",
        "A slow withdrawal, straight back.",
        "Step by step the shot gets wider.",
    ),
    "truck-left": (
        "We sidestep to the left, looking straight ahead.",
        "The viewpoint shifts left on a rail, in parallel with the wall.",
        "Move sideways, leftwards, without turning.",
        "A lateral tracking shot that heads left.",
        "The whole view glides off to the left-hand side.",
    ),
    "truck-right": (
        "We sidestep to the right, looking straight ahead.",
        "The viewpoint shifts right on a rail, in parallel with the wall.",
        "Move sideways, rightwards, without turning.",
        "A lateral tracking shot that heads right.",
        "The whole view glides off to the right-hand side.",
    ),
    "rise-up": (
        "We go up like a lift and look down on the things more and more.",
        "A crane shot upwards.",
        "The viewpoint climbs towards the ceiling.",
        "Get higher, eyes on the middle of the room.",
        "Seen from an ever greater height.",
    ),
    "rise-down": (
        "We go down like a lift until we are level with the things.",
        "A crane shot downwards.",
        "The viewpoint descends towards the floor.",
        "Get lower, eyes on the middle of the room.",
        "Seen from an ever smaller height.",
    ),
    "pan-left": (
        "We stay where we are and look to the left.",
        "Turn the head leftwards, feet on the spot.",
        "A pan to the left from a tripod.",
        "The gaze sweeps over the room, off to its left side.",
        "Rotate left without taking a step.",
    ),
    "pan-right": (
        "We stay where we are and look to the right.",
        "Turn the head rightwards, feet on the spot.",
        "A pan to the right from a tripod.",
        "The gaze sweeps over the room, off to its right side.",
        "Rotate right without taking a step.",
    ),
}


def request(camera: str, language: Language, seed: int) -> str:
    """Return a text that asks for a static room seen along a camera path; the seed chooses among natural wordings."""
    if language == "scripted":
        return f"{STATIC} {PATHS[camera][2]}"
    choose = Random(seed)
    return f"{choose.choice(OPENINGS)} {choose.choice(PARAPHRASES[camera])}"


def requests(camera: str, language: Language) -> list[str]:
    """Return every text that may ask for a camera path in a language."""
    if language == "scripted":
        return [f"{STATIC} {PATHS[camera][2]}"]
    return [f"{opening} {sentence}" for opening in OPENINGS for sentence in PARAPHRASES[camera]]


def vocabulary() -> list[str]:
    """Return every word of both languages in lower case, sorted: what a tokenizer must know."""
    texts = [text for camera in PATHS for language in get_args(Language) for text in requests(camera, language)]
    return sorted({word for text in texts for word in re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower())})
