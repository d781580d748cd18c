"""Wan image-to-video: Wan2.1-I2V and Wan2.2-I2V-A14B.

The noisy latents are concatenated, on the channel axis, with a mask that is 1 at the first frame and with the latents of a clip
of that frame followed by grey frames. The transformers of Wan2.1 also receive CLIP features of the frame.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from videogpa.models.base import GenerationRequest
from videogpa.models.wan.family import Latents, Wan, publication
from videogpa.models.wan.first_frame import ImageToVideoPipeline, first_frame_latents, first_picture


class WanImageToVideo(Wan):
    """A model that is conditioned on a text and a first frame, and generates the first frame anew."""

    published = (
        publication("Wan2.1-I2V-14B-480P", parameters="16.4 B", memory="47 GB"),
        publication("Wan2.1-I2V-14B-720P", parameters="16.4 B", memory="47 GB"),
        publication("Wan2.2-I2V-A14B", parameters="2 x 14.3 B", memory="69 GB"),
    )
    needs_image = True
    kind = "wan-i2v"
    pipeline_class = ImageToVideoPipeline
    image_components = ("image_encoder", "image_processor")

    def _sample(self, request: GenerationRequest, **arguments: Any) -> Float[Tensor, "1 channels latent_frames h w"]:
        image = first_picture(request, arguments["height"], arguments["width"])
        latents: Tensor = self._pipeline(image=image, **arguments).frames
        return latents

    def _encode_first_frame(self, request: GenerationRequest, frames: int, height: int, width: int) -> dict[str, Tensor]:
        """Return `image` [latent_frames mask+channels h w] and, for Wan2.1, `image_states` [tokens features]."""
        image = first_picture(request, height, width)
        found = {"image": first_frame_latents(self._pipeline, image, frames, height, width, self._device)}
        if self._pipeline.image_encoder is not None:
            found["image_states"] = self._pipeline.encode_image(image, self._device)[0].to(self._dtype)
        return found

    def transformer_inputs(
        self, noisy: Latents, timesteps: Int[Tensor, " batch"], conditions: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        states = conditions.get("image_states")
        return self._inputs(
            torch.cat([noisy, conditions["image"]], dim=2),
            timesteps.to(self._schedule.dtype),
            conditions,
            encoder_hidden_states_image=None if states is None else states.to(self._dtype),
        )
