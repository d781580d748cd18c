"""train: Diffusion-DPO with LoRA, from the encoded pairs to an adapter."""

from videogpa.stages.train.stage import run

__all__ = ["run"]
