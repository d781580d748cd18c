"""Wan text-to-video: Wan2.1-T2V and Wan2.2-T2V-A14B."""

from collections.abc import Mapping
from typing import Any

from diffusers import WanPipeline
from jaxtyping import Float, Int
from torch import Tensor

from videogpa.models.base import GenerationRequest
from videogpa.models.wan.family import Latents, Wan, publication


class WanTextToVideo(Wan):
    """A model that is conditioned on a text only."""

    published = (
        publication("Wan2.1-T2V-1.3B", parameters="1.4 B", memory="15 GB"),
        publication("Wan2.1-T2V-14B", parameters="14.3 B", memory="40 GB"),
        publication("Wan2.2-T2V-A14B", parameters="2 x 14.3 B", memory="69 GB"),
    )
    needs_image = False
    kind = "wan-t2v"
    pipeline_class = WanPipeline

    def _sample(self, request: GenerationRequest, **arguments: Any) -> Float[Tensor, "1 channels latent_frames h w"]:
        latents: Tensor = self._pipeline(**arguments).frames
        return latents

    def _encode_first_frame(self, request: GenerationRequest, frames: int, height: int, width: int) -> dict[str, Tensor]:
        return {}

    def transformer_inputs(
        self, noisy: Latents, timesteps: Int[Tensor, " batch"], conditions: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        return self._inputs(noisy, timesteps.to(self._schedule.dtype), conditions)
