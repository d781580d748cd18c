"""The plans of the models: sizes, seeds, and the length of each training."""

from dataclasses import dataclass, replace

from videogpa.critics.networks.vggt import VggtConfig
from videogpa.world.failures import FailureKind

TRAINING_SCENES = 1_000_000  # seeds from here on; recipes draw theirs below it, and their held-out ones from 500,000 on
CHECKED_SCENES = 900_000  # seeds of neither training nor any recipe, for checks while something is tuned

SMALL_VGGT = VggtConfig(
    patch_size=8,
    embed_dim=128,
    vit_depth=2,
    depth=4,
    num_heads=4,
    img_size=64,
    num_register_tokens=1,
    dpt_layers=(0, 1, 2, 3),
    dpt_features=32,
    dpt_out_channels=(32, 64, 128, 128),
    camera_trunk_depth=2,
    camera_heads=4,
)
"""66 tokens per frame, with frames enlarged to 64 pixels. Coarser patches cannot resolve edges of the depth."""


@dataclass(frozen=True)
class Plan:
    """All settings that determine the models, apart from the machine."""

    frames: int = 9
    size: int = 32
    """Height and width of the clips, in pixels."""
    seed: int = 0
    failures: tuple[FailureKind, ...] = ("drift", "swell", "deform", "vanish", "jump")
    """The kinds of failure in every second training clip, at strengths from `weakest` to 1."""
    weakest: float = 0.5

    vae_widths: tuple[int, ...] = (16, 32, 64)
    vae_groups: int = 1
    latent_channels: int = 8
    vae_rate: float = 2e-3
    vae_steps: int = 20_000

    clips: int = 32768
    chunk: int = 256
    """The number of clips whose latents are in one file."""

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
    """The share of clips with a natural text, of which there are twenty times as many as scripted ones."""
    steps: int = 60_000

    geometry: VggtConfig = SMALL_VGGT
    geometry_batch: int = 8
    geometry_rate: float = 5e-4
    geometry_steps: int = 40_000

    checkpoint_seconds: float = 120.0

    checked_scenes: int = 20
    checked_seeds: int = 4
    sampling_steps: int = 10


TINY = Plan()
"""The models that ship."""

COARSE = replace(TINY, geometry=SMALL_VGGT.model_copy(update={"patch_size": 14, "img_size": 56}))
"""The plan of the geometry model's warm start: 18 tokens per frame suffice to learn camera motion, in a third of the time."""

FINE = replace(TINY, size=64, patch=4, clips=16384)
"""Models for larger clips with as many patches of the video, so that they can start from these models."""

PLANS = {"coarse": COARSE, "miniature": TINY, "fine": FINE}
