"""DINO, a self-supervised image encoder: how much the frames of a clip resemble each other.

- Method: Caron et al. 2021, https://arxiv.org/abs/2104.14294; the rule is VBench's subject consistency
  (judges/consistency.py), on all frames, with the short side resized to 224 pixels.
- Cost: about 0.9 s a frame on one core of a CPU, at 480 x 720 pixels (a network of this size with random weights).
- Licence: Apache-2.0.
- Limits: a clip that stands still scores best, so read it beside the motion. VBench's numbers are for clips of up to five
  seconds, and change with the frame rate of the file.
- Differences from VBench: frames that are not square have positions interpolated to their size exactly, where DINO's own code
  adds 0.1 to it; and the small number in its normalisation layers is that of config.json (1e-12, DINO's own code: 1e-6).
"""

from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from videogpa.devices import pick_device
from videogpa.judges import cards
from videogpa.judges.base import JudgedClip
from videogpa.judges.consistency import consistency
from videogpa.judges.encoders import load_vit
from videogpa.judges.images import IMAGENET, normalised, short_side


class DinoJudge:
    """Subject consistency by the features of a ViT.

    Args:
        weights: A folder with config.json and a .safetensors file, or a hub id, such as facebook/dino-vitb16.
        device: A torch device, or `auto` for a GPU if there is one.

    Raises:
        UserError: If the weights cannot be found or do not fit, or there is no such device.
    """

    CARDS: ClassVar = cards.CARDS["dino"]
    MEASURES: ClassVar = cards.own_measures("dino")
    READS_TEXT: ClassVar[bool] = False

    def __init__(self, weights: str | Path, device: str = "auto") -> None:
        self._device = pick_device(device)
        self._loaded = load_vit(weights, self._device)
        self.details = {"weights": str(weights), "sha256": self._loaded.digest, "side": str(self._loaded.image_size)}

    def judge(self, clip: JudgedClip) -> dict[str, float]:
        """Return `subject_consistency`, in [0, 1].

        Raises:
            CannotJudge: If the clip has one frame.
        """
        return {"subject_consistency": consistency(torch.cat([self._features(part) for part in clip.parts()]))}

    @torch.inference_mode()
    def _features(self, frames: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames dimensions"]:
        small = normalised(short_side(frames.to(self._device), self._loaded.image_size, "bilinear"), IMAGENET)
        found = self._loaded.network(pixel_values=small, interpolate_pos_encoding=True)
        features: Tensor = found.last_hidden_state[:, 0].float().cpu()
        return features
