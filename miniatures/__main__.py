"""`python -m miniatures --out DIR`: make the miniature models that ship with the package."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import tyro

from miniatures.check import check
from miniatures.export import MODEL, export
from miniatures.fit import Budget
from miniatures.geometry import GEOMETRY, train_geometry
from miniatures.geometry_check import check_geometry
from miniatures.latents import encode_clips
from miniatures.plan import PLANS
from miniatures.transformer import train_transformer
from miniatures.vae import train_vae
from videogpa.devices import pick_device

Stage = Literal["vae", "latents", "transformer", "export", "check", "vggt", "vggt-check"]


@dataclass(frozen=True)
class Make:
    """Make the miniatures, stage after stage: the image-to-video model, then the geometry model.

    What is made already is kept, and a training that was killed goes on from its last checkpoint; give the same arguments
    again. With --minutes the number of steps depends on the machine; without, the result follows from the seeds.
    """

    out: Path
    """The folder of checkpoints, latents and the model."""
    stages: tuple[Stage, ...] = get_args(Stage)
    """What to do, in this order."""
    vae_minutes: float = math.inf
    """Stop training the autoencoder after so many minutes, its learning rate lowered to zero by then."""
    minutes: float = math.inf
    """The same of the transformer."""
    vggt_minutes: float = math.inf
    """The same of the geometry model."""
    plan: Literal["coarse", "miniature", "fine"] = "miniature"
    """`miniature` makes the models that ship, for clips of 32x32; `fine` some for 64x64, for which a CPU is too slow; `coarse`
    has a geometry model of fewer tokens."""
    grow_from: Path | None = None
    """The folder of an earlier making with patches as large or larger: training starts from its models, not at random."""
    device: str = "auto"

    def __call__(self) -> None:
        """Do the stages."""
        device = pick_device(self.device)
        plan, out = PLANS[self.plan], self.out
        work: dict[str, Callable[[], object]] = {
            "vae": lambda: train_vae(plan, out, Budget(plan.vae_steps, self.vae_minutes), device, self._start("vae")),
            "latents": lambda: encode_clips(plan, out, device),
            "transformer": lambda: train_transformer(plan, out, Budget(plan.steps, self.minutes), device, self._start(MODEL)),
            "export": lambda: export(out),
            "check": lambda: check(plan, out / MODEL, out, device),
            "vggt": lambda: train_geometry(
                plan, out, Budget(plan.geometry_steps, self.vggt_minutes), device, self._start(GEOMETRY)
            ),
            "vggt-check": lambda: check_geometry(plan, out / GEOMETRY, out),
        }
        out.mkdir(parents=True, exist_ok=True)
        for stage in self.stages:
            work[stage]()

    def _start(self, model: str) -> Path | None:
        return None if self.grow_from is None else self.grow_from / model


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("videogpa").setLevel(logging.INFO)
    tyro.cli(Make, prog="python -m miniatures")()
