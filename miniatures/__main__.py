"""`python -m miniatures --out DIR`: train the miniature models that ship with the package."""

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

    Existing results are kept, and a training that was killed continues from its last checkpoint if the command is repeated
    with the same arguments. With --minutes the number of steps depends on the machine; without, seeds determine the result.
    """

    out: Path
    """The folder for checkpoints, latents and the models."""
    stages: tuple[Stage, ...] = get_args(Stage)
    """The stages to run, in this order."""
    vae_minutes: float = math.inf
    """Stop training the autoencoder after this many minutes; its learning rate reaches zero by then."""
    minutes: float = math.inf
    """The same limit for the transformer."""
    vggt_minutes: float = math.inf
    """The same limit for the geometry model."""
    plan: Literal["coarse", "miniature", "fine"] = "miniature"
    """`miniature` makes the models that ship, for clips of 32x32; `fine` makes models for 64x64, for which a CPU is too slow;
    `coarse` has a geometry model with fewer tokens."""
    grow_from: Path | None = None
    """The folder of an earlier run with patches as large or larger. Training starts from its models, not random weights."""
    device: str = "auto"

    def __call__(self) -> None:
        """Run the stages."""
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
