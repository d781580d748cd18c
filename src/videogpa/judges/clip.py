"""CLIP's image encoder, ViT-B/32: how much the frames of a clip resemble each other as a whole.

- Method: Radford et al. 2021, https://arxiv.org/abs/2103.00020; the rule is VBench's background consistency
  (judges/consistency.py), on all frames: the short side resized to 224 pixels, and the square in the middle.
- Cost: about 0.15 s a frame on one core of a CPU (a network of this size with random weights).
- Licence: MIT. OpenAI's model card asks that deployed uses be tested first.
- Limits: a clip that stands still scores best, so read it beside the motion. What lies outside the middle square is not seen.
"""

from pathlib import Path
from typing import ClassVar

import torch

from videogpa.devices import pick_device
from videogpa.judges import cards
from videogpa.judges.base import JudgedClip
from videogpa.judges.clip_vision import embeddings, load_clip_vision
from videogpa.judges.consistency import consistency


class ClipJudge:
    """Background consistency by CLIP's image embeddings.

    Args:
        weights: A folder with config.json and a .safetensors file, or a hub id: that of CLIP ViT-B/32.
        device: A torch device, or `auto` for a GPU if there is one.

    Raises:
        UserError: If the weights cannot be found or do not fit, or there is no such device.
    """

    CARDS: ClassVar = cards.CARDS["clip"]
    MEASURES: ClassVar = cards.own_measures("clip")
    READS_TEXT: ClassVar[bool] = False

    def __init__(self, weights: str | Path, device: str = "auto") -> None:
        self._device = pick_device(device)
        self._loaded = load_clip_vision(weights, self._device)
        self.details = {"weights": str(weights), "sha256": self._loaded.digest, "patch": str(self._loaded.patch_size)}

    def judge(self, clip: JudgedClip) -> dict[str, float]:
        """Return `background_consistency`, in [0, 1].

        Raises:
            CannotJudge: If the clip has one frame.
        """
        features = torch.cat([embeddings(self._loaded, part, self._device) for part in clip.parts()])
        return {"background_consistency": consistency(features)}
