"""Depth Anything 3: a plain transformer that returns cameras and depth of all frames in one pass.

- Method: Lin et al. 2025, https://arxiv.org/abs/2511.10647. The network is in critics/networks/depth_anything.py; the weights
  are the published ones. See docs/science/critics.md.
- Cost: 1.8 GB of memory on a CPU for 10 frames of 504 x 336; a GPU is faster.
- Licence: that of the weights. Small and Base, the default, are Apache-2.0; Large and Giant may not be used commercially.
- Limits: moving subjects break its assumption of a static scene. It returns geometry for noise and for a repeated frame as
  well; the gates in critics/networks/gates.py refuse a part of that.
"""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from videogpa.critics import cards
from videogpa.critics.base import CriticInput
from videogpa.critics.networks.assembly import assemble, at_own_pixels
from videogpa.critics.networks.depth_anything import DepthAnything3
from videogpa.critics.networks.framing import frame_for_network
from videogpa.critics.networks.gates import pass_gates
from videogpa.critics.networks.vit import normalise
from videogpa.critics.networks.weights import trunk_precision
from videogpa.devices import pick_device
from videogpa.reconstruction import Reconstruction

DEFAULT_WEIGHTS = cards.CARDS["da3"][0].weights

LEAST_CONFIDENCE = 1.05
"""Points below it are left out of the clouds that the official code exports (`utils/export/glb.py`); the least is 1."""

__all__ = ["DepthAnything3", "DepthAnythingCritic"]


class DepthAnythingCritic:
    """Cameras and depth of a clip by Depth Anything 3. The network is given whole frames.

    Args:
        weights: A folder with config.json and its weights, a .safetensors file beside such a config.json, or a hub id.
        side: Length of the image's long side in pixels, a multiple of 14. The default is the official code's.
        device: A torch device, or `auto` for a GPU if there is one. On a GPU the trunk computes in 16 bits.

    Raises:
        UserError: If the weights cannot be found or do not fit, or there is no such device.
    """

    CARDS: ClassVar = cards.CARDS["da3"]

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        side: Annotated[int, Field(ge=14, multiple_of=14)] = 504,
        device: str = "auto",
    ) -> None:
        self._device = pick_device(device)
        self._model = DepthAnything3.from_folder(weights, device=self._device, precision=trunk_precision(self._device))
        self._side = side
        self.details = {"weights": str(weights), "crop": "whole", "side": str(side)}

    def frames_to_read(self, judged: int) -> int:
        """The judged frames are enough."""
        return judged

    def reconstruct(self, clip: CriticInput) -> Reconstruction:
        """Estimate cameras and depth of the judged frames; the network does not see the others.

        The world's axes and the unit of length are the network's; from three frames on it chooses the frame that they hang on.

        Raises:
            ReconstructionFailed: If the network is not confident, or the cameras have not moved.
        """
        chosen = clip.judged_frames
        images = frame_for_network(chosen, "whole", self._side, self._model.config.patch_size)
        predicted = self._model(normalise(images)[None].to(self._device))
        depth, confidence, extrinsics, intrinsics = (field[0] for field in predicted)
        answer = assemble(images, depth, confidence, intrinsics, extrinsics)
        return at_own_pixels(pass_gates(answer, least_confidence=LEAST_CONFIDENCE), chosen)
