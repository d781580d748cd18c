"""What the contract of the models must know of a family: how a user calls its pipeline, and how its transformer is called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import CogVideoXDPMScheduler, WanPipeline
from diffusers.utils.pil_utils import pt_to_pil
from jaxtyping import Float
from torch import Tensor

from videogpa.models.base import GenerationRequest, Sampling


@dataclass(frozen=True)
class Family:
    """The hooks of a family."""

    arguments: Callable[[Any, GenerationRequest, Sampling], dict[str, Any]]
    """What a user of diffusers calls this pipeline with for the request, but for `output_type`."""
    noisy: Callable[[Any, Mapping[str, Any]], Float[Tensor, "batch frames channels h w"]]
    """The noisy latents among the arguments that the transformer was called with."""
    timesteps: Callable[[Mapping[str, Any]], Tensor]
    """The timesteps among them, one per item of the batch."""
    implied: Callable[[Any, Tensor, Tensor, Tensor], Tensor]
    """The clean latents that the pipeline's own scheduler sees in (predictions, timesteps, noisy latents)."""
    forgettable: tuple[str, ...] = ()
    """Arguments without which the transformer runs all the same, to its harm."""
    precise: tuple[str, ...] = ()
    """Components that users are told to load as float32, whatever the dtype of the others."""


def _cogvideox_arguments(pipeline: Any, request: GenerationRequest, sampling: Sampling) -> dict[str, Any]:
    return {
        **({} if request.image is None else {"image": request.image[None]}),
        "prompt": request.text,
        "height": sampling.height,
        "width": sampling.width,
        "num_frames": sampling.frames,
        "num_inference_steps": sampling.num_inference_steps,
        "guidance_scale": sampling.guidance_scale,
        "generator": torch.Generator().manual_seed(request.seed),
        "max_sequence_length": pipeline.transformer.config.max_text_seq_length,
    }


def _cogvideox_implied(pipeline: Any, prediction: Tensor, timesteps: Tensor, noisy: Tensor) -> Tensor:
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(scheduler.config.num_train_timesteps)

    def clean(item: int) -> Tensor:
        if isinstance(scheduler, CogVideoXDPMScheduler):
            implied: Tensor = scheduler.step(
                prediction[item], None, timesteps[item], None, noisy[item], return_dict=False, generator=torch.Generator()
            )[1]
        else:
            implied = scheduler.step(prediction[item], timesteps[item], noisy[item]).pred_original_sample
        return implied

    return torch.stack([clean(item) for item in range(len(timesteps))])


COGVIDEOX = Family(
    arguments=_cogvideox_arguments,
    noisy=lambda pipeline, shown: shown["hidden_states"][:, :, : pipeline.vae.config.latent_channels],
    timesteps=lambda shown: shown["timestep"],
    implied=_cogvideox_implied,
    forgettable=("image_rotary_emb",),  # which the published trainer forgets
)


@torch.no_grad()
def _wan_arguments(pipeline: Any, request: GenerationRequest, sampling: Sampling) -> dict[str, Any]:
    # Through the text-to-video pipeline, since that of image-to-video cannot encode a text where ftfy is not installed.
    writer = WanPipeline(pipeline.tokenizer, pipeline.text_encoder, pipeline.vae, pipeline.scheduler, pipeline.transformer)
    text, empty = writer.encode_prompt(request.text, max_sequence_length=512)
    return {
        **({} if request.image is None else {"image": pt_to_pil(2 * request.image[None] - 1)[0]}),
        "prompt_embeds": text,
        "negative_prompt_embeds": empty,
        "height": sampling.height,
        "width": sampling.width,
        "num_frames": sampling.frames,
        "num_inference_steps": sampling.num_inference_steps,
        "guidance_scale": sampling.guidance_scale,
        "generator": torch.Generator().manual_seed(request.seed),
    }


def _wan_implied(pipeline: Any, prediction: Tensor, timesteps: Tensor, noisy: Tensor) -> Tensor:
    """UniPC's own formula, at the noisiest level that it cuts to a timestep."""
    scheduler = pipeline.scheduler

    def clean(item: int) -> Tensor:
        scheduler.sigmas = (timesteps[item, None] + 1) / scheduler.config.num_train_timesteps
        scheduler._step_index = 0
        implied: Tensor = scheduler.convert_model_output(prediction[item], sample=noisy[item])
        return implied

    return torch.stack([clean(item) for item in range(len(timesteps))])


WAN = Family(
    arguments=_wan_arguments,
    noisy=lambda pipeline, shown: shown["hidden_states"][:, : pipeline.vae.config.z_dim].transpose(1, 2),
    timesteps=lambda shown: shown["timestep"].reshape(len(shown["timestep"]), -1).amax(1).long(),  # a token's or the clip's
    implied=_wan_implied,
    precise=("vae", "image_encoder"),
)
WAN_WITH_CLIP = replace(WAN, forgettable=("encoder_hidden_states_image",))
