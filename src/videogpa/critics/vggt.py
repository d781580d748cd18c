"""VGGT, the paper's critic: a transformer that returns cameras and depth of all frames in one pass.

- Method: Wang et al. 2025, https://arxiv.org/abs/2503.11651. The network is in critics/networks/vggt.py; the weights are the
  published ones. See docs/science/critics.md.
- Cost: about 6 GB of GPU memory; minutes a clip on a CPU.
- Licence: that of the weights. `facebook/VGGT-1B-Commercial`, the default, may be used commercially (not for military purposes,
  and Meta asks for a form first); `facebook/VGGT-1B`, the paper's, may not.
- Limits: moving subjects break its assumption of a static scene. It returns geometry for noise and for a repeated frame as
  well; the gates in critics/networks/gates.py refuse a part of that.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from videogpa.critics import cards
from videogpa.critics.base import CriticInput
from videogpa.critics.networks.assembly import assemble, at_own_pixels
from videogpa.critics.networks.framing import Crop, frame_for_network
from videogpa.critics.networks.gates import pass_gates
from videogpa.critics.networks.vggt import Head, Prediction, Vggt
from videogpa.critics.networks.weights import trunk_precision
from videogpa.devices import pick_device
from videogpa.errors import InvalidInput
from videogpa.reconstruction import Reconstruction

DEFAULT_WEIGHTS = cards.CARDS["vggt"][0].weights

LEAST_CONFIDENCE = 1.05
"""Training weighs errors with the confidence c and pays 0.2 log c for it (DUSt3R, https://arxiv.org/abs/2312.14132, and VGGT
after it), so that c tells an expected error of 0.2 / c of the scene's size: at 1.05 about the largest that c can tell."""

__all__ = ["Vggt", "VggtCritic"]


class VggtCritic:
    """Cameras and depth of a clip by VGGT.

    Args:
        weights: A folder, a .safetensors file, a hub id, or `tiny:vggt`, a small network for the miniature world.
        crop: `whole` for the whole frame, `centre` for the square in its middle, as in the paper.
        points: `depth` for points unprojected from depth and camera, `head` for those of the point head, as in the paper's
            code. The confidence is that of the depth head in both cases.
        side: Length of the image's long side in pixels, a multiple of 14. By default the length that the weights were trained
            with, 518 for the published ones.
        device: A torch device, or `auto` for a GPU if there is one. On a GPU the trunk computes in 16 bits.

    Raises:
        UserError: If the weights cannot be found or do not fit, `side` is no multiple of the patch size, or there is no such
            device.
    """

    CARDS: ClassVar = cards.CARDS["vggt"]
    PAPER = {"crop": "centre", "points": "head"}  # noqa: RUF012 - read, never written

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        crop: Crop = "whole",
        points: Literal["depth", "head"] = "depth",
        side: Annotated[int, Field(ge=1)] | None = None,
        device: str = "auto",
    ) -> None:
        chosen = pick_device(device)
        heads: tuple[Head, ...] = ("camera", "depth", "point") if points == "head" else ("camera", "depth")
        self._model = Vggt.from_folder(weights, heads=heads, device=chosen, precision=trunk_precision(chosen))
        self._device, self._crop, self._side = chosen, crop, side or self._model.config.img_size
        if self._side % self._model.config.patch_size:
            raise InvalidInput(
                f"`side` must be a multiple of {self._model.config.patch_size}, the patches of {weights}; not {side}"
            )
        self.details = {"weights": str(weights), "crop": crop, "points": points, "side": str(self._side)}

    def frames_to_read(self, judged: int) -> int:
        """The judged frames are enough."""
        return judged

    def reconstruct(self, clip: CriticInput) -> Reconstruction:
        """Estimate cameras and depth of the judged frames; the network does not see the others.

        The world is that of the first frame's camera, up to the network's error; the unit of length is the network's.

        Raises:
            ReconstructionFailed: If the network is not confident, or the cameras have not moved.
        """
        chosen = clip.judged_frames
        images = frame_for_network(chosen, self._crop, self._side, self._model.config.patch_size)
        predicted = self._model(images[None].to(self._device))
        found = pass_gates(_assemble(images, predicted), least_confidence=LEAST_CONFIDENCE)
        return at_own_pixels(found, chosen) if self._crop == "whole" and found.points is None else found


def _assemble(images: Float[Tensor, "frames 3 height width"], predicted: Prediction) -> Reconstruction:
    """Put the network's answer for one clip into the shape that scores are computed from."""
    depth, confidence, intrinsics, extrinsics = (
        _known(tensor)[0] for tensor in (predicted.depth, predicted.depth_conf, predicted.intrinsic, predicted.extrinsic)
    )
    points = None if predicted.world_points is None else predicted.world_points[0]
    return assemble(images, depth[..., 0], confidence, intrinsics, extrinsics, points)


def _known(tensor: Tensor | None) -> Tensor:
    assert tensor is not None, "the critic builds the camera and the depth head"
    return tensor
