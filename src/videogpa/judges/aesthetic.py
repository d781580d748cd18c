"""The aesthetic predictor of LAION: how beautiful people would find the frames, by a linear head on CLIP ViT-L/14.

- Method: LAION 2022, https://github.com/LAION-AI/aesthetic-predictor; VBench's aesthetic quality is the mean over all frames,
  divided by ten. The head was fitted to ratings from 1 to 10 of pictures (SAC and others), and may leave that range.
- Cost: about 2.9 s a frame on one core of a CPU (a network of this size with random weights).
- Licence: MIT, of CLIP and of the head.
- Limits: it likes saturated, painted, high-contrast pictures, so that a gain may be a change of style: read saturation and
  exposure beside it. What lies outside the middle square is not seen.
"""

from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from videogpa.devices import pick_device
from videogpa.errors import InvalidInput, MissingInput
from videogpa.judges import cards
from videogpa.judges.base import JudgedClip
from videogpa.judges.clip_vision import embeddings, load_clip_vision
from videogpa.judges.encoders import sha256
from videogpa.weight_files import kind_of_file, read_header, read_tensors, require_finite

HEAD = "sa_0_4_vit_l_14_linear.safetensors"
"""What `python -m videogpa.convert` makes of the head that LAION publishes."""


class AestheticJudge:
    """Aesthetic quality by CLIP's image embeddings and LAION's linear head.

    Args:
        weights: A folder with config.json and a .safetensors file, or a hub id: that of CLIP ViT-L/14.
        head: The head's .safetensors file. By default sa_0_4_vit_l_14_linear.safetensors beside the weights.
        device: A torch device, or `auto` for a GPU if there is one.

    Raises:
        UserError: If the weights or the head cannot be found or do not fit, or there is no such device.
    """

    CARDS: ClassVar = cards.CARDS["aesthetic"]
    MEASURES: ClassVar = cards.own_measures("aesthetic")
    READS_TEXT: ClassVar[bool] = False

    def __init__(self, weights: str | Path, head: str | None = None, device: str = "auto") -> None:
        self._device = pick_device(device)
        self._loaded = load_clip_vision(weights, self._device)
        file = self._loaded.weights.with_name(HEAD) if head is None else Path(head).expanduser()
        self._weight, self._bias = _read_head(file, self._loaded.network.config.projection_dim)
        self.details = {"weights": str(weights), "sha256": self._loaded.digest, "head_sha256": sha256(file)}

    def judge(self, clip: JudgedClip) -> dict[str, float]:
        """Return `aesthetic_quality`: the mean over frames of the head's rating, divided by ten."""
        features = torch.cat([normalize(embeddings(self._loaded, part, self._device), dim=-1) for part in clip.parts()])
        ratings = features @ self._weight + self._bias
        return {"aesthetic_quality": float((ratings / 10).double().mean())}


def _read_head(file: Path, dimensions: int) -> tuple[Float[Tensor, " dimensions"], Float[Tensor, ""]]:
    if kind_of_file(file) == "missing":
        raise MissingInput(
            f"there is no {file}, the head of the aesthetic predictor: fetch sa_0_4_vit_l_14_linear.pth of "
            f"https://github.com/LAION-AI/aesthetic-predictor, and run `python -m videogpa.convert` on it"
        )
    shapes = {name: entry.shape for name, entry in read_header(file, what="the head").items()}
    if shapes != {"weight": (1, dimensions), "bias": (1,)}:
        raise InvalidInput(f"{file} is no head for {dimensions} numbers: expected weight [1, {dimensions}] and bias [1] alone")
    tensors = read_tensors(file)
    require_finite(file, tensors)
    return tensors["weight"][0].float(), tensors["bias"][0].float()
