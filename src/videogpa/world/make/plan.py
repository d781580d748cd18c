"""What is made: sizes, seeds and how long each part is trained."""

from dataclasses import dataclass

from videogpa.world.failures import FailureKind

TRAINING_SCENES = 1_000_000  # seeds from here on; recipes draw theirs below it, and their held-out ones from 500,000 on
CHECKED_SCENES = 900_000  # neither those of training nor those of any recipe: what is looked at while something is tuned


@dataclass(frozen=True)
class Plan:
    """Everything that decides what is made, apart from the machine."""

    frames: int = 9
    size: int = 32
    """Height and width of the clips, in pixels."""
    seed: int = 0
    failures: tuple[FailureKind, ...] = ("drift", "swell", "deform", "vanish", "jump")
    """What goes wrong in every second training clip, at strengths from `weakest` to 1."""
    weakest: float = 0.5

    vae_widths: tuple[int, ...] = (16, 32, 64)
    vae_groups: int = 1
    latent_channels: int = 8
    vae_rate: float = 2e-3
    vae_steps: int = 20_000

    clips: int = 8192
    chunk: int = 256
    """Clips whose latents stand in one file."""

    heads: int = 4
    head_width: int = 48
    layers: int = 6
    time_width: int = 64
    patch: int = 2
    text_width: int = 64
    text_tokens: int = 32
    batch: int = 16
    rate: float = 1e-3
    natural: float = 0.25
    """Share of the clips that are asked for in natural words, of which there are twenty times as many as scripted ones."""
    steps: int = 60_000

    checkpoint_seconds: float = 120.0

    checked_scenes: int = 20
    checked_seeds: int = 4
    sampling_steps: int = 10


MINIATURE = Plan()
"""The model that ships."""
