"""Wan2.2 TI2V-5B, which is conditioned on a text and an optional first frame.

Every token has a timestep of its own. A first frame, if there is one, replaces the first latent frame, clean and at timestep 0,
at every sampling step.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from videogpa.models.base import Activations, GenerationRequest
from videogpa.models.wan.family import Latents, Wan, publication
from videogpa.models.wan.first_frame import ImageToVideoPipeline, first_frame_latents, first_picture


class WanTextImageToVideo(Wan):
    """A model that is conditioned on a text and, where a request has one, on a first frame, which the clip keeps."""

    published = (publication("Wan2.2-TI2V-5B", parameters="5.0 B", memory="24 GB"),)
    needs_image = False
    kind = "wan-ti2v"
    pipeline_class = ImageToVideoPipeline
    # Each token has a timestep, and so six modulations per channel, in float32.
    activations = Activations(of_a_layer=38, of_a_token=24)

    def _sample(self, request: GenerationRequest, **arguments: Any) -> Float[Tensor, "1 channels latent_frames h w"]:
        if request.image is None:
            latents: Tensor = self._text_to_video_pipeline()(**arguments).frames
        else:
            image = first_picture(request, arguments["height"], arguments["width"])
            latents = self._pipeline(image=image, **arguments).frames
        return latents

    def _encode_first_frame(self, request: GenerationRequest, frames: int, height: int, width: int) -> dict[str, Tensor]:
        """Return `image` [1 channels h w], zeros if there is none, and `given` [], 1 if there is one, else 0.

        In this form prompts with and without a first frame can be in one batch.
        """
        if request.image is not None:
            image = first_picture(request, height, width)
            latents = first_frame_latents(self._pipeline, image, frames, height, width, self._device)
            return {"image": latents, "given": torch.ones((), device=self._device)}
        vae, scale = self._pipeline.vae.config, self._pipeline.vae_scale_factor_spatial
        zeros = torch.zeros(1, vae.z_dim, height // scale, width // scale, device=self._device)
        return {"image": zeros, "given": torch.zeros((), device=self._device)}

    def transformer_inputs(
        self, noisy: Latents, timesteps: Int[Tensor, " batch"], conditions: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        to_make = 1 - _given(conditions, noisy)
        hidden = to_make * noisy
        hidden[:, :1] += (1 - to_make[:, :1]) * conditions["image"]
        step = 2  # the patch size, a constant in the pipeline too
        tokens = (to_make * timesteps.reshape(-1, 1, 1, 1, 1)).expand_as(noisy)[:, :, 0, ::step, ::step].flatten(1)
        return self._inputs(hidden, tokens, conditions)

    def _without_given(self, prediction: Latents, target: Latents, conditions: Mapping[str, Tensor]) -> Latents:
        """Return the prediction with the target where a first frame is given, as the pipeline discards the prediction there."""
        return torch.where(_given(conditions, prediction) > 0, target, prediction)


def _given(conditions: Mapping[str, Tensor], like: Latents) -> Float[Tensor, "batch latent_frames 1 1 1"]:
    """Return 1 where the clean latents are given, which is in the first frame or nowhere, and 0 elsewhere."""
    given = like.new_zeros(*like.shape[:2], 1, 1, 1, dtype=torch.float32)
    given[:, 0, 0, 0, 0] = conditions["given"]
    return given
